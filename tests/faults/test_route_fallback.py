"""Routes that fail, from outside: real servers, a real engine that is killed, a played upstream."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.faulty_upstream import ANSWER, Asked, Reply, status, streamed
from tests.support.played_upstream import played_upstream, upstreams_variable
from tests.support.server import RunningServer, eventually, running_server

KEY = "SPARE_KEY"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The second server: an upstream of the first."""
    data_dir = tmp_path_factory.mktemp("spare") / "data"
    with running_server(data_dir, environment=upstreams_variable()) as started:
        yield started


@pytest.fixture
def own_server(spare: RunningServer, tmp_path: Path) -> Iterator[RunningServer]:
    """A server whose model has a second route, which is only taken in need."""
    table = {
        "name": "spare",
        "base_url": f"{spare.address}/v1",
        "serves": spare.model,
        "api_key_env": KEY,
        "quality": 0.0,
    }
    far = table | {"name": "far", "serves": "far-model", "model": spare.model}
    environment = upstreams_variable(table, far) | {KEY: spare.key}
    with running_server(tmp_path / "data", environment=environment) as started:
        yield started


def explained(server: RunningServer, request_id: str) -> dict[str, Any]:
    shown = server.octant("route", "explain", request_id, "--json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def decided(server: RunningServer) -> bool:
    """Whether a request has been given to a route, and is still there."""
    page = httpx2.get(f"{server.address}/metrics").text
    return any(
        line.startswith("octant_stage_seconds_count") and 'stage="route"' in line
        for line in page.splitlines()
    )


def test_an_upstream_answers_as_the_model_that_it_serves(
    own_server: RunningServer, spare: RunningServer
) -> None:
    body = ASKED | {"model": "far-model", "temperature": 0, "seed": 1}
    with own_server.http() as client, spare.http() as behind:
        answer = client.post("/v1/chat/completions", json=body)
        direct = behind.post("/v1/chat/completions", json=body | {"model": spare.model})
    assert answer.status_code == 200, answer.text
    told, known = answer.json(), direct.json()
    assert told["choices"] == known["choices"]
    assert told["model"] == "far-model"
    assert told["usage"]["total_tokens"] == known["usage"]["total_tokens"]
    (attempt,) = explained(own_server, answer.headers["x-request-id"])["attempts"]
    assert (attempt["chosen"], attempt["failure"]) == ("far", None)
    trace = own_server.octant("trace", "show", answer.headers["x-request-id"], "--json")
    trace_id = json.loads(trace.stdout)["trace_id"]
    theirs = json.loads(spare.octant("trace", "list", "--json").stdout)
    assert trace_id in [outcome["trace_id"] for outcome in theirs]


def test_an_engine_killed_before_its_first_byte_costs_an_attempt_not_the_request(
    own_server: RunningServer,
) -> None:
    engine = own_server.engine_pid()
    os.kill(engine, signal.SIGSTOP)
    answers: list[httpx2.Response] = []

    def ask() -> None:
        with own_server.http() as client:
            body = ASKED | {"model": own_server.model}
            answers.append(client.post("/v1/chat/completions", json=body))

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: decided(own_server), "the request is with the engine")
    os.kill(engine, signal.SIGKILL)
    asking.join()
    (answer,) = answers
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    first, second = explained(own_server, answer.headers["x-request-id"])["attempts"]
    assert (first["attempt"], first["failure"]["kind"]) == (1, "engine_lost")
    assert first["fallbacks"] == ["spare"]
    assert (second["attempt"], second["chosen"], second["failure"]) == (2, "spare", None)
    refused = {item["route"]: item["refused"] for item in second["candidates"]}
    assert refused.pop("spare") is None
    assert list(refused.values()) == ["an earlier attempt failed there"]


def test_an_engine_killed_after_its_first_byte_ends_the_stream_once(
    own_server: RunningServer,
) -> None:
    body = ASKED | {"model": own_server.model, "max_tokens": 900, "stream": True}
    with (
        own_server.http() as client,
        client.stream("POST", "/v1/chat/completions", json=body | {"ignore_eos": True}) as response,
    ):
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        for _ in range(4):
            next(lines)
        os.kill(own_server.engine_pid(), signal.SIGKILL)
        rest = list(lines)
    assert [line for line in rest if '"error"' in line] == rest[-1:]
    assert "engine_lost" in rest[-1]
    (attempt,) = explained(own_server, response.headers["x-request-id"])["attempts"]
    assert attempt["failure"]["kind"] == "engine_lost"


def test_a_breaker_opens_on_a_storm_and_closes_when_it_is_over(tmp_path: Path) -> None:
    storm = True

    def reply(_: Asked) -> Reply:
        return status(500) if storm else streamed(*ANSWER)

    with played_upstream(reply) as upstream:
        table = {"name": "stormy", "base_url": upstream.url, "serves": "stormy-model"}
        pause = {"OCTANT_ROUTING__BREAKER_FIRST_PAUSE_MS": "5000"}
        with (
            running_server(tmp_path / "data", environment=upstreams_variable(table) | pause) as own,
            own.http() as client,
        ):

            def ask() -> httpx2.Response:
                body = ASKED | {"model": "stormy-model"}
                return client.post("/v1/chat/completions", json=body)

            def breaker() -> str:
                models = client.get("/health/models").json()["models"]
                return models["stormy-model"]["routes"]["stormy"]["breaker"]

            assert [ask().status_code for _ in range(5)] == [502] * 5
            refused = ask()
            assert (refused.status_code, len(upstream.asked)) == (503, 5)
            assert refused.json()["error"]["code"] == "engine_unavailable"
            assert 0 < int(refused.headers["retry-after-ms"]) <= 5_000
            assert "its breaker is open (5 failures in a row" in refused.text
            assert breaker() == "open"
            assert own.metric("octant_route_breaker_openings_total") == 1
            storm = False
            eventually(lambda: "Hello wörld" in ask().text, "its probe was answered")
            assert breaker() == "closed"
