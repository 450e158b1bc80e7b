"""Faults seen from outside: a real server, real signals, a caller who watches what is promised."""

import asyncio
import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.support.server import RunningServer, eventually, octant, running_server, stop

LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hello! What can you do?"}],
    "max_tokens": 1800,
    "ignore_eos": True,
    "stream": True,
}


# With a second route there would be somewhere else to go.
ALONE = {"OCTANT_DEPLOYMENTS__PRECISE": "false"}


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that a test may break; a hang counts after 1.5 s without progress."""
    environment = ALONE | {"OCTANT_ENGINE__STALL_MS": "1500"}
    with running_server(tmp_path / "data", environment=environment) as started:
        yield started


def settled(server: RunningServer, status: str) -> int:
    """How many requests are stored with this status."""
    listed = server.octant("trace", "list", "--status", status, "--json")
    assert listed.returncode == 0, listed.stderr
    return len(json.loads(listed.stdout))


def events_of(response: httpx2.Response) -> Iterator[str]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


@pytest.mark.parametrize(
    ("signal_number", "code"),
    [(signal.SIGKILL, "engine_lost"), (signal.SIGSTOP, "engine_stalled")],
)
def test_a_lost_or_hung_engine_ends_the_stream_once_and_is_replaced(
    own_server: RunningServer, signal_number: signal.Signals, code: str
) -> None:
    first_engine = own_server.engine_pid()
    body = {"model": own_server.model} | LONG
    with (
        own_server.http() as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        events = events_of(response)
        for _ in range(5):
            next(events)
        os.kill(first_engine, signal_number)
        rest = list(events)
    assert "[DONE]" not in rest
    errors = [event for event in rest if '"error"' in event]
    assert errors == rest[-1:], "exactly one terminal event, and it is the last"
    assert json.loads(errors[0])["error"]["code"] == code
    with own_server.http() as client:
        eventually(
            lambda: client.get("/health/ready").status_code == 200, "ready again after the fault"
        )
        assert own_server.engine_pid() != first_engine
        short = body | {"stream": False, "max_tokens": 4}
        assert client.post("/v1/chat/completions", json=short).status_code == 200
    own_server.wait_idle()
    assert settled(own_server, "partial") == 1


def test_while_the_engine_is_away_requests_are_refused_with_a_time_to_return(
    own_server: RunningServer,
) -> None:
    os.kill(own_server.engine_pid(), signal.SIGKILL)
    body = {"model": own_server.model} | LONG | {"stream": False, "max_tokens": 4}
    with own_server.http() as client:

        def refused() -> bool:
            response = client.post("/v1/chat/completions", json=body)
            if response.status_code == 200:
                return False
            error = response.json()["error"]
            assert error["code"] in {"engine_lost", "engine_unavailable"}, error
            assert response.status_code == 503
            assert response.headers["x-should-retry"] == "true"
            return error["code"] != "engine_unavailable" or "retry-after" in response.headers

        assert refused()
        eventually(lambda: not refused(), "serving again")
    with own_server.client(max_retries=8) as retrying:
        os.kill(own_server.engine_pid(), signal.SIGKILL)
        answer = retrying.chat.completions.create(
            model=own_server.model, messages=[{"role": "user", "content": "Hello"}], max_tokens=4
        )
        assert answer.choices


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_leaves_frees_everything_and_is_settled(
    own_server: RunningServer, stream: bool
) -> None:
    body = {"model": own_server.model} | LONG | {"stream": stream}

    async def leave_after_a_moment() -> None:
        headers = {"authorization": f"Bearer {own_server.key}"}
        async with httpx2.AsyncClient(base_url=own_server.address, headers=headers) as client:
            calls = [
                asyncio.ensure_future(client.post("/v1/chat/completions", json=body))
                for _ in range(8)
            ]
            # The server tells it by a metric only.
            while own_server.metric("vllm:num_requests_running") == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(leave_after_a_moment())
    own_server.wait_idle()
    eventually(lambda: settled(own_server, "cancelled") == 8, "all eight settled as cancelled")


def test_an_answer_that_cannot_be_stored_is_not_called_complete(own_server: RunningServer) -> None:
    body = {"model": own_server.model} | LONG | {"stream": False, "max_tokens": 4}
    pid = own_server.process.pid
    with own_server.http() as client:
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        full = client.post("/v1/chat/completions", json=body)
        assert full.status_code == 503
        assert full.json()["error"]["code"] == "record_not_stored"
        streamed = client.post("/v1/chat/completions", json=body | {"stream": True}).text
        assert "[DONE]" not in streamed
        assert "record_not_stored" in streamed
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    own_server.wait_idle()
    assert settled(own_server, "completed") == 2


def test_sigterm_finishes_what_runs_refuses_what_comes_and_leaves_with_zero(
    own_server: RunningServer,
) -> None:
    with own_server.client() as client:
        stream = client.chat.completions.create(
            model=own_server.model,
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=1500,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        chunks = iter(stream)
        next(chunks)
        engine = own_server.engine_pid()
        own_server.process.send_signal(signal.SIGTERM)
        eventually(
            lambda: httpx2.get(f"{own_server.address}/health/ready").status_code == 503,
            "readiness falls first",
        )
        with pytest.raises(openai.InternalServerError) as refused:
            client.with_options(max_retries=0).chat.completions.create(
                model=own_server.model, messages=[{"role": "user", "content": "Hello"}]
            )
        assert refused.value.code == "draining"
        rest = list(chunks)
        assert rest[-1].choices[0].finish_reason == "length"
    assert own_server.process.wait(30) == 0
    assert not Path(f"/proc/{engine}").exists()


def test_kill_9_loses_no_acknowledged_request_and_leaves_no_engine(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    acknowledged: list[str] = []
    with running_server(data_dir) as server:
        engine, key = server.engine_pid(), server.key
        gone = threading.Event()

        def ask() -> None:
            body = {"model": server.model} | LONG | {"stream": False, "max_tokens": 4}
            with server.http() as client:
                while not gone.is_set():
                    try:
                        response = client.post("/v1/chat/completions", json=body)
                    except httpx2.HTTPError:
                        return
                    acknowledged.append(response.headers["x-request-id"])

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        eventually(lambda: len(acknowledged) >= 40, "forty answers")
        server.process.kill()
        gone.set()
        for asker in askers:
            asker.join()
    eventually(lambda: not Path(f"/proc/{engine}").exists(), "the engine follows its server")
    with running_server(data_dir, key=key) as server:
        listed = server.octant("trace", "list", "--limit", "1000", "--json")
        stored = {row["request_id"] for row in json.loads(listed.stdout)}
        assert set(acknowledged) <= stored
        assert stop(server.process) == 0


def test_a_stream_that_outlasts_the_grace_ends_in_one_typed_event(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    environment = ALONE | {"OCTANT_SERVER__DRAIN_GRACE_MS": "300"}
    with running_server(data_dir, environment=environment) as server:
        key, body = server.key, {"model": server.model} | LONG
        with (
            server.http() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            events = events_of(response)
            next(events)
            server.process.send_signal(signal.SIGTERM)
            *_, last = events
        assert json.loads(last)["error"]["code"] == "draining"
        assert server.process.wait(30) == 0
    with running_server(data_dir, key=key) as server:
        assert settled(server, "partial") == 1, "stored as what the caller was told"


def test_a_second_server_on_one_data_directory_is_refused(own_server: RunningServer) -> None:
    refused = own_server.octant("serve", "--port", "0")
    assert refused.returncode != 0
    assert "Another server runs on" in refused.stderr
    own_server.wait_idle()


def test_a_start_that_fails_says_why_and_leaves_no_traceback(tmp_path: Path) -> None:
    command = ["serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--json"]
    failed = octant(*command, environment={"OCTANT_ENGINE__KV_BYTES": "1000"})
    assert failed.returncode == 3
    assert "Traceback" not in failed.stderr
    assert json.loads(failed.stderr.splitlines()[-1])["error"]["kind"] == "insufficient_memory"


def test_what_a_killed_server_left_behind_is_swept(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running_server(data_dir, environment=ALONE) as server:
        key = server.key
        server.process.kill()
        server.process.wait()
    assert list((data_dir / "run").iterdir())
    with running_server(data_dir, environment=ALONE, key=key) as server:
        assert len(list((data_dir / "run").iterdir())) == 1
