"""The administration API over its whole border: identity, bounds, shapes and refusals."""

import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import httpx2
import pytest

from octant.adapters.system.clock import SystemClock
from octant.adapters.system.entropy import SystemEntropy
from octant.core.events import RequestRefused
from octant.core.identity import Scope
from octant.gateway.administration.application import (
    PREFIX,
    AdministrationApplication,
    AdministrationServices,
)
from octant.gateway.authentication import Authenticator, KeyCacheSettings
from octant.gateway.drain import Drain
from octant.gateway.headers import SENT
from octant.gateway.settings import GatewaySettings
from octant.ports.store import Store
from tests.support.desk import Desk, recipe
from tests.support.engine_parts import EventList
from tests.support.gateway import PEPPER, KeyTable

TRAFFIC = "/models/m/traffic"


class Api(NamedTuple):
    """The API as a caller with the scope sees it, and what stands behind it."""

    http: httpx2.AsyncClient
    desk: Desk
    keys: KeyTable
    events: EventList
    drain: Drain

    async def refused(self, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
        """The error of an answer, which is counted and has the shape of all errors."""
        before = len(self.events.of(RequestRefused))
        answer = await self.http.request(method, PREFIX + path, **options)
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert error["octant"]["request_id"] == answer.headers["x-request-id"]
        assert answer.headers["x-should-retry"] in ("true", "false")
        assert set(answer.headers) <= SENT.keys()
        assert len(self.events.of(RequestRefused)) == before + 1
        return error


@pytest.fixture
async def api(store: Store) -> AsyncGenerator[Api]:
    desk = await Desk(store).start(recipe("fast"), recipe("precise"))
    keys, events, drain = KeyTable(), EventList(), Drain()
    clock = SystemClock()
    application = AdministrationApplication(
        AdministrationServices(
            administration=desk.on(),
            authenticator=Authenticator(keys, clock, PEPPER, KeyCacheSettings()),
            drain=drain,
            events=events,
            clock=clock,
            entropy=SystemEntropy(),
            settings=GatewaySettings(max_body_bytes=4_000),
        )
    )

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "root_path": PREFIX}, receive, send)

    key = keys.mint((Scope.DEPLOYMENTS,)).plaintext
    headers = {"authorization": f"Bearer {key}"}
    transport = httpx2.ASGITransport(mounted)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as http:
        yield Api(http, desk, keys, events, drain)


async def test_deployments_are_told_with_their_state(api: Api) -> None:
    told = (await api.http.get(f"{PREFIX}/deployments")).json()["data"]
    assert [(d["id"], d["state"], d["recipe"]) for d in told] == [
        ("fast@m-1", "ready", "m-fast"),
        ("precise@m-1", "ready", "m-precise"),
    ]
    (one,) = [d for d in told if d["id"] == "fast@m-1"]
    assert (await api.http.get(f"{PREFIX}/deployments/fast@m-1")).json() == one


async def test_a_release_is_deployed_given_traffic_and_taken_back(api: Api) -> None:
    added = await api.http.post(
        f"{PREFIX}/deployments", json={"recipe": "m-fast", "release": "m-2"}
    )
    assert (added.status_code, added.json()["id"]) == (202, "fast@m-2")
    split = await api.http.put(
        PREFIX + TRAFFIC, json={"weights": {"m-1": 90, "m-2": 10}, "expected_version": 1}
    )
    assert split.json()["current"]["weights"] == {"m-1": 90, "m-2": 10}
    assert [past["version"] for past in split.json()["history"]] == [2, 1]
    assert api.desk.fleet.splits == {"m": {"m-1": 90, "m-2": 10}}
    back = await api.http.put(PREFIX + TRAFFIC, json={"weights": {"m-1": 1}})
    assert back.json()["current"]["changed_by"] == "alice"
    gone = await api.http.delete(f"{PREFIX}/deployments/fast@m-2")
    assert (gone.status_code, gone.json()["wanted"]) == (202, False)
    drained = await api.http.post(f"{PREFIX}/deployments/precise@m-1/drain")
    assert (drained.status_code, drained.json()["state"]) == (202, "stopped")


