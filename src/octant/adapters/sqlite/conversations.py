"""Conversations: a session read whole, with one query.

Law: head, turns and placeholders come from one snapshot, so a version is never seen without its
turn. Every query names the tenant.
"""

from collections.abc import Sequence

from sqlalchemy import Executable, RowMapping, Select, literal, select, union_all

from octant.adapters.sqlite.schema import session_placeholders, session_turns, sessions
from octant.core.ids import SessionId, TenantId
from octant.core.record import decode
from octant.core.session import Conversation, Session, SessionTurn

_HEAD, _TURN, _PLACEHOLDER = range(3)


def whole(tenant: TenantId, session: SessionId) -> Executable:
    """Rows for `conversation`."""
    turns, values = session_turns.c, session_placeholders.c
    nothing = literal("")
    return union_all(
        select(
            literal(_HEAD).label("part"),
            sessions.c.version.label("version"),
            nothing.label("name"),
            sessions.c.record.label("text"),
        ).where(sessions.c.tenant == tenant, sessions.c.id == session),
        select(literal(_TURN), turns.version, nothing, turns.record).where(
            turns.tenant == tenant, turns.session == session
        ),
        select(literal(_PLACEHOLDER), values.version, values.placeholder, values.value).where(
            values.tenant == tenant, values.session == session
        ),
    ).order_by("part", "version", "name")


def conversation(rows: Sequence[RowMapping]) -> Conversation | None:
    """Raises msgspec.MsgspecError on records that were damaged."""
    if not rows:
        return None
    return Conversation(
        session=decode(rows[0]["text"], Session),
        turns=tuple(decode(row["text"], SessionTurn) for row in rows if row["part"] == _TURN),
        placeholders={row["name"]: row["text"] for row in rows if row["part"] == _PLACEHOLDER},
    )


def newest_first(tenant: TenantId, limit: int) -> Select[str]:
    """Heads of the sessions that changed last."""
    return (
        select(sessions.c.record)
        .where(sessions.c.tenant == tenant)
        .order_by(sessions.c.updated_unix_ns.desc(), sessions.c.id)
        .limit(limit)
    )
