"""Sessions on the path: what a request goes on with, and the turn it leaves behind (CX2).

Law: a session is read once, before any work, and written once, with the settlement. Another request
may have moved it on in between; then nothing of this one is appended and it ends as a conflict.
"""

from collections.abc import Callable

from octant.core.content import ChatInput, Message
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.session import Conversation, Session, SessionAppend, SessionTurn
from octant.core.stage import Stage
from octant.governance.governor import Screened
from octant.ports.store import Store


class Sessions:
    """The sessions of a store; one that stands at `max_turns` can only be read."""

    def __init__(self, store: Store, max_turns: int) -> None:
        self._store = store
        self._max_turns = max_turns

    async def open(
        self, envelope: RequestEnvelope, authorise: Callable[[Session], None]
    ) -> Conversation | None:
        """The conversation so far; None where no session is named.

        `authorise` raises Failed before anything about a session that was found is told. Raises
        Failed(NOT_FOUND), Failed(CONFLICT) when it is not at the expected version,
        Failed(INVALID_VALUE) when it is full, and Failed(RECORD_NOT_STORED) when it cannot be read.
        """
        use = envelope.session
        if use is None:
            return None
        found = await self._store.conversation(envelope.principal.tenant, use.id)
        if found is None:
            raise Failed(
                _failure(
                    FailureKind.NOT_FOUND,
                    f"There is no session `{use.id}`. Make one with POST /v1/sessions.",
                    "octant.session.id",
                )
            )
        authorise(found.session)
        version = found.session.version
        if use.expected_version not in (None, version):
            raise Failed(
                _failure(
                    FailureKind.CONFLICT,
                    f"The session `{use.id}` is at version {version}, not {use.expected_version}. "
                    "Read it again, then repeat the request.",
                    "octant.session.expected_version",
                )
            )
        if use.store and version >= self._max_turns:
            raise Failed(
                _failure(
                    FailureKind.INVALID_VALUE,
                    f"The session `{use.id}` has {version} turns, the most that are kept. Branch "
                    "from an earlier version, begin a new one, or send store: false.",
                    "octant.session.id",
                )
            )
        return found


def next_turn(
    screened: Screened, conversation: Conversation | None, said: tuple[Message, ...]
) -> SessionAppend | None:
    """The turn that a completed request adds: what was asked, screened, and what was said.

    None where there is no session, it is only read, or nothing was said.
    """
    asked = screened.envelope
    use, chat = asked.session, asked.input
    if use is None or conversation is None or not use.store or not said:
        return None
    assert isinstance(chat, ChatInput), "a session needs messages"
    version = conversation.session.version
    turn = SessionTurn(
        version=version + 1,
        request_id=asked.request_id,
        messages=(*chat.messages, *said),
        at_unix_ns=asked.received_unix_ns,
    )
    return SessionAppend(
        session=use.id,
        tenant=asked.principal.tenant,
        expected_version=version,
        turn=turn,
        placeholders=screened.vault.placeholders,
    )


def _failure(kind: FailureKind, message: str, param: str) -> Failure:
    return Failure(kind=kind, stage=Stage.SESSION, message=message, param=param)
