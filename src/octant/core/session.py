"""Session: a conversation that the server keeps, by id (CX2).

Law: `version` counts the turns that were stored; whoever appends names the version it read, and a
session that has moved on refuses. What is stored is what the model was shown (personal data
replaced by placeholders), with the placeholders' values beside it, so that deleting the session
deletes both.
"""

from octant.core.content import Message
from octant.core.ids import ActorId, RequestId, SessionId, TenantId
from octant.core.record import Record


class Session(Record, frozen=True, kw_only=True):
    """A conversation's head. `parent` is the session it branched from, at `parent_version`."""

    id: SessionId
    tenant: TenantId
    actor: ActorId
    version: int = 0
    title: str = ""
    parent: SessionId | None = None
    parent_version: int = 0
    created_unix_ns: int
    updated_unix_ns: int


class SessionTurn(Record, frozen=True, kw_only=True):
    """What one settled request added: the caller's messages and the answer, in order."""

    version: int
    request_id: RequestId
    messages: tuple[Message, ...]
    at_unix_ns: int


class Conversation(Record, frozen=True, kw_only=True):
    """A session as it is read: head, turns in order, and values by placeholder."""

    session: Session
    turns: tuple[SessionTurn, ...] = ()
    placeholders: dict[str, str] = {}

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns, joined."""
        return tuple(message for turn in self.turns for message in turn.messages)


class SessionAppend(Record, frozen=True, kw_only=True):
    """A turn to store with a settlement, if the session still stands at `expected_version`."""

    session: SessionId
    tenant: TenantId
    expected_version: int
    turn: SessionTurn
    placeholders: dict[str, str] = {}


class SessionChange(Record, frozen=True, kw_only=True):
    """What a request changed in its session, for its response."""

    session: SessionId
    version: int
    messages_added: int
