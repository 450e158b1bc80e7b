"""The README's examples do what they say, against a real server."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.server import OCTANT, RunningServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    return [block for given, block in fenced if given == language]


def for_server(example: str, server: RunningServer) -> str:
    return example.replace("http://127.0.0.1:8000", server.address).replace(
        'api_key="oct_..."', f'api_key="{server.key}"'
    )


def test_the_python_example_prints_an_answer(server: RunningServer) -> None:
    (example,) = blocks("python")
    told = subprocess.run(
        [sys.executable, "-c", for_server(example, server)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert len(told.stdout.split()) > 3


def test_the_curl_example_streams_an_answer(server: RunningServer) -> None:
    (example,) = [block for block in blocks("") if "curl" in block and "chat/completions" in block]
    command = for_server(example, server).replace("export OCTANT_API_KEY=oct_...", "")
    told = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "OCTANT_API_KEY": server.key},
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.rstrip().endswith("data: [DONE]")


def test_the_trace_commands_show_what_happened(server: RunningServer) -> None:
    with server.client() as client:
        answer = client.chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": "Hello"}]
        )
    (example,) = [block for block in blocks("") if "octant trace show" in block]
    request = answer.id.replace("chatcmpl-", "req_")
    for line in example.splitlines():
        if "octant trace" not in line:
            continue
        command = (
            line.replace(".venv/bin/octant", str(OCTANT))
            .replace("--data-dir .octant", f"--data-dir {server.data_dir}")
            .replace("req_...", request)
        )
        told = subprocess.run(
            command.split(), capture_output=True, text=True, timeout=60, check=False
        )
        assert told.returncode == 0, told.stderr
        assert request[:12] in told.stdout


def test_every_page_that_the_readme_links_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
