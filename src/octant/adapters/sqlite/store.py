"""SqliteStore: the Store port on one SQLite file.

Law: everything written goes through one `GroupWriter`; reads have connections of their own and see
the newest commit. Errors of the database leave this package only as Failed.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Select, Table, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from octant.adapters.sqlite import database, failures, rows
from octant.adapters.sqlite.schema import (
    HEAD,
    api_keys,
    audit,
    budgets,
    ledger,
    manifests,
    outcomes,
    tenants,
    traces,
)
from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.writer import GroupWriter, Put
from octant.core.audit import AuditRecord
from octant.core.events import AnyEvent
from octant.core.ids import RequestId, TenantId
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import Outcome
from octant.core.record import Record, decode
from octant.core.units import NanoUsd
from octant.ports.store import ApiKey, RequestFilter, Settlement, Tenant

R = TypeVar("R", bound=Record)


class SqliteStore:
    """Durable state in `settings.path`. Use between `open` and `close`."""

    def __init__(self, settings: SqliteSettings) -> None:
        self._settings = settings
        self._engines: list[AsyncEngine] = []
        self._writing: AsyncConnection | None = None
        self._reading: AsyncEngine | None = None
        self._writer: GroupWriter | None = None

    async def open(self) -> None:
        """Creates or migrates the file, then proves that a commit works."""
        try:
            await self._open_file()
        except Exception as error:
            await self.close()
            raise _unopened(self._settings.path, error) from error

    async def close(self) -> None:
        """Writes out what is pending and closes; idempotent."""
        writer, self._writer, self._reading = self._writer, None, None
        if writer is not None:
            await writer.stop()
        connection, self._writing = self._writing, None
        if connection is not None:
            await connection.close()
        engines, self._engines = self._engines, []
        for engine in engines:
            await engine.dispose()

    async def put_tenant(self, tenant: Tenant) -> None:
        await self._open_writer().write(Put(tenants, rows.of_tenant(tenant)))

    async def tenant(self, tenant: TenantId) -> Tenant | None:
        return await self._one(select(tenants.c.record).where(tenants.c.id == tenant), Tenant)

    async def tenants(self) -> Sequence[Tenant]:
        return await self._all(select(tenants.c.record).order_by(tenants.c.id), Tenant)

    async def put_key(self, key: ApiKey) -> None:
        """Raises Failed(CONFLICT) when another key has the prefix, NOT_FOUND without the tenant."""
        await self._open_writer().write(Put(api_keys, rows.of_key(key)))

    async def key_by_prefix(self, prefix: str) -> ApiKey | None:
        return await self._one(select(api_keys.c.record).where(api_keys.c.prefix == prefix), ApiKey)

    async def keys(self, tenant: TenantId | None = None) -> Sequence[ApiKey]:
        query = select(api_keys.c.record).order_by(api_keys.c.created_unix_ns, api_keys.c.id)
        return await self._all(_of_tenant(query, api_keys, tenant), ApiKey)

    async def settle(self, settlement: Settlement) -> None:
        """Raises Failed(CONFLICT) when the request is settled already, with another outcome."""
        writer = self._open_writer()
        try:
            encoded = rows.of_settlement(settlement)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            request_id = settlement.outcome.request_id
            raise failures.not_stored(
                f"The record of request {request_id} cannot be encoded.", error
            ) from error
        await writer.write(encoded)

    async def spent(self, tenant: TenantId, month: str) -> NanoUsd:
        query = select(budgets.c.spent_nano_usd).where(
            budgets.c.tenant == tenant, budgets.c.month == month
        )
        async with self._read() as connection:
            return NanoUsd((await connection.execute(query)).scalar() or 0)

    async def outcome(self, request: RequestId) -> Outcome | None:
        query = select(outcomes.c.record).where(outcomes.c.request_id == request)
        return await self._one(query, Outcome)

    async def manifest(self, request: RequestId) -> ExecutionManifest | None:
        query = select(manifests.c.record).where(manifests.c.request_id == request)
        return await self._one(query, ExecutionManifest)

    async def outcomes(self, wanted: RequestFilter) -> Sequence[Outcome]:
        query = select(outcomes.c.record).order_by(outcomes.c.seq.desc()).limit(wanted.limit)
        if wanted.status is not None:
            query = query.where(outcomes.c.status == wanted.status)
        return await self._all(_of_tenant(query, outcomes, wanted.tenant), Outcome)

    async def events(self, request: RequestId) -> Sequence[AnyEvent]:
        query = select(traces.c.events).where(traces.c.request_id == request)
        async with self._read() as connection:
            data = (await connection.execute(query)).scalar()
            return rows.decode_events(data) if data is not None else []

    async def audit(self, tenant: TenantId | None, limit: int) -> Sequence[AuditRecord]:
        query = select(audit.c.record).order_by(audit.c.seq.desc()).limit(limit)
        return await self._all(_of_tenant(query, audit, tenant), AuditRecord)

    async def check_integrity(self) -> None:
        """Raises AssertionError when the file is damaged or the budgets differ from the ledger."""
        totals = select(
            ledger.c.tenant, ledger.c.month, func.count(), func.sum(ledger.c.cost_nano_usd)
        ).group_by(ledger.c.tenant, ledger.c.month)
        async with self._read() as connection:
            damage = (await connection.execute(text("PRAGMA quick_check"))).scalars().all()
            orphans = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
            charged = {tuple(row) for row in (await connection.execute(totals)).all()}
            counted = {tuple(row) for row in (await connection.execute(select(budgets))).all()}
        assert list(damage) == ["ok"], f"the file is damaged: {damage}"
        assert not orphans, f"rows without their parents: {orphans}"
        assert charged == counted, f"ledger {charged} differs from budgets {counted}"

    async def _open_file(self) -> None:
        self._settings.path.parent.mkdir(parents=True, exist_ok=True)
        writing = database.writing_engine(self._settings)
        reading = database.reading_engine(self._settings)
        self._engines = [writing, reading]
        self._writing = await writing.connect()
        await database.migrate(self._writing)
        await database.check_writable(self._writing)
        self._reading = reading
        self._writer = GroupWriter(self._writing, self._settings)

    def _open_writer(self) -> GroupWriter:
        if self._writer is None:
            raise failures.not_stored("The store is closed.")
        return self._writer

    async def _one(self, query: Select[str], kind: type[R]) -> R | None:
        found = await self._all(query, kind)
        return found[0] if found else None

    async def _all(self, query: Select[str], kind: type[R]) -> list[R]:
        async with self._read() as connection:
            records = (await connection.execute(query)).scalars().all()
            return [decode(record, kind) for record in records]

    @asynccontextmanager
    async def _read(self) -> AsyncGenerator[AsyncConnection]:
        if self._reading is None:
            raise failures.not_stored("The store is closed.")
        try:
            async with self._reading.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError, msgspec.MsgspecError) as error:
            raise failures.not_stored("The store could not be read.", error) from error


def _unopened(path: Path, error: Exception) -> Exception:
    """What an operator is told; a defect of ours stays what it is."""
    if isinstance(error, database.UnknownSchema):
        return failures.not_stored(
            f"The store {path} has schema {error}, newer than this program's {HEAD}. "
            "Upgrade Octant, or set store.path to another file."
        )
    if isinstance(error, SQLAlchemyError | OSError):
        return failures.not_stored(f"The store {path} could not be opened.", error)
    return error


def _of_tenant(query: Select[Any], table: Table, tenant: TenantId | None) -> Select[Any]:
    return query if tenant is None else query.where(table.c.tenant == tenant)
