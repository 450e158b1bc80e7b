"""Integrity: what has to hold in the file between any two commits, checked on one snapshot.

The file is sound, no row has lost its parent, budgets are the sums of the ledger, sessions have as
many turns as their versions say. The audit chain has its own walk (`core.audit_walk`).
"""

from typing import Any

from sqlalchemy import Executable, and_, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from octant.adapters.sqlite.schema import budgets, ledger, session_turns, sessions

_CHARGED = select(
    ledger.c.tenant, ledger.c.month, func.count(), func.sum(ledger.c.cost_nano_usd)
).group_by(ledger.c.tenant, ledger.c.month)
_RECORDED_VERSION = func.json_extract(sessions.c.record, "$.version")
_MISCOUNTED = (
    select(
        sessions.c.tenant, sessions.c.id, sessions.c.version, func.count(session_turns.c.version)
    )
    .outerjoin(
        session_turns,
        and_(session_turns.c.tenant == sessions.c.tenant, session_turns.c.session == sessions.c.id),
    )
    .group_by(sessions.c.tenant, sessions.c.id)
    .having(
        (func.count(session_turns.c.version) != sessions.c.version)
        | (func.coalesce(func.max(session_turns.c.version), 0) != sessions.c.version)
        | (_RECORDED_VERSION.is_distinct_from(sessions.c.version))
    )
)


async def check(connection: AsyncConnection) -> None:
    """Raises AssertionError at the first thing that does not hold."""
    await connection.exec_driver_sql("BEGIN")
    try:
        await _check(connection)
    finally:
        await connection.exec_driver_sql("ROLLBACK")


async def _check(connection: AsyncConnection) -> None:
    damage = (await connection.execute(text("PRAGMA quick_check"))).scalars().all()
    assert list(damage) == ["ok"], f"the file is damaged: {damage}"
    orphans = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
    assert not orphans, f"rows without their parents: {orphans}"
    charged = await _rows(connection, _CHARGED)
    counted = await _rows(connection, select(budgets))
    assert charged == counted, f"ledger {charged} differs from budgets {counted}"
    miscounted = await _rows(connection, _MISCOUNTED)
    assert not miscounted, f"sessions whose version is not the count of turns: {miscounted}"


async def _rows(connection: AsyncConnection, query: Executable) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in (await connection.execute(query)).all()}
