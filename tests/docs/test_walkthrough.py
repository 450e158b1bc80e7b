"""The walk through all layers does what its page says: every block, in order, on a real server."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import OCTANT, RunningServer, running_server

# A dozen commands and five engines: half a minute on a machine of its own.
pytestmark = pytest.mark.timeout(300)

PAGE = (Path(__file__).parents[2] / "docs/walkthrough.md").read_text(encoding="utf-8")
CARD = "4111 1111 1111 1111"


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """The directory of the walk and what each block printed."""
    directory = tmp_path_factory.mktemp("walk")
    serve, *blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    prices = dict(re.findall(r"(OCTANT_\w+)=(\d+)", serve))
    with running_server(directory / "demo", environment=prices) as server:
        yield directory, walk(directory, blocks, server)


def walk(directory: Path, blocks: list[str], server: RunningServer) -> list[str]:
    """Runs the blocks in one shell that stops at the first failure; output of each by itself."""
    told = [block.replace("http://127.0.0.1:8000", server.address) for block in blocks]
    script = "set -eu\n" + "\n".join(
        f"{{ {block}\n}} > out-{number} 2>&1" for number, block in enumerate(told)
    ).replace("oct_...", server.key)
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PATH": f"{OCTANT.parent}:{os.environ['PATH']}"},
    )
    outputs = [
        path.read_text() if (path := directory / f"out-{number}").exists() else "(not reached)"
        for number in range(len(blocks))
    ]
    assert ran.returncode == 0, "\n----\n".join([*outputs, ran.stderr])
    return outputs


@pytest.fixture
def run(walked: tuple[Path, list[str]]) -> Any:
    return json.loads((walked[0] / "run.json").read_text())


def test_the_answer_meets_its_contract_by_way_of_the_tool(run: Any) -> None:
    assert run["status"] == "completed"
    assert str(run["output"]["structured"]["result"]) == "84"
    [tool] = run["tools"]
    assert (tool["tool"], tool["status"], tool["side_effect"]) == (
        "calculator",
        "succeeded",
        "read",
    )
    assert [passage["document_id"] for passage in run["evidence"]] == ["handbook"]


def test_the_killed_route_is_the_canary_and_another_one_answered(run: Any) -> None:
    first, *later = run["attempts"]
    assert first["route"] == "fast@octant-mini-2"
    assert first["error"]["code"] == "engine_lost"
    assert later and all(attempt["error"] is None for attempt in later)
    assert all(attempt["route"] != first["route"] for attempt in later)


def test_the_card_is_replaced_before_the_model_and_kept_out_of_what_is_stored(
    run: Any, walked: tuple[Path, list[str]]
) -> None:
    assert any(decision["findings"] == {"card": 1} for decision in run["decisions"])
    everything = "".join(walked[1])
    assert "<CARD_1>" in everything
    assert CARD not in everything


def test_trace_route_manifest_audit_and_cost_tell_of_it(
    run: Any, walked: tuple[Path, list[str]]
) -> None:
    happened, who = walked[1][4], walked[1][5]
    for word in ("attempt 1", "engine_lost", "calculator", "governance", "fast@octant-mini-1"):
        assert word in happened, word
    assert "sha256:" in happened
    for word in ("inference", "tool", "policy"):
        assert word in who, word
    assert run["cost_nano_usd"] == (
        run["usage"]["prompt_tokens"] * 50 + run["usage"]["completion_tokens"] * 200
    )


def test_the_replay_is_identical(walked: tuple[Path, list[str]]) -> None:
    assert "identical" in walked[1][6]


def test_traffic_is_back_where_it_was(walked: tuple[Path, list[str]]) -> None:
    assert "octant-mini-1" in walked[1][7]