async def test_a_recipe_is_registered_and_found_by_name_and_digest(api: Api) -> None:
    written = {
        "name": "m-new",
        "model": "m",
        "label": "new",
        "description": "",
        "artifact": "/m",
    }
    added = await api.http.post(f"{PREFIX}/recipes", json={"recipe": written})
    assert added.status_code == 201
    digest = added.json()["digest"]
    for named in (digest, "m-new"):
        found = await api.http.get(f"{PREFIX}/recipes/{named}")
        assert found.json()["digest"] == digest
    of_model = await api.http.get(f"{PREFIX}/recipes", params={"model": "m"})
    assert digest in [recipe["digest"] for recipe in of_model.json()["data"]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "param"),
    [
        (
            "POST",
            "/deployments",
            {"recipe": "m-fast"},
            400,
            "missing_required_parameter",
            "release",
        ),
        (
            "POST",
            "/deployments",
            {"recipe": "m-fast", "release": "m-2", "now": 1},
            400,
            "unknown_parameter",
            "now",
        ),
        (
            "POST",
            "/deployments",
            {"recipe": "m-fast", "release": "a b"},
            400,
            "invalid_value",
            "release",
        ),
        ("POST", "/deployments", {"recipe": "none", "release": "m-2"}, 404, "not_found", "recipe"),
        (
            "POST",
            "/deployments",
            {"recipe": "m-fast", "release": "m-1"},
            409,
            "conflict",
            "release",
        ),
        ("PUT", TRAFFIC, {"weights": {"m-9": 1}}, 404, "not_found", "weights.m-9"),
        ("PUT", TRAFFIC, {"weights": {"m-1": -1}}, 400, "invalid_value", "weights.m-1"),
        ("PUT", TRAFFIC, {"weights": {}}, 400, "invalid_value", "weights"),
        (
            "PUT",
            TRAFFIC,
            {"weights": {"m-1": 1}, "expected_version": 9},
            409,
            "conflict",
            "expected_version",
        ),
        ("PUT", "/models/x/traffic", {"weights": {"m-1": 1}}, 404, "model_not_found", "model"),
        ("POST", "/recipes", {"recipe": {"nme": 1}}, 400, "unknown_parameter", "nme"),
        ("POST", "/recipes", [1], 400, "invalid_value", None),
    ],
)
async def test_what_is_wrong_is_told_with_its_field(
    api: Api, method: str, path: str, body: Any, status: int, code: str, param: str | None
) -> None:
    error = await api.refused(method, path, status, json=body)
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_value"),
        (b"[" * 3_000, "invalid_value"),
        (b'{"recipe": NaN}', "invalid_json"),
    ],
)
async def test_bytes_that_are_no_body_are_refused(api: Api, content: bytes, code: str) -> None:
    error = await api.refused(
        "POST",
        "/deployments",
        400,
        content=content,
        headers={"content-type": "application/json"},
    )
    assert error["code"] in (code, "invalid_json", "invalid_value")


async def test_bodies_are_bounded_and_json(api: Api) -> None:
    json_type = {"content-type": "application/json"}
    large = json.dumps({"recipe": "x" * 5_000}).encode()
    await api.refused("POST", "/deployments", 413, content=large, headers=json_type)
    plain = {"content-type": "text/plain"}
    await api.refused("POST", "/deployments", 415, content=b"{}", headers=plain)


async def test_unknown_paths_and_methods_are_refused_in_the_same_shape(api: Api) -> None:
    assert (await api.refused("GET", "/nothing", 404))["code"] == "not_found"
    assert (await api.refused("PATCH", "/recipes", 405))["code"] == "method_not_allowed"
    answer = await api.http.request("PATCH", f"{PREFIX}/recipes")
    assert answer.headers["allow"] == "GET, POST"


async def test_nobody_gets_in_without_the_scope(api: Api) -> None:
    plain = api.keys.mint().plaintext
    for key, status in ((plain, 403), ("oct_no", 401), ("", 401)):
        headers = {"authorization": f"Bearer {key}"}
        await api.refused("GET", "/deployments", status, headers=headers)
        await api.refused("DELETE", "/deployments/fast@m-1", status, headers=headers)
    assert "fast@m-1" in api.desk.fleet.running


async def test_a_server_that_leaves_changes_nothing_but_answers(api: Api) -> None:
    api.drain.begin()
    assert (await api.http.get(f"{PREFIX}/deployments")).status_code == 200
    error = await api.refused("PUT", TRAFFIC, 503, json={"weights": {"m-1": 1}})
    assert error["code"] == "draining"


async def test_the_description_is_public_and_names_every_path(api: Api) -> None:
    answer = await api.http.get(f"{PREFIX}/openapi.json", headers={"authorization": ""})
    described = answer.json()
    assert answer.status_code == 200
    assert described["openapi"].startswith("3.")
    assert {path: set(methods) for path, methods in described["paths"].items()} == {
        "/recipes": {"get", "post"},
        "/recipes/{recipe}": {"get"},
        "/deployments": {"get", "post"},
        "/deployments/{deployment}": {"get", "delete"},
        "/deployments/{deployment}/drain": {"post"},
        "/models/{model}/traffic": {"get", "put"},
    }
