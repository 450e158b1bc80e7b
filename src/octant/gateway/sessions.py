"""Sessions: conversations that the server keeps, made, read, branched and deleted by their tenant.

Law: every look-up names the caller's tenant, so a session of another tenant is not found, exactly
as one that never was; one of the tenant's own is used as far as policy permits. What is shown is
what is stored: placeholders stay where personal data was.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, NoReturn, Protocol, TypeVar

import msgspec
from msgspec import Meta

from octant.core import ids
from octant.core.audit import AuditRecord
from octant.core.content import ImagePart, Message, Part, Role, TextPart
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Principal, Scope
from octant.core.ids import SessionId, TenantId
from octant.core.session import Conversation, Session, SessionTurn
from octant.core.stage import Stage
from octant.core.units import NS_PER_S
from octant.core.verdict import Decision, Verdict
from octant.gateway.authentication import Authenticator
from octant.gateway.body import body_of
from octant.gateway.dialects.dialect import encode_json
from octant.gateway.failures import refuse
from octant.gateway.fields import Table, table, taken
from octant.gateway.json_input import decode_body
from octant.gateway.reply import JSON
from octant.gateway.routing import Call
from octant.gateway.settings import GatewaySettings
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy

MAX_TITLE = 256
SEARCHED = 10
"""So many times as many sessions as are listed are looked through for those a key may use."""
_SCOPES = (Scope.INFERENCE,)
_MAX_VERSION = (1 << 63) - 1

Title = Annotated[str, Meta(max_length=MAX_TITLE)]
_Body = TypeVar("_Body")


class SessionStore(Protocol):
    """The part of `ports.store.Store` that sessions need."""

    async def put_session(self, session: Session) -> None: ...

    async def branch_session(self, new: Session) -> None: ...

    async def conversation(self, tenant: TenantId, session: SessionId) -> Conversation | None: ...

    async def sessions(self, tenant: TenantId, limit: int) -> Sequence[Session]: ...

    async def delete_session(self, tenant: TenantId, session: SessionId) -> bool: ...

    async def append_audit(self, records: Sequence[AuditRecord]) -> None: ...


class SessionPolicy(Protocol):
    """Who may use which session; `governance.governor.Governor` in production."""

    def authorise_session(self, principal: Principal, session: Session) -> Verdict: ...

    def refusal(self, verdict: Verdict, stage: Stage) -> Failure: ...


class NewSession(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of `POST /v1/sessions`."""

    title: Title | None = None


