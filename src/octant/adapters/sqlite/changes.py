"""Changes: writes that are no settlement, each a value that the writer applies.

Law: a change decides before it writes. A Failed raised by `apply` refuses that change alone and
leaves nothing; any other error rolls the transaction back, and `failure` tells the caller why.
"""

from typing import NamedTuple, Protocol

from sqlalchemy import CompoundSelect, Table, delete, func, insert, literal, select, union, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from octant.adapters.sqlite import failures
from octant.adapters.sqlite.rows import Row
from octant.adapters.sqlite.schema import (
    api_keys,
    deployments,
    manifests,
    outcomes,
    recipes,
    session_placeholders,
    session_turns,
    sessions,
    traces,
    traffic,
)
from octant.core.failure import Failed, FailureKind
from octant.core.stage import Stage

# What a row of the table points to: the column, and how a person would make it.
_PARENTS = {
    api_keys.name: ("tenant", "tenant", "create it first"),
    sessions.name: ("tenant", "tenant", "create it first"),
    deployments.name: ("recipe_digest", "recipe", "add it first"),
}


class Change(Protocol):
    """One write. Returns whether anything was there to be changed."""

    async def apply(self, connection: AsyncConnection) -> bool: ...

    def failure(self, error: Exception) -> Failed: ...


class Put(NamedTuple):
    """A row to insert, or to replace by id."""

    table: Table
    row: Row

    async def apply(self, connection: AsyncConnection) -> bool:
        statement = upsert(self.table)
        changes = {name: statement.excluded[name] for name in self.row if name != "id"}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=[self.table.c.id], set_=changes),
            self.row,
        )
        return True

    def failure(self, error: Exception) -> Failed:
        if failures.sqlite_code(error).endswith("UNIQUE"):
            return failures.refused(
                FailureKind.CONFLICT,
                f"Another row of {self.table.name} has the prefix {self.row['prefix']!r}.",
            )
        return _unstored(self.table, self.row, self.row["id"], error)


class PutRecipe(NamedTuple):
    """A recipe to add, unless its digest is there."""

    row: Row

    async def apply(self, connection: AsyncConnection) -> bool:
        await connection.execute(upsert(recipes).on_conflict_do_nothing(), self.row)
        return True

    def failure(self, error: Exception) -> Failed:
        return _unstored(recipes, self.row, self.row["digest"], error)


class PutTraffic(NamedTuple):
    """The next split of a model."""

    row: Row

    async def apply(self, connection: AsyncConnection) -> bool:
        model, version = self.row["model"], self.row["version"]
        newest = select(func.max(traffic.c.version)).where(traffic.c.model == model)
        stored = (await connection.execute(newest)).scalar() or 0
        if version != stored + 1:
            raise failures.refused(
                FailureKind.CONFLICT,
                f"The traffic of {model} stands at version {stored}, so version {version} cannot "
                "follow. Read it again, then change what you find.",
                detail={"version": stored},
            )
        await connection.execute(insert(traffic), self.row)
        return True

    def failure(self, error: Exception) -> Failed:
        return _unstored(traffic, self.row, self.row["model"], error)


class DeleteDeployment(NamedTuple):
    """A deployment to forget."""

    id: str

    async def apply(self, connection: AsyncConnection) -> bool:
        gone = await connection.execute(delete(deployments).where(deployments.c.id == self.id))
        return gone.rowcount > 0

    def failure(self, error: Exception) -> Failed:
        return failures.not_stored(f"Deployment {self.id!r} could not be removed.", error)


class PutSession(NamedTuple):
    """A session without turns."""

    row: Row

    async def apply(self, connection: AsyncConnection) -> bool:
        await _insert_head(connection, self.row)
        return True

    def failure(self, error: Exception) -> Failed:
        return _unstored(sessions, self.row, self.row["id"], error)


class BranchSession(NamedTuple):
    """A session that begins with the turns of `parent` up to its own version."""

    row: Row
    parent: str

    async def apply(self, connection: AsyncConnection) -> bool:
        tenant, version = self.row["tenant"], self.row["version"]
        parent = await connection.execute(
            select(sessions.c.version).where(
                sessions.c.tenant == tenant, sessions.c.id == self.parent
            )
        )
        stands_at = parent.scalar()
        if stands_at is None:
            raise _refused(
                FailureKind.NOT_FOUND, f"There is no session {self.parent} to branch from."
            )
        if not 0 <= version <= stands_at:
            raise _refused(
                FailureKind.INVALID_VALUE,
                f"The session {self.parent} has no version {version}; it stands at {stands_at}. "
                f"Branch from a version between 0 and {stands_at}.",
            )
        await _insert_head(connection, self.row)
        for table in (session_turns, session_placeholders):
            await self._copy(connection, table)
        return True

    def failure(self, error: Exception) -> Failed:
        return _unstored(sessions, self.row, self.row["id"], error)

    async def _copy(self, connection: AsyncConnection, table: Table) -> None:
        rest = [column for column in table.c if column.name not in ("tenant", "session")]
        names = ["tenant", "session", *(column.name for column in rest)]
        copied = select(literal(self.row["tenant"]), literal(self.row["id"]), *rest).where(
            table.c.tenant == self.row["tenant"],
            table.c.session == self.parent,
            table.c.version <= self.row["version"],
        )
        await connection.execute(insert(table).from_select(names, copied))


class DeleteSession(NamedTuple):
    """A session to forget, with all that was said in it.

    What is deleted is overwritten in the file (PRAGMA secure_delete).
    """

    tenant: str
    id: str

    async def apply(self, connection: AsyncConnection) -> bool:
        await connection.execute(
            update(traces).where(traces.c.request_id.in_(self._requests())).values(recording=None)
        )
        for table in (session_turns, session_placeholders):
            await connection.execute(
                delete(table).where(table.c.tenant == self.tenant, table.c.session == self.id)
            )
        gone = await connection.execute(
            delete(sessions).where(sessions.c.tenant == self.tenant, sessions.c.id == self.id)
        )
        return gone.rowcount > 0

    def failure(self, error: Exception) -> Failed:
        return failures.not_stored(f"The session {self.id} could not be removed.", error)

    def _requests(self) -> CompoundSelect[str]:
        """Those that added a turn, and those that only read the session, failed ones too."""
        added = select(session_turns.c.request_id).where(
            session_turns.c.tenant == self.tenant, session_turns.c.session == self.id
        )
        read = (
            select(manifests.c.request_id)
            .join(outcomes, outcomes.c.request_id == manifests.c.request_id)
            .where(manifests.c.session == self.id, outcomes.c.tenant == self.tenant)
        )
        return union(added, read)


async def _insert_head(connection: AsyncConnection, row: Row) -> None:
    added = await connection.execute(upsert(sessions).on_conflict_do_nothing(), row)
    if added.rowcount == 0:
        raise _refused(
            FailureKind.CONFLICT, f"There is a session {row['id']} already. Choose another id."
        )


def _refused(kind: FailureKind, message: str) -> Failed:
    return failures.refused(kind, message, stage=Stage.SESSION)


def _unstored(table: Table, row: Row, name: str, error: Exception) -> Failed:
    code = failures.sqlite_code(error)
    if isinstance(error, IntegrityError) and code.endswith("FOREIGNKEY") and table.name in _PARENTS:
        column, parent, remedy = _PARENTS[table.name]
        return failures.refused(
            FailureKind.NOT_FOUND, f"There is no {parent} {row[column]!r}; {remedy}."
        )
    return failures.not_stored(f"{table.name} {name!r} could not be stored.", error)
