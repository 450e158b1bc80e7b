"""The eight failure classes through the public API: body, trace and audit log say the same (FL).

One real server; each failure is provoked as an operator or a caller would meet it.
"""

import os
import resource
import signal
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from octant.app.policy_file import built_in_policy
from tests.support.cli import run_cli
from tests.support.server import RunningServer, eventually, running_server

ASK = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}
POLICY = '[tenants.default.pii.input]\nsecret = "block"\n'


class Told(NamedTuple):
    """What is said about one failure; the same wherever it is said."""

    code: str
    failure_class: str
    stage: str
    retry: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("classes")
    policy = directory / "policy.toml"
    with running_server(directory / "octant") as shipped:
        key = shipped.key
    policy.write_text(built_in_policy().text + POLICY)
    environment = {
        "OCTANT_POLICY__PATH": str(policy),
        "OCTANT_DEPLOYMENTS__PRECISE": "false",
        "OCTANT_ADMISSION__QUEUES__BATCH__MAX_INSIDE": "1",
    }
    with running_server(directory / "octant", environment=environment, key=key) as started:
        yield started


def _shown(server: RunningServer, *command: str) -> Any:
    """What a command on the server's store prints; it has to succeed."""
    result = run_cli(*command, "--data-dir", str(server.data_dir), "--json")
    assert result.code == 0, result.err
    return result.json


def in_body(answer: httpx2.Response) -> Told:
    error = answer.json()["error"]
    octant = error["octant"]
    assert answer.headers["x-request-id"] == octant["request_id"]
    return Told(error["code"], octant["class"], octant["stage"], octant["retry"])


def in_audit(server: RunningServer, request_id: str, action: str = "inference") -> Told:
    records = [
        record
        for record in _shown(server, "audit", "list", "--limit", "100")
        if record["request_id"] == request_id and record["action"] == action
    ]
    assert len(records) == 1, f"{len(records)} records of {request_id}"
    detail = records[0]["detail"]
    return Told(detail["failure"], detail["failure_class"], detail["stage"], detail["retry"])


def in_trace(server: RunningServer, request_id: str) -> Told:
    trace = _shown(server, "trace", "show", request_id)
    root = trace["spans"][0]
    told = root["attributes"]
    return Told(
        told["error.type"],
        told["octant.failure.class"],
        told["octant.failure.stage"],
        told["octant.failure.retry"],
    )


def agrees(server: RunningServer, answer: httpx2.Response) -> Told:
    """What the body says, when trace and audit log say it too."""
    told = in_body(answer)
    request_id = answer.headers["x-request-id"]
    assert in_audit(server, request_id) == told
    assert in_trace(server, request_id) == told
    return told


def ask(server: RunningServer, client: httpx2.Client, **changes: Any) -> httpx2.Response:
    headers = changes.pop("headers", {})
    body = ASK | {"model": server.model} | changes
    return client.post("/v1/chat/completions", json=body, headers=headers)


def test_shape(server: RunningServer) -> None:
    with server.http() as client:
        long = [{"role": "user", "content": "word " * 5_000}]
        told = agrees(server, ask(server, client, messages=long))
    assert told == Told("context_length_exceeded", "shape", "context", "never")


def test_capacity(server: RunningServer) -> None:
    with (
        server.http() as client,
        client.stream(
            "POST",
            "/v1/chat/completions",
            json=ASK
            | {"model": server.model, "stream": True, "ignore_eos": True, "max_tokens": 1_500}
            | {"octant": {"profile": "batch"}},
        ) as running,
    ):
        next(running.iter_lines())
        told = agrees(server, ask(server, client, octant={"profile": "batch"}))
    assert told == Told("overloaded", "capacity", "admission", "after_delay")


def test_interrupted(server: RunningServer) -> None:
    engine = server.engine_pid()
    os.kill(engine, signal.SIGSTOP)
    try:
        with server.http() as client:
            answer = ask(server, client, headers={"x-octant-deadline-ms": "400"})
            request_id = answer.headers["x-request-id"]
    finally:
        os.kill(engine, signal.SIGCONT)
    told = in_body(answer)
    assert (told.code, told.failure_class, told.retry) == (
        "deadline_exceeded",
        "interrupted",
        "never",
    )
    assert in_audit(server, request_id) == in_trace(server, request_id) == told
    server.wait_idle()


def test_execution(server: RunningServer) -> None:
    engine = server.engine_pid()
    os.kill(engine, signal.SIGSTOP)
    answers: list[httpx2.Response] = []
    with server.http() as client:
        asking = threading.Thread(target=lambda: answers.append(ask(server, client)))
        asking.start()
        started = "octant_requests_in_flight"
        eventually(lambda: server.metric(started) > 0, "the request is inside")
        os.kill(engine, signal.SIGKILL)
        asking.join()
        told = agrees(server, answers[0])
        assert told == Told("engine_lost", "execution", told.stage, "other_route")
        eventually(lambda: client.get("/health/ready").status_code == 200, "ready again")


def test_policy(server: RunningServer) -> None:
    secret = (
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----"
    )
    with server.http() as client:
        told = agrees(server, ask(server, client, messages=[{"role": "user", "content": secret}]))
    assert told == Told("policy_blocked", "policy", "governance", "never")


def test_tool(server: RunningServer) -> None:
    """A tool that fails does not fail its run: the model is told, and so is everybody else."""
    body = {"model": server.model, "input": "What is 12 divided by 0?", "tools": ["calculator"]}
    with server.http() as client:
        answer = client.post("/v1/runs", json=body)
    run = answer.json()
    [outcome] = run["tools"]
    octant = outcome["error"]["octant"]
    told = Told(outcome["error"]["code"], octant["class"], octant["stage"], octant["retry"])
    assert told == Told("tool_failure", "tool", "tool", "on_decision")
    assert in_audit(server, run["id"], "tool") == told
    trace = _shown(server, "trace", "show", run["id"])
    [span] = [span for span in trace["spans"] if span["stage"] == "tool"]
    assert span["attributes"]["error.type"] == told.code


def test_artifact(server: RunningServer, tmp_path: Path) -> None:
    """A release that cannot be served is refused, and what serves goes on."""
    damaged = tmp_path / "model"
    damaged.mkdir()
    bundled = Path(__file__).parents[2] / "src/octant/bundled/octant-mini"
    for file in bundled.iterdir():
        if file.is_file():
            (damaged / file.name).write_bytes(file.read_bytes())
    weights = damaged / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    shipped = Path(__file__).parents[2] / "src/octant/bundled/recipes/octant-mini-fast.toml"
    recipe = tomllib.loads(shipped.read_text()) | {"artifact": str(damaged), "name": "damaged"}
    with server.http() as client:
        told = in_body(client.post("/admin/v1/recipes", json={"recipe": recipe}))
        assert told == Told("corrupt_artifact", "artifact", told.stage, "never")
        assert ask(server, client).status_code == 200


def test_persistence_fails_closed_until_the_store_keeps_records_again(
    server: RunningServer,
) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    pid = server.process.pid
    with server.http() as client:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            full = ask(server, client)
            assert in_body(full) == Told(
                "record_not_stored", "persistence", in_body(full).stage, "after_delay"
            )
            steps = server.metric("vllm:generation_tokens_total")
            before_work = ask(server, client)
            assert in_body(before_work).code == "record_not_stored"
            assert server.metric("vllm:generation_tokens_total") == steps, "work was begun"
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        eventually(lambda: ask(server, client).status_code == 200, "records are kept again")
    actions = [record["action"] for record in _shown(server, "audit", "list")]
    assert "store.recovered" in actions
    assert _shown(server, "audit", "verify")
