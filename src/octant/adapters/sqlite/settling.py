"""Settling: what many settlements, handed in together, add to the file in one transaction.

    read what is settled and where the sessions stand -> decide -> insert

Law: a request counts once, however often it is handed in, and the budget moves by exactly what the
ledger gains. A settlement that contradicts what is stored is refused alone: nothing of it is kept,
the others are committed, and the same request may be settled again, with another outcome.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import BigInteger, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from octant.adapters.sqlite import failures
from octant.adapters.sqlite.rows import Row, SettlementRows, TurnRows
from octant.adapters.sqlite.schema import (
    budgets,
    ledger,
    manifests,
    outcomes,
    session_placeholders,
    session_turns,
    sessions,
    traces,
)
from octant.core.failure import Failed, FailureKind
from octant.core.stage import Stage

_INSERT_BUDGET = upsert(budgets)
_ADD_TO_BUDGET = _INSERT_BUDGET.on_conflict_do_update(
    index_elements=[budgets.c.tenant, budgets.c.month],
    set_={
        "requests": budgets.c.requests + _INSERT_BUDGET.excluded.requests,
        "spent_nano_usd": budgets.c.spent_nano_usd + _INSERT_BUDGET.excluded.spent_nano_usd,
    },
)
_NEW_VERSION = bindparam("new_version", type_=BigInteger)
_AT = bindparam("at_unix_ns", type_=BigInteger)
_ADVANCE = (
    update(sessions)
    .where(
        sessions.c.tenant == bindparam("in_tenant"),
        sessions.c.id == bindparam("with_id"),
    )
    .values(
        version=_NEW_VERSION,
        updated_unix_ns=_AT,
        record=func.json_set(
            sessions.c.record, "$.version", _NEW_VERSION, "$.updated_unix_ns", _AT
        ),
    )
)
# A placeholder stands in older turns already, so it keeps the value it had there.
_ADD_PLACEHOLDERS = upsert(session_placeholders).on_conflict_do_nothing()

SessionKey = tuple[str, str]


class Settled(NamedTuple):
    """The settlements that were added, and the refusals, both by their place in the batch."""

    added: dict[int, SettlementRows]
    refused: dict[int, Failed]


async def settle(connection: AsyncConnection, given: Mapping[int, SettlementRows]) -> Settled:
    """Adds what is not settled yet; `given` is by place in the batch, in order."""
    if not given:
        return Settled({}, {})
    stored = await _stored(connection, {each.outcome["request_id"] for each in given.values()})
    turns = [each.turn for each in given.values() if each.turn is not None]
    versions = await _versions(connection, {turn.session for turn in turns})
    decided = _decide(given, stored, versions)
    if decided.added:
        await _insert(connection, list(decided.added.values()))
    return decided


async def prune(connection: AsyncConnection, keep: int, at_most: int) -> None:
    """Removes events and recordings of the oldest requests beyond the newest `keep`, at most
    `at_most`."""
    newest = select(func.max(traces.c.seq)).scalar_subquery()
    oldest = select(func.min(traces.c.seq)).scalar_subquery()
    await connection.execute(
        delete(traces).where(traces.c.seq <= newest - keep, traces.c.seq < oldest + at_most)
    )


def _decide(
    given: Mapping[int, SettlementRows], stored: dict[str, str], versions: dict[SessionKey, int]
) -> Settled:
    """`stored` are outcomes by request, `versions` where sessions stand; both follow the batch."""
    added: dict[int, SettlementRows] = {}
    refused: dict[int, Failed] = {}
    for place, each in given.items():
        request_id, record = each.outcome["request_id"], each.outcome["record"]
        if request_id in stored:
            if stored[request_id] != record:
                refused[place] = _settled_otherwise(request_id)
            continue
        refusal = None if each.turn is None else _turn_refusal(each.turn, versions)
        if refusal is not None:
            refused[place] = refusal
            continue
        added[place] = each
        stored[request_id] = record
        if each.turn is not None:
            versions[each.turn.session] = each.turn.turn["version"]
    return Settled(added, refused)


def _turn_refusal(turn: TurnRows, versions: dict[SessionKey, int]) -> Failed | None:
    name, expected = turn.turn["session"], turn.turn["version"] - 1
    version = versions.get(turn.session)
    if version is None:
        return failures.refused(
            FailureKind.NOT_FOUND,
            f"The session {name} is not there any more, so its turn was not kept. "
            "Begin a new session.",
            stage=Stage.SESSION,
        )
    if version != expected:
        return failures.refused(
            FailureKind.CONFLICT,
            f"The session {name} stands at version {version}, and this request was made for "
            f"version {expected}, so its turn was not kept. Read the session again, then send "
            "the request again for the version it has, or branch from the version you meant.",
            stage=Stage.SESSION,
            detail={"version": version, "expected_version": expected},
        )
    return None


def _settled_otherwise(request_id: str) -> Failed:
    return failures.refused(
        FailureKind.CONFLICT, f"Request {request_id} is settled already, with another outcome."
    )


async def _stored(connection: AsyncConnection, requests: Iterable[str]) -> dict[str, str]:
    known = await connection.execute(
        select(outcomes.c.request_id, outcomes.c.record).where(outcomes.c.request_id.in_(requests))
    )
    return {request_id: record for request_id, record in known}


async def _versions(
    connection: AsyncConnection, wanted: Iterable[SessionKey]
) -> dict[SessionKey, int]:
    keys = list(wanted)
    if not keys:
        return {}
    found = await connection.execute(
        select(sessions.c.tenant, sessions.c.id, sessions.c.version).where(
            tuple_(sessions.c.tenant, sessions.c.id).in_(keys)
        )
    )
    return {(tenant, session): version for tenant, session, version in found}


async def _insert(connection: AsyncConnection, fresh: list[SettlementRows]) -> None:
    await connection.execute(insert(outcomes), [each.outcome for each in fresh])
    await connection.execute(insert(ledger), [each.ledger for each in fresh])
    await connection.execute(_ADD_TO_BUDGET, _sums([each.ledger for each in fresh]))
    manifested = [each.manifest for each in fresh if each.manifest is not None]
    if manifested:
        await connection.execute(insert(manifests), manifested)
    await connection.execute(insert(traces), [each.trace for each in fresh])
    turns = [each.turn for each in fresh if each.turn is not None]
    if turns:
        await _insert_turns(connection, turns)


async def _insert_turns(connection: AsyncConnection, turns: list[TurnRows]) -> None:
    await connection.execute(_ADVANCE, [turn.head for turn in turns])
    await connection.execute(insert(session_turns), [turn.turn for turn in turns])
    placeholders = [row for turn in turns for row in turn.placeholders]
    if placeholders:
        await connection.execute(_ADD_PLACEHOLDERS, placeholders)


def _sums(rows: list[Row]) -> list[Row]:
    spent: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        spent[row["tenant"], row["month"]].append(row["cost_nano_usd"])
    return [
        {
            "tenant": tenant,
            "month": month,
            "requests": len(costs),
            "spent_nano_usd": sum(costs),
        }
        for (tenant, month), costs in spent.items()
    ]