class NewBranch(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of `POST /v1/sessions/{id}/branch`."""

    title: Title | None = None
    at_version: Annotated[int, Meta(ge=0, le=_MAX_VERSION)] | None = None


_TITLE = taken("title", f"Up to {MAX_TITLE} characters, for people.")
SESSION_FIELDS: Table = table(_TITLE)
BRANCH_FIELDS: Table = table(
    _TITLE,
    taken("at_version", "0 to the version of the session: how many of its turns the branch takes."),
)


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is written."""


class ShownParent(_Shown, frozen=True):
    """Where a session branched off."""

    id: str
    version: int


class SessionObject(_Shown, frozen=True, kw_only=True):
    """A session's head. `created` and `updated` count seconds since 1970."""

    id: str
    object: Literal["session"] = "session"
    title: str
    version: int
    actor: str
    parent: ShownParent | None
    created: int
    updated: int


class ShownFunction(_Shown, frozen=True):
    """What an assistant called."""

    name: str
    arguments: str


class ShownToolCall(_Shown, frozen=True, kw_only=True):
    """A call of an assistant."""

    id: str
    type: Literal["function"] = "function"
    function: ShownFunction


class ShownImageUrl(_Shown, frozen=True):
    """Where an image is."""

    url: str
    detail: str


class ShownPart(_Shown, frozen=True, omit_defaults=True):
    """A part of a message that is not text alone."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ShownImageUrl | None = None


class ShownMessage(_Shown, frozen=True, omit_defaults=True):
    """A message as the inference endpoints take it."""

    role: Role
    content: str | list[ShownPart] | None
    name: str | None = None
    tool_calls: list[ShownToolCall] | None = None
    tool_call_id: str | None = None


class ShownTurn(_Shown, frozen=True):
    """What one request added. `version` is that of the session since."""

    version: int
    request_id: str
    created: int
    messages: list[ShownMessage]


class ConversationObject(SessionObject, frozen=True, kw_only=True):
    """A session with its turns, oldest first."""

    turns: list[ShownTurn]


class _Granted(NamedTuple):
    """A session that may be used, and by which rule."""

    conversation: Conversation
    verdict: Verdict


class Sessions:
    """The endpoints under `/v1/sessions`."""

    def __init__(
        self,
        store: SessionStore,
        policy: SessionPolicy,
        authenticator: Authenticator,
        clock: Clock,
        entropy: Entropy,
        settings: GatewaySettings,
    ) -> None:
        self._store = store
        self._policy = policy
        self._authenticator = authenticator
        self._clock = clock
        self._entropy = entropy
        self._settings = settings

    async def create(self, call: Call) -> None:
        """`POST /v1/sessions`."""
        principal = await self._principal(call)
        sent = await self._read(call, NewSession, SESSION_FIELDS)
        new = self._new(principal, sent.title or "")
        self._authorise(principal, new)
        await self._store.put_session(new)
        await call.reply.whole(200, JSON, encode_json(_session_object(new)))

    async def listing(self, call: Call) -> None:
        """`GET /v1/sessions`: those the key may use, the most recently changed first, bounded."""
        principal, limit = await self._principal(call), self._settings.max_listed_sessions
        usable: list[Session] = []
        has_more = False
        for read in (limit + 1, SEARCHED * limit + 1):
            found = await self._store.sessions(principal.tenant, read)
            usable = [session for session in found if self._may_use(principal, session)]
            has_more = len(usable) > limit or len(found) == read
            if len(usable) > limit or not has_more:
                break
        data = [_session_object(session) for session in usable[:limit]]
        body = {"object": "list", "data": data, "has_more": has_more}
        await call.reply.whole(200, JSON, encode_json(body))

    async def show(self, call: Call) -> None:
        """`GET /v1/sessions/{id}`: head and turns."""
        granted = await self._granted(call, await self._principal(call))
        await call.reply.whole(200, JSON, encode_json(_conversation_object(granted.conversation)))

    async def branch(self, call: Call) -> None:
        """`POST /v1/sessions/{id}/branch`: a new session with the first turns of this one."""
        principal = await self._principal(call)
        sent = await self._read(call, NewBranch, BRANCH_FIELDS)
        parent = (await self._granted(call, principal)).conversation.session
        version = parent.version if sent.at_version is None else sent.at_version
        if version > parent.version:
            _refuse_version(version, parent.version)
        title = parent.title if sent.title is None else sent.title
        new = msgspec.structs.replace(
            self._new(principal, title), version=version, parent=parent.id, parent_version=version
        )
        self._authorise(principal, new)
        await self._store.branch_session(new)
        await call.reply.whole(200, JSON, encode_json(_session_object(new)))

    async def delete(self, call: Call) -> None:
        """`DELETE /v1/sessions/{id}`: with its turns and what its placeholders stood for.

        On record before it happens: what cannot be recorded is not deleted.
        """
        principal = await self._principal(call)
        granted = await self._granted(call, principal)
        found = granted.conversation.session
        await self._store.append_audit([self._deletion(call, principal, granted)])
        if not await self._store.delete_session(principal.tenant, found.id):
            _refuse_unknown(found.id)
        body = {"id": found.id, "object": "session.deleted", "deleted": True}
        await call.reply.whole(200, JSON, encode_json(body))

    async def _principal(self, call: Call) -> Principal:
        authorization = call.head.headers.get(b"authorization")
        return (await self._authenticator.authenticate(authorization, _SCOPES)).principal

    async def _read(self, call: Call, shape: type[_Body], fields: Table) -> _Body:
        body = await body_of(call, self._settings)
        return decode_body(body, shape, fields, self._settings.max_nesting)

    async def _granted(self, call: Call, principal: Principal) -> _Granted:
        """Raises Failed(NOT_FOUND), and Failed(PERMISSION_DENIED) where policy is against it."""
        session = SessionId(call.names["id"])
        found = await self._store.conversation(principal.tenant, session)
        if found is None:
            _refuse_unknown(session)
        return _Granted(found, self._authorise(principal, found.session))

    def _authorise(self, principal: Principal, session: Session) -> Verdict:
        verdict = self._policy.authorise_session(principal, session)
        if verdict.decision is Decision.BLOCK:
            raise Failed(self._policy.refusal(verdict, Stage.GOVERNANCE))
        return verdict

    def _may_use(self, principal: Principal, session: Session) -> bool:
        verdict = self._policy.authorise_session(principal, session)
        return verdict.decision is not Decision.BLOCK

    def _deletion(self, call: Call, principal: Principal, granted: _Granted) -> AuditRecord:
        session, verdict = granted.conversation.session, granted.verdict
        return AuditRecord(
            request_id=call.head.request_id,
            tenant=principal.tenant,
            key_id=principal.key_id,
            action="session.delete",
            decision=verdict.decision.value,
            policy_version=verdict.policy_version,
            rule=verdict.rule,
            at_unix_ns=self._clock.unix_ns(),
            detail={
                "actor": principal.actor,
                "session": session.id,
                "session_version": session.version,
            },
        )

    def _new(self, principal: Principal, title: str) -> Session:
        now_unix_ns = self._clock.unix_ns()
        return Session(
            id=ids.session_id(self._entropy.bytes(ids.ID_ENTROPY_BYTES)),
            tenant=principal.tenant,
            actor=principal.actor,
            title=title,
            created_unix_ns=now_unix_ns,
            updated_unix_ns=now_unix_ns,
        )


def _refuse_unknown(session: SessionId) -> NoReturn:
    refuse(
        FailureKind.NOT_FOUND,
        f"The session '{session[:100]}' does not exist. GET /v1/sessions lists yours.",
        "id",
    )


def _refuse_version(asked: int, version: int) -> NoReturn:
    refuse(
        FailureKind.INVALID_VALUE,
        f"Invalid value for 'at_version': {asked}, the session stands at {version}. Lower it.",
        "at_version",
    )


def _session_object(session: Session) -> SessionObject:
    return SessionObject(
        id=session.id,
        title=session.title,
        version=session.version,
        actor=session.actor,
        parent=(
            ShownParent(id=session.parent, version=session.parent_version)
            if session.parent
            else None
        ),
        created=session.created_unix_ns // NS_PER_S,
        updated=session.updated_unix_ns // NS_PER_S,
    )


def _conversation_object(conversation: Conversation) -> ConversationObject:
    head = msgspec.structs.asdict(_session_object(conversation.session))
    return ConversationObject(**head, turns=[_turn(turn) for turn in conversation.turns])


def _turn(turn: SessionTurn) -> ShownTurn:
    return ShownTurn(
        version=turn.version,
        request_id=turn.request_id,
        created=turn.at_unix_ns // NS_PER_S,
        messages=[_message(message) for message in turn.messages],
    )


def _message(message: Message) -> ShownMessage:
    calls = [
        ShownToolCall(id=call.id, function=ShownFunction(name=call.name, arguments=call.arguments))
        for call in message.tool_calls
    ]
    return ShownMessage(
        role=message.role,
        content=None if calls and not message.parts else _content(message.parts),
        name=message.name,
        tool_calls=calls or None,
        tool_call_id=message.tool_call_id,
    )


def _content(parts: Sequence[Part]) -> str | list[ShownPart]:
    if any(isinstance(part, ImagePart) for part in parts):
        return [_part(part) for part in parts]
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def _part(part: Part) -> ShownPart:
    if isinstance(part, TextPart):
        return ShownPart(type="text", text=part.text)
    return ShownPart(type="image_url", image_url=ShownImageUrl(url=part.url, detail=part.detail))
