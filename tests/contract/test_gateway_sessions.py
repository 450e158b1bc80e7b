"""Sessions over real HTTP and the real store: life, branches, isolation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
import pytest
from msgspec.structs import replace

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.core.content import ImagePart, Message, Role, TextPart, ToolCall
from octant.core.identity import Scope
from octant.core.ids import ActorId, SessionId
from octant.core.session import SessionAppend, SessionTurn
from octant.gateway.schemas import schema
from octant.gateway.sessions import SEARCHED, SessionPolicy
from octant.gateway.settings import GatewaySettings
from octant.ports.store import Tenant
from tests.support.gateway import ACME, GLOBEX, Gateway, running_gateway
from tests.support.policies import built_in, governor
from tests.support.settlements import settlement

SESSION = jsonschema_rs.validator_for(schema("session.v1"))
CONVERSATION = jsonschema_rs.validator_for(schema("conversation.v1"))
SETTINGS = GatewaySettings(max_listed_sessions=2)


class Served(NamedTuple):
    """A gateway over a store."""

    gateway: Gateway
    store: SqliteStore

    async def call(self, method: str, path: str, key: str = "", **sent: Any) -> Any:
        """A request of Acme's key, or another's."""
        headers = {"authorization": f"Bearer {key or self.gateway.key}"}
        return await self.gateway.http.request(method, path, headers=headers, **sent)

    async def create(self, **fields: Any) -> dict[str, Any]:
        """A new session."""
        response = await self.call("POST", "/v1/sessions", json=fields)
        assert response.status_code == 200, response.text
        SESSION.validate(response.json())
        return response.json()

    async def show(self, session: str) -> dict[str, Any]:
        """A session with its turns."""
        response = await self.call("GET", f"/v1/sessions/{session}")
        assert response.status_code == 200, response.text
        CONVERSATION.validate(response.json())
        return response.json()

    async def append(self, session: str, number: int, *messages: Message) -> None:
        """Stores a turn as a settled request does."""
        turn = SessionTurn(
            version=number,
            request_id=settlement(number).outcome.request_id,
            messages=messages,
            at_unix_ns=5_000_000_000,
        )
        added = SessionAppend(
            session=SessionId(session),
            tenant=ACME,
            expected_version=number - 1,
            turn=turn,
            placeholders={"<CARD_1>": "4111 1111 1111 1111"},
        )
        await self.store.settle(replace(settlement(number), session=added))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


@asynccontextmanager
async def serving(
    tmp_path: Path, session_policy: SessionPolicy | None = None
) -> AsyncIterator[Served]:
    store = SqliteStore(SqliteSettings(path=tmp_path / "octant.db"))
    await store.open()
    try:
        for tenant in (ACME, GLOBEX):
            await store.put_tenant(Tenant(id=tenant, name=tenant, created_unix_ns=0))
        async with running_gateway(SETTINGS, store, session_policy) as gateway:
            yield Served(gateway, store)
    finally:
        await store.close()


def said(role: Role, text: str, **more: Any) -> Message:
    return Message(role=role, parts=(TextPart(text=text),), **more)


async def test_a_session_is_made_and_found(served: Served) -> None:
    made = await served.create(title="Bills")
    assert made["id"].startswith("ses_")
    assert (made["object"], made["title"], made["version"]) == ("session", "Bills", 0)
    assert (made["actor"], made["parent"]) == ("alice", None)
    assert await served.show(made["id"]) == made | {"turns": []}
    listed = (await served.call("GET", "/v1/sessions")).json()
    assert listed == {"object": "list", "data": [made], "has_more": False}


async def test_a_listing_is_bounded_and_says_so(served: Served) -> None:
    made = [await served.create(title=str(number)) for number in range(3)]
    listed = (await served.call("GET", "/v1/sessions")).json()
    assert listed["has_more"]
    assert len(listed["data"]) == 2
    assert all(session in made for session in listed["data"])


async def test_turns_are_shown_as_they_are_stored(served: Served) -> None:
    session = (await served.create())["id"]
    call = ToolCall(id="call_1", name="look", arguments="{}")
    image = Message(role=Role.USER, parts=(TextPart(text="See"), ImagePart(url="data:,")))
    await served.append(session, 1, said(Role.USER, "My card is <CARD_1>."), image)
    await served.append(
        session,
        2,
        Message(role=Role.ASSISTANT, tool_calls=(call,)),
        said(Role.TOOL, "sky", tool_call_id="call_1"),
    )
    shown = await served.show(session)
    assert shown["version"] == 2
    assert [turn["version"] for turn in shown["turns"]] == [1, 2]
    assert shown["turns"][0]["created"] == 5
    assert shown["turns"][0]["messages"] == [
        {"role": "user", "content": "My card is <CARD_1>."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "data:,", "detail": "auto"}},
            ],
        },
    ]
    assert shown["turns"][1]["messages"] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "content": "sky", "tool_call_id": "call_1"},
    ]


async def test_what_placeholders_stand_for_is_never_shown(served: Served) -> None:
    session = (await served.create())["id"]
    await served.append(session, 1, said(Role.USER, "My card is <CARD_1>."))
    response = await served.call("GET", f"/v1/sessions/{session}")
    assert "4111" not in response.text


async def test_shown_messages_can_be_sent_again(served: Served) -> None:
    session = (await served.create())["id"]
    call = ToolCall(id="call_1", name="look", arguments="{}")
    await served.append(
        session,
        1,
        said(Role.USER, "Look"),
        Message(role=Role.ASSISTANT, tool_calls=(call,)),
        said(Role.TOOL, "sky", tool_call_id="call_1"),
        said(Role.ASSISTANT, "It is blue."),
    )
    (turn,) = (await served.show(session))["turns"]
    assert (await served.gateway.chat(messages=turn["messages"])).status_code == 200
    run = {"model": "tiny", "input": turn["messages"]}
    assert (await served.gateway.post("/v1/runs", run)).status_code == 200


async def test_a_branch_takes_the_first_turns(served: Served) -> None:
    trunk = (await served.create(title="Trunk"))["id"]
    for number in (1, 2):
        await served.append(trunk, number, said(Role.USER, str(number)))
    early = await served.call("POST", f"/v1/sessions/{trunk}/branch", json={"at_version": 1})
    late = await served.call("POST", f"/v1/sessions/{trunk}/branch", json={"title": "Other"})
    assert (early.status_code, late.status_code) == (200, 200)
    assert early.json()["parent"] == {"id": trunk, "version": 1}
    assert (early.json()["title"], late.json()["title"]) == ("Trunk", "Other")
    turns = [len((await served.show(new.json()["id"]))["turns"]) for new in (early, late)]
    assert turns == [1, 2]


async def test_a_branch_cannot_take_turns_that_are_not_there(served: Served) -> None:
    trunk = (await served.create())["id"]
    response = await served.call("POST", f"/v1/sessions/{trunk}/branch", json={"at_version": 1})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "at_version"


async def test_a_deleted_session_is_gone(served: Served) -> None:
    session = (await served.create())["id"]
    response = await served.call("DELETE", f"/v1/sessions/{session}")
    assert response.json() == {"id": session, "object": "session.deleted", "deleted": True}
    for method, path in (("GET", session), ("DELETE", session)):
        assert (await served.call(method, f"/v1/sessions/{path}")).status_code == 404


async def test_a_deletion_is_on_record(served: Served) -> None:
    session = (await served.create())["id"]
    response = await served.call("DELETE", f"/v1/sessions/{session}")
    await served.call("DELETE", f"/v1/sessions/{session}")
    (record,) = await served.store.audit(ACME, 10)
    assert (record.action, record.decision) == ("session.delete", "allow")
    assert record.rule == "authorise.cedar.default.sessions"
    assert record.policy_version == built_in().version
    assert record.request_id == response.headers["x-request-id"]
    assert record.detail == {"actor": "alice", "session": session, "session_version": 0}


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("POST", "/branch")])
async def test_another_tenants_session_is_like_none(served: Served, method: str, tail: str) -> None:
    session = (await served.create())["id"]
    other = served.gateway.keys.mint(tenant=GLOBEX).plaintext
    sent = {"json": {}} if method == "POST" else {}
    answers = [
        await served.call(method, f"/v1/sessions/{name}{tail}", other, **sent)
        for name in (session, "ses_" + "0" * 32)
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    theirs, nobodys = (answer.json()["error"] for answer in answers)
    assert theirs["message"].replace(session, "") == nobodys["message"].replace(
        "ses_" + "0" * 32, ""
    )
    assert (await served.call("GET", "/v1/sessions", other)).json()["data"] == []
    assert (await served.show(session))["id"] == session


OWN = """
@id("sessions") permit (principal, action == Action::"UseSession", resource);
@id("own") @reason("Sessions are for those who made them.")
forbid (principal, action == Action::"UseSession", resource)
unless { resource.actor == principal.actor };"""


async def test_a_session_is_used_as_far_as_policy_permits(tmp_path: Path) -> None:
    async with serving(tmp_path, governor(cedar=OWN)) as served:
        session = (await served.create())["id"]
        mallory = served.gateway.keys.mint(actor=ActorId("mallory")).plaintext
        globex = served.gateway.keys.mint(tenant=GLOBEX, actor=ActorId("mallory")).plaintext
        for method, tail in (("GET", ""), ("DELETE", ""), ("POST", "/branch")):
            sent = {"json": {}} if method == "POST" else {}
            path = f"/v1/sessions/{session}{tail}"
            refused = await served.call(method, path, mallory, **sent)
            assert refused.status_code == 403
            error = refused.json()["error"]
            assert (error["code"], error["octant"]["stage"]) == ("permission_denied", "governance")
            assert error["message"] == "Sessions are for those who made them."
            assert (await served.call(method, path, globex, **sent)).status_code == 404
        assert (await served.show(session))["id"] == session
        assert await served.store.audit(ACME, 10) == []


async def test_a_listing_has_what_the_key_may_use_and_looks_further_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path, governor(cedar=OWN)) as served:
        mallory = served.gateway.keys.mint(actor=ActorId("mallory")).plaintext
        mine = await served.create()
        for _ in range(SEARCHED + 1):
            made = await served.call("POST", "/v1/sessions", mallory, json={})
            assert made.status_code == 200
        listed = (await served.call("GET", "/v1/sessions")).json()
        assert listed == {"object": "list", "data": [mine], "has_more": False}
        theirs = (await served.call("GET", "/v1/sessions", mallory)).json()
        assert [session["actor"] for session in theirs["data"]] == ["mallory"] * 2
        assert theirs["has_more"]
        for _ in range(SEARCHED):
            await served.call("POST", "/v1/sessions", mallory, json={})
        listed = (await served.call("GET", "/v1/sessions")).json()
        assert listed == {"object": "list", "data": [], "has_more": True}


async def test_nobody_makes_a_session_that_they_may_not_use(tmp_path: Path) -> None:
    nothing = '@id("m") permit (principal, action == Action::"UseModel", resource);'
    async with serving(tmp_path, governor(cedar=nothing)) as served:
        refused = await served.call("POST", "/v1/sessions", json={})
        assert refused.status_code == 403
        assert await served.store.sessions(ACME, 10) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/sessions"),
        ("GET", "/v1/sessions"),
        ("GET", "/v1/sessions/ses_1"),
        ("DELETE", "/v1/sessions/ses_1"),
        ("POST", "/v1/sessions/ses_1/branch"),
    ],
)
async def test_every_door_needs_a_key_with_the_scope(
    served: Served, method: str, path: str
) -> None:
    weak = served.gateway.keys.mint(scopes=(Scope.MODELS_READ,)).plaintext
    assert (await served.call(method, path, "wrong")).status_code == 401
    assert (await served.call(method, path, weak)).status_code == 403


async def test_bodies_are_checked(served: Served) -> None:
    for sent, code in (
        ({"json": {"titel": "x"}}, "unknown_parameter"),
        ({"json": {"title": "x" * 257}}, "invalid_value"),
        ({"json": []}, "invalid_type"),
        ({"content": b"{}"}, "unsupported_media_type"),
    ):
        response = await served.call("POST", "/v1/sessions", **sent)
        assert response.json()["error"]["code"] == code


async def test_other_methods_are_named(served: Served) -> None:
    response = await served.call("PUT", "/v1/sessions/ses_1")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, DELETE"
