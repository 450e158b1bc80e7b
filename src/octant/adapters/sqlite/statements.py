"""The SQL of writing: what a put, a settlement and a pruning do inside one transaction.

Law: `settle` counts a request once, however often it is handed in; the budget moves by exactly what
the ledger gains.
"""

from collections import defaultdict

from sqlalchemy import Table, delete, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from octant.adapters.sqlite import failures
from octant.adapters.sqlite.rows import Row, SettlementRows
from octant.adapters.sqlite.schema import (
    audit,
    budgets,
    ledger,
    manifests,
    outcomes,
    traces,
)
from octant.core.failure import Failed, FailureKind

_INSERT_BUDGET = upsert(budgets)
_ADD_TO_BUDGET = _INSERT_BUDGET.on_conflict_do_update(
    index_elements=[budgets.c.tenant, budgets.c.month],
    set_={
        "requests": budgets.c.requests + _INSERT_BUDGET.excluded.requests,
        "spent_nano_usd": budgets.c.spent_nano_usd + _INSERT_BUDGET.excluded.spent_nano_usd,
    },
)


async def put(connection: AsyncConnection, table: Table, row: Row) -> None:
    """Inserts a row or replaces the one with its id."""
    statement = upsert(table)
    changes = {name: statement.excluded[name] for name in row if name != "id"}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[table.c.id], set_=changes), row
    )


def put_failure(table: Table, row: Row, error: Exception) -> Failed:
    """Why a put was rolled back, in the caller's words."""
    code = failures.sqlite_code(error)
    if isinstance(error, IntegrityError) and code.endswith("UNIQUE"):
        return failures.refused(
            FailureKind.CONFLICT, f"Another row of {table.name} has the prefix {row['prefix']!r}."
        )
    if isinstance(error, IntegrityError) and code.endswith("FOREIGNKEY"):
        return failures.refused(
            FailureKind.NOT_FOUND, f"There is no tenant {row['tenant']!r}; create it first."
        )
    return failures.not_stored(f"{table.name} {row['id']!r} could not be stored.", error)


async def settle(connection: AsyncConnection, settlements: list[SettlementRows]) -> int:
    """Adds the requests that are not settled yet, and returns how many they are.

    Raises Failed(CONFLICT) when one is settled already, with another outcome.
    """
    fresh = await _unsettled(connection, settlements)
    if not fresh:
        return 0
    await connection.execute(insert(outcomes), [each.outcome for each in fresh])
    await connection.execute(insert(ledger), [each.ledger for each in fresh])
    await connection.execute(_ADD_TO_BUDGET, _sums([each.ledger for each in fresh]))
    audited = [row for each in fresh for row in each.audit]
    if audited:
        await connection.execute(insert(audit), audited)
    manifested = [each.manifest for each in fresh if each.manifest is not None]
    if manifested:
        await connection.execute(insert(manifests), manifested)
    await connection.execute(insert(traces), [each.trace for each in fresh])
    return len(fresh)


async def prune(connection: AsyncConnection, keep: int, at_most: int) -> None:
    """Removes the events of the oldest requests beyond the newest `keep`, at most `at_most`."""
    newest = select(func.max(traces.c.seq)).scalar_subquery()
    oldest = select(func.min(traces.c.seq)).scalar_subquery()
    await connection.execute(
        delete(traces).where(traces.c.seq <= newest - keep, traces.c.seq < oldest + at_most)
    )


async def _unsettled(
    connection: AsyncConnection, settlements: list[SettlementRows]
) -> list[SettlementRows]:
    by_id: dict[str, SettlementRows] = {}
    for each in settlements:
        first = by_id.setdefault(each.outcome["request_id"], each)
        _check_same(first.outcome, each.outcome["record"])
    if not by_id:
        return []
    known = await connection.execute(
        select(outcomes.c.request_id, outcomes.c.record).where(outcomes.c.request_id.in_(by_id))
    )
    for request_id, record in known:
        _check_same(by_id.pop(request_id).outcome, record)
    return list(by_id.values())


def _check_same(outcome: Row, record: str) -> None:
    if outcome["record"] != record:
        raise failures.refused(
            FailureKind.CONFLICT,
            f"Request {outcome['request_id']} is settled already, with another outcome.",
        )


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
