"""The command line beside a real server, which it finds by the data directory."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from openai import NotFoundError

from octant.cli import server_file
from octant.cli.output import ExitCode
from tests.support.server import OCTANT, RunningServer, octant, running_server

pytestmark = pytest.mark.server


def test_chat_answers_through_a_temporary_key(server: RunningServer) -> None:
    answered = server.octant("chat", "My dog is called Rex.", "--max-tokens", "16", "--json")

    assert answered.returncode == 0, answered.stderr
    answer = json.loads(answered.stdout)
    assert answer["content"]
    assert answer["usage"]["completion_tokens"] >= 1
    kept = json.loads(server.octant("keys", "list", "--json").stdout)
    assert "first key" in [key["name"] for key in kept]
    assert not [key for key in kept if "temporary" in key["name"]]


def test_what_was_asked_can_be_traced(server: RunningServer) -> None:
    answered = server.octant("chat", "Hello!", "--max-tokens", "8", "--json")
    request = json.loads(answered.stdout)["request_id"]

    shown = json.loads(server.octant("trace", "show", request, "--json").stdout)

    spans = {span["name"]: span for span in shown["spans"]}
    assert shown["complete"] is True
    assert {"admission", "governance", "step 1", "context", "route", "attempt 1"} <= set(spans)
    assert {"queue", "prefill", "decode", "response"} <= set(spans)
    assert sum(
        span["duration_ns"]
        for span in shown["spans"]
        if span["parent_span_id"] == shown["spans"][0]["span_id"]
    ) == pytest.approx(shown["duration_ns"])


def test_models_and_doctor_find_the_server(server: RunningServer) -> None:
    listed = json.loads(server.octant("models", "list", "--json").stdout)
    checked = server.octant("doctor", "--json")

    assert [model["id"] for model in listed] == [server.model]
    findings = {f["subject"]: f for f in json.loads(checked.stdout)["findings"]}
    assert findings["server"]["state"] == "ok"
    assert findings["model"]["state"] == "ok"
    assert findings["store"]["state"] == "ok"


def test_the_first_token_count_equals_the_requests_that_had_one(server: RunningServer) -> None:
    before = server.metric("vllm:time_to_first_token_seconds_count")
    with server.client() as client:
        for _ in range(3):
            client.completions.create(model=server.model, prompt="Hello!", max_tokens=4)
        with pytest.raises(NotFoundError):
            client.completions.create(model="unknown", prompt="Hello!")

    assert server.metric("vllm:time_to_first_token_seconds_count") == before + 3
    assert server.metric("octant_requests_in_flight") == 0


def test_the_server_file_goes_with_the_server(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running_server(data_dir) as running:
        found = server_file.find(data_dir)
        assert found is not None
        assert (found.url, found.pid) == (running.address, running.process.pid)

    assert server_file.find(data_dir) is None
    assert not (data_dir / server_file.FILE_NAME).exists()


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_first_key_that_nobody_could_read_is_not_lost_in_silence(
    tmp_path: Path, form: tuple[str, ...]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as nobody:
        done = subprocess.run(
            [OCTANT, "serve", "--port", "0", "--data-dir", str(tmp_path / "data"), *form],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )

    assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
    assert "keys create --data-dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_command_with_130(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        subprocess.Popen(
            [OCTANT, "chat", "hi", "--key", "k", "--data-dir", str(tmp_path)]
            + ["--url", f"http://127.0.0.1:{silent.getsockname()[1]}"],
            stderr=subprocess.PIPE,
            text=True,
        ) as chat,
    ):
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            chat.send_signal(signal.SIGINT)
            _, said = chat.communicate(timeout=60)

    assert chat.returncode == 130
    assert "Traceback" not in said


def test_a_suite_runs_against_a_running_server(server: RunningServer) -> None:
    done = server.octant(
        *("eval", "--url", server.address, "--key", server.key, "--limit", "1", "--json")
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["model"] == server.model
    assert {figures["n"] for figures in told["tasks"].values()} == {1}


def test_a_suite_that_nothing_passes_fails_its_minimum(
    server: RunningServer, tmp_path: Path
) -> None:
    suite = tmp_path / "suite.jsonl"
    case = {
        "id": "a-1",
        "task": "a",
        "messages": [{"role": "user", "content": "Hello!"}],
        "check": {"kind": "exact", "text": "no model says this"},
        "max_tokens": 4,
    }
    suite.write_text(json.dumps(case))

    done = server.octant(
        *("eval", "--suite", str(suite), "--url", server.address, "--key", server.key),
        *("--min", "0.5", "--json"),
    )

    assert done.returncode == 1
    assert json.loads(done.stdout)["below_minimum"] == ["a"]


def test_without_an_address_a_private_server_is_measured_and_gone(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"

    done = octant("eval", "--limit", "1", "--data-dir", str(data_dir), "--json")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["model_digest"].startswith("sha256:")
    assert told["versions"]["octant"]
    assert all(0 <= f["interval_95"][0] <= f["accuracy"] for f in told["tasks"].values())
    assert server_file.find(data_dir) is None


def test_a_served_engine_is_measured_beside_its_executor(tmp_path: Path) -> None:
    record = tmp_path / "record.json"

    done = octant(
        *("bench", "serve", "--concurrency", "2", "--rounds", "1", "--new-tokens", "16"),
        *("--data-dir", str(tmp_path / "data"), "--record", str(record), "--json"),
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == json.loads(record.read_text())
    (level,) = told["levels"]
    assert level["ratio"] > 0
    assert len(level["bare_decode_tokens_per_s"]) == 1
    assert 0 < told["idle_rss_bytes"] < 500_000_000


def test_a_conversation_in_a_terminal(server: RunningServer) -> None:
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        [OCTANT, "chat", "--data-dir", str(server.data_dir), "--max-tokens", "12"],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "100"},
    ) as chat:
        os.close(inside)
        shown = _until(terminal, b"> ")
        assert server.model.encode() in shown
        os.write(terminal, b"My name is Ada.\n")
        assert len(_until(terminal, b"\n> ")) > len(b"My name is Ada.\n> ")
        os.write(terminal, b"/reset\n")
        assert b"forgotten" in _until(terminal, b"\n> ")
        os.write(terminal, b"/exit\n")
        assert chat.wait(30) == 0
    os.close(terminal)


def _until(terminal: int, wanted: bytes, limit_s: float = 60) -> bytes:
    shown = b""
    ends_at = time.monotonic() + limit_s
    while not shown.endswith(wanted):
        left_s = ends_at - time.monotonic()
        assert left_s > 0 and select.select([terminal], [], [], left_s)[0], shown
        shown += os.read(terminal, 4096)
    return shown
