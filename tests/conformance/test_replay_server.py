"""Requests that a real server answered together are run again from its store, beside it."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from octant.cli.output import ExitCode
from tests.support.cli import CliResult, run_cli
from tests.support.server import RunningServer, eventually

pytestmark = pytest.mark.server

# A near tie that another batch shape decides otherwise; more than this is no rounding.
ROUNDING_MARGIN = 0.25


def _ask(server: RunningServer, text: str, **extras: Any) -> str:
    """The request id of a greedy answer."""
    answered = server.client().chat.completions.with_raw_response.create(
        model=server.model,
        messages=[{"role": "user", "content": text}],
        max_tokens=24,
        temperature=0,
        extra_body={"octant": extras} if extras else None,
    )
    return answered.headers["x-request-id"]


def _ready(server: RunningServer, route: str) -> bool:
    """Whether the route that begins so takes requests."""
    page = httpx2.get(f"{server.address}/metrics").text
    states = [s for s in page.splitlines() if s.startswith("octant_engine_state{")]
    return any(route in s and 'state="ready"' in s and s.endswith(" 1.0") for s in states)


def _replay(server: RunningServer, request: str) -> CliResult:
    return run_cli("replay", request, "--data-dir", str(server.data_dir), "--json")


def _assert_same(done: CliResult) -> dict[str, Any]:
    """Identical, or different at a near tie in a batch and called that."""
    told = json.loads(done.out)
    if told["verdict"] == "identical":
        assert done.code == ExitCode.OK
        return told
    assert done.code == ExitCode.FAILED_CHECK, done.err
    for step in told["steps"]:
        if step["difference"] is not None:
            assert abs(step["difference"]["margin"]) < ROUNDING_MARGIN
            assert step["cause"].startswith("rounding")
    return told


def test_requests_answered_together_are_found_again_alone(server: RunningServer) -> None:
    texts = [f"{number}: my dog is called Rex. What is my dog called?" for number in range(6)]
    with ThreadPoolExecutor(len(texts)) as pool:
        requests = list(pool.map(lambda text: _ask(server, text), texts))

    told = _assert_same(_replay(server, requests[0]))

    assert len(told["steps"]) == 1
    assert told["tokens"] > 0


def test_the_16_bit_route_is_replayed_on_its_own_artifact(server: RunningServer) -> None:
    eventually(lambda: _ready(server, "precise@"), "the second route is loaded")
    request = _ask(
        server, "My cat is called Tom. What is my cat called?", model={"labels": ["precise"]}
    )

    told = _assert_same(_replay(server, request))

    (step,) = told["steps"]
    assert step["route"].startswith("precise@")


def test_every_call_of_a_run_with_a_tool_is_replayed(server: RunningServer) -> None:
    request = _ask(server, "What is 17 times 23?", tools=["calculator"])
    manifest = json.loads(server.octant("trace", "show", request, "--manifest", "--json").stdout)

    told = _assert_same(_replay(server, request))

    assert [step["step"] for step in told["steps"]] == [s["step"] for s in manifest["steps"]]
    assert told["tokens"] > 0


def test_a_request_that_asked_not_to_be_recorded_says_so(server: RunningServer) -> None:
    request = _ask(server, "Hello.", trace={"record": False})

    done = _replay(server, request)

    assert done.code == ExitCode.UNAVAILABLE
    assert "were not kept" in done.err
