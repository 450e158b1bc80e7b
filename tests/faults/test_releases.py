"""Releases under load: real engines of the bundled model, real requests, none of which may fail."""

import asyncio
import itertools
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.core.ids import RequestId
from tests.support.releases import MODEL, Releases, bundled_recipe, copied_model, recipe
from tests.support.server import RunningServer, eventually, running_server

CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Hello!"}],
    "max_tokens": 8,
    "temperature": 0,
}
LONG = CHAT | {"max_tokens": 1500, "ignore_eos": True, "stream": True}
FAST_1, FAST_2 = "fast@octant-mini-1", "fast@octant-mini-2"


@pytest.fixture(scope="module")
def one_route(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with one route; tests leave it with that route and all traffic on it."""
    data_dir = tmp_path_factory.mktemp("releases") / "data"
    with running_server(data_dir, environment={"OCTANT_DEPLOYMENTS__PRECISE": "false"}) as server:
        yield server


@pytest.fixture
def releases(one_route: RunningServer) -> Iterator[Releases]:
    releases = Releases(one_route)
    yield releases
    assert releases.weights() == {"octant-mini-1": 100}
    assert [d["id"] for d in releases.deployments().values() if d["wanted"]] == [FAST_1]
    releases.close()


class Callers:
    """Requests without a pause; what was answered, by request id, and what was not."""

    def __init__(self, server: RunningServer) -> None:
        self.answered: list[str] = []
        self.failed: list[str] = []
        self._server = server
        self._stop = threading.Event()

    def more(self, count: int) -> None:
        """Returns after that many further answers."""
        target = len(self.answered) + count
        eventually(lambda: len(self.answered) >= target or bool(self.failed), "answers", 60)

    def call(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            body = CHAT | {"stream": number % 2 == 1}
            with self._server.http() as client:
                response = client.post("/v1/chat/completions", json=body)
            whole = response.status_code == 200 and '"error"' not in response.text
            if body["stream"]:
                whole = whole and response.text.rstrip().endswith("data: [DONE]")
            if whole:
                self.answered.append(response.headers["x-request-id"])
            else:
                self.failed.append(response.text)

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def calling(server: RunningServer, callers: int = 3) -> Iterator[Callers]:
    """Callers at work; afterwards none of their requests may have failed."""
    calls = Callers(server)
    threads = [threading.Thread(target=calls.call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield calls
    finally:
        calls.stop()
        for thread in threads:
            thread.join()
    assert calls.failed == []


def releases_of(server: RunningServer, requests: list[str]) -> Counter[str]:
    """Which releases answered, as the store has it."""

    async def read() -> Counter[str]:
        store = SqliteStore(SqliteSettings(path=server.data_dir / "octant.db"))
        await store.open()
        try:
            manifests = [await store.manifest(RequestId(request)) for request in requests]
        finally:
            await store.close()
        assert None not in manifests
        return Counter(manifest.release for manifest in manifests if manifest is not None)

    return asyncio.run(read())


def test_traffic_moves_to_a_second_release_and_back_with_no_failed_request(
    one_route: RunningServer, releases: Releases
) -> None:
    with calling(one_route) as calls:
        calls.more(5)
        assert releases.add_recipe(bundled_recipe("precise")).status_code == 201
        assert releases.deploy("octant-mini-precise", "octant-mini-2").status_code == 202
        second = "precise@octant-mini-2"
        releases.wait(second, "ready")
        calls.more(5)
        seen: dict[int, Counter[str]] = {}
        for weight in (10, 50, 100, 0):
            assert releases.split(r1=100 - weight, r2=weight).status_code == 200
            # Those on their way were drawn before.
            calls.more(3)
            begun = len(calls.answered)
            calls.more(24)
            seen[weight] = releases_of(one_route, calls.answered[begun:])
        assert releases.remove(second).status_code == 202
        releases.wait(second, "gone")
        calls.more(5)
    assert seen[100] == {"octant-mini-2": seen[100].total()}
    assert seen[0] == {"octant-mini-1": seen[0].total()}
    assert seen[50]["octant-mini-1"] > 0 and seen[50]["octant-mini-2"] > 0
    assert seen[10]["octant-mini-1"] > seen[10]["octant-mini-2"]
    assert releases.split(r1=100).status_code == 200


def test_draining_waits_for_a_running_stream(one_route: RunningServer, releases: Releases) -> None:
    releases.deploy("octant-mini-fast", "octant-mini-2")
    releases.wait(FAST_2, "ready")
    releases.split(r1=0, r2=100)
    with (
        one_route.http() as client,
        client.stream("POST", "/v1/chat/completions", json=LONG) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        releases.split(r1=100, r2=0)
        told = releases.remove(FAST_2).json()
        assert told["state"] == "draining"
        assert releases.deployments()[FAST_2]["outstanding"] == 1
        rest = [line for line in lines if line.startswith("data: ")]
    assert rest[-1] == "data: [DONE]"
    assert not any('"error"' in line for line in rest)
    releases.wait(FAST_2, "gone")
    releases.split(r1=100)


def test_a_wrong_answer_to_the_probe_is_failed_and_never_ready(releases: Releases) -> None:
    before = releases.deployments()[FAST_1]
    probe = {"user": "Who are you?", "expect": "I am somebody else.", "max_tokens": 16}
    added = releases.add_recipe(recipe("pretender", "bundled:octant-mini", probe=probe))
    assert added.status_code == 201
    assert releases.deploy("pretender", "octant-mini-2").status_code == 202
    seen: set[str] = set()

    def has_failed() -> bool:
        seen.add(releases.state(FAST_2))
        return "failed" in seen

    eventually(has_failed, "failed", 60)
    assert "ready" not in seen
    assert "'I am somebody else.' is known to be right" in releases.deployments()[FAST_2]["reason"]
    refused = releases.split(r1=50, r2=50)
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "conflict"
    assert releases.remove(FAST_2).status_code == 202
    releases.wait(FAST_2, "gone")
    assert releases.deployments()[FAST_1] == before


def test_a_corrupt_artifact_is_refused_and_touches_nothing(
    releases: Releases, tmp_path: Path
) -> None:
    before = releases.deployments()
    model = copied_model(tmp_path / "model")
    assert releases.add_recipe(recipe("damaged", str(model))).status_code == 201
    weights = model / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    refused = releases.deploy("damaged", "octant-mini-2")
    assert refused.status_code == 503
    error = refused.json()["error"]
    assert (error["code"], error["octant"]["class"]) == ("corrupt_artifact", "artifact")
    assert "openvino_model.bin" in error["message"]
    again = releases.add_recipe(recipe("damaged-2", str(model)))
    assert again.json()["error"]["code"] == "corrupt_artifact"
    assert releases.deployments() == before


def test_callers_are_not_left_without_a_route(releases: Releases) -> None:
    refused = releases.remove(FAST_1)
    assert refused.status_code == 409
    assert "last deployment of octant-mini" in refused.json()["error"]["message"]
    unknown = releases.split(r7=1)
    assert unknown.status_code == 404


def test_every_change_is_in_the_audit_log(one_route: RunningServer, releases: Releases) -> None:
    version = releases.http.get(f"/admin/v1/models/{MODEL}/traffic").json()["current"]["version"]
    changed = releases.split(r1=100)
    listed = one_route.octant("audit", "list", "--json", "--limit", "5")
    records = json.loads(listed.stdout)
    newest = records[0]["record"] if "record" in records[0] else records[0]
    assert newest["action"] == "traffic.set"
    assert newest["request_id"] == changed.headers["x-request-id"]
    assert newest["detail"]["actor"] == "owner"
    assert newest["detail"]["version"] == version + 1


def test_while_one_route_is_killed_the_other_answers(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        releases = Releases(server)
        releases.wait("precise@octant-mini-1", "ready")
        killed = releases.deployments()[FAST_1]["engine_pid"]
        os.kill(killed, signal.SIGKILL)
        with calling(server) as calls:
            calls.more(30)
            releases.wait(FAST_1, "ready")
            calls.more(5)
        assert releases.deployments()[FAST_1]["restarts"] == 1
        assert releases.deployments()[FAST_1]["engine_pid"] != killed
        releases.close()


def test_kill_9_between_two_steps_loses_no_acknowledged_change(tmp_path: Path) -> None:
    environment = {"OCTANT_DEPLOYMENTS__PRECISE": "false"}
    key: str | None = None
    expected: tuple[dict[str, bool], dict[str, int]] = ({FAST_1: True}, {"octant-mini-1": 100})
    for step in ("deploy", "move", None):
        with running_server(tmp_path / "data", environment=environment, key=key) as server:
            key, releases = server.key, Releases(server)
            told = {d["id"]: d["wanted"] for d in releases.deployments().values()}
            assert (told, releases.weights()) == expected
            if step is not None:
                expected = _take(step, releases)
            server.process.kill()
            server.process.wait()
            releases.close()


def _take(step: str, releases: Releases) -> tuple[dict[str, bool], dict[str, int]]:
    """Acknowledged changes, and what has to be there after them."""
    if step == "deploy":
        assert releases.deploy("octant-mini-fast", "octant-mini-2").status_code == 202
        return {FAST_1: True, FAST_2: True}, {"octant-mini-1": 100}
    releases.wait(FAST_2, "ready")
    assert releases.split(r1=0, r2=7).status_code == 200
    response = releases.http.post(f"/admin/v1/deployments/{FAST_1}/drain")
    assert response.status_code == 202, response.text
    return {FAST_1: False, FAST_2: True}, {"octant-mini-1": 0, "octant-mini-2": 7}


def test_administration_needs_its_scope(one_route: RunningServer) -> None:
    made = one_route.octant("keys", "create", "--name", "plain", "--json")
    plain = json.loads(made.stdout)["key"]
    headers = {"authorization": f"Bearer {plain}"}
    with httpx2.Client(base_url=one_route.address, headers=headers) as client:
        refused = client.get("/admin/v1/deployments")
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "permission_denied"
        assert client.get("/admin/v1/openapi.json").status_code == 200
        assert client.get("/v1/models").status_code == 200
