"""SqliteStore: the Store port on one SQLite file.

Law: everything written goes through one `GroupWriter`; reads have connections of their own and see
the newest commit. Errors of the database leave this package only as Failed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from sqlalchemy import Select, Table, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from octant.adapters.sqlite import chain, conversations, database, failures, integrity, rows
from octant.adapters.sqlite.changes import (
    BranchSession,
    DeleteDeployment,
    DeleteSession,
    Put,
    PutRecipe,
    PutSession,
    PutTraffic,
)
from octant.adapters.sqlite.reader import Reader
from octant.adapters.sqlite.schema import (
    HEAD,
    api_keys,
    audit,
    budgets,
    deployments,
    ledger,
    manifests,
    outcomes,
    recipes,
    tenants,
    traces,
    traffic,
)
from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.writer import AuditRows, GroupWriter
from octant.core.audit import AuditRecord, ChainedAudit
from octant.core.audit_walk import walk
from octant.core.deployment import Deployment, Recipe, Traffic
from octant.core.events import AnyEvent
from octant.core.failure import FailureKind
from octant.core.ids import RequestId, RouteId, SessionId, TenantId
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import Outcome
from octant.core.recording import Recording
from octant.core.session import Conversation, Session
from octant.core.stage import Stage
from octant.core.summary import RunSummary
from octant.core.units import NanoUsd
from octant.ports.store import ApiKey, RequestFilter, Settlement, Tenant, UsageLine

V = TypeVar("V")
W = TypeVar("W")

# Records of the chain in memory at once: a page of this size is read in some 10 ms.
_CHAIN_PAGE = 1_000


class SqliteStore:
    """Durable state in `settings.path`. Use between `open` and `close`."""

    def __init__(self, settings: SqliteSettings) -> None:
        self._settings = settings
        self._engines: list[AsyncEngine] = []
        self._writing: AsyncConnection | None = None
        self._reader: Reader | None = None
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
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            await writer.stop()
        connection, self._writing = self._writing, None
        if connection is not None:
            await connection.close()
        engines, self._engines = self._engines, []
        for engine in engines:
            await engine.dispose()

    async def put_tenant(self, tenant: Tenant) -> None:
        await self._open_writer().write(
            Put(tenants, _encoded(f"tenant {tenant.id}", rows.of_tenant, tenant))
        )

    async def tenant(self, tenant: TenantId) -> Tenant | None:
        query = select(tenants.c.record).where(tenants.c.id == tenant)
        return await self._open_reader().one(query, Tenant)

    async def tenants(self) -> Sequence[Tenant]:
        query = select(tenants.c.record).order_by(tenants.c.id)
        return await self._open_reader().all(query, Tenant)

    async def put_key(self, key: ApiKey) -> None:
        """Raises Failed(CONFLICT) when another key has the prefix, NOT_FOUND without the tenant."""
        await self._open_writer().write(Put(api_keys, _encoded(f"key {key.id}", rows.of_key, key)))

    async def key_by_prefix(self, prefix: str) -> ApiKey | None:
        query = select(api_keys.c.record).where(api_keys.c.prefix == prefix)
        return await self._open_reader().one(query, ApiKey)

    async def keys(self, tenant: TenantId | None = None) -> Sequence[ApiKey]:
        query = select(api_keys.c.record).order_by(api_keys.c.created_unix_ns, api_keys.c.id)
        return await self._open_reader().all(_of_tenant(query, api_keys, tenant), ApiKey)

    async def settle(self, settlement: Settlement) -> None:
        """Raises Failed(CONFLICT) when the request is settled already, with another outcome, and
        where the stage is SESSION, when the session has moved on. After a refusal the same request
        may be settled again, without its turn or with another outcome."""
        writer = self._open_writer()
        _check_turn(settlement)
        request_id = settlement.outcome.request_id
        encoded = _encoded(f"record of request {request_id}", rows.of_settlement, settlement)
        await writer.write(encoded)

    async def spent(self, tenant: TenantId, month: str) -> NanoUsd:
        query = select(budgets.c.spent_nano_usd).where(
            budgets.c.tenant == tenant, budgets.c.month == month
        )
        return NanoUsd(await self._open_reader().scalar(query) or 0)

    async def usage(self, tenant: TenantId | None, month: str) -> Sequence[UsageLine]:
        sums = ("prompt_tokens", "cached_tokens", "completion_tokens", "cost_nano_usd")
        query = (
            select(
                ledger.c.tenant,
                ledger.c.month,
                ledger.c.model,
                func.count().label("requests"),
                *(func.sum(ledger.c[name]).label(name) for name in sums),
            )
            .where(ledger.c.month == month)
            .group_by(ledger.c.tenant, ledger.c.model)
            .order_by(ledger.c.tenant, ledger.c.model)
        )
        return await self._open_reader().made(_of_tenant(query, ledger, tenant), rows.to_usage)

    async def outcome(self, request: RequestId) -> Outcome | None:
        query = select(outcomes.c.record).where(outcomes.c.request_id == request)
        return await self._open_reader().one(query, Outcome)

    async def summary(self, request: RequestId) -> RunSummary | None:
        query = select(outcomes.c.summary).where(
            outcomes.c.request_id == request, outcomes.c.summary.is_not(None)
        )
        return await self._open_reader().one(query, RunSummary)

    async def manifest(self, request: RequestId) -> ExecutionManifest | None:
        query = select(manifests.c.record).where(manifests.c.request_id == request)
        return await self._open_reader().one(query, ExecutionManifest)

    async def outcomes(self, wanted: RequestFilter) -> Sequence[Outcome]:
        query = select(outcomes.c.record).order_by(outcomes.c.seq.desc()).limit(wanted.limit)
        if wanted.status is not None:
            query = query.where(outcomes.c.status == wanted.status)
        return await self._open_reader().all(_of_tenant(query, outcomes, wanted.tenant), Outcome)

    async def events(self, request: RequestId) -> Sequence[AnyEvent]:
        query = select(traces.c.events).where(traces.c.request_id == request)
        found = await self._open_reader().decoded(query, rows.decode_events)
        return found or []

    async def recording(self, request: RequestId) -> Recording | None:
        query = select(traces.c.recording).where(traces.c.request_id == request)
        return await self._open_reader().decoded(query, rows.decode_recording)

    async def append_audit(self, records: Sequence[AuditRecord]) -> None:
        if records:
            encoded = [_encoded("audit record", rows.of_audit, record) for record in records]
            await self._open_writer().write(AuditRows(encoded))

    async def audit(self, tenant: TenantId | None, limit: int) -> Sequence[AuditRecord]:
        query = select(audit.c.record).order_by(audit.c.seq.desc()).limit(limit)
        return await self._open_reader().all(_of_tenant(query, audit, tenant), AuditRecord)

    async def audit_chain(self, after_seq: int, limit: int) -> Sequence[ChainedAudit]:
        return await self._open_reader().made(chain.links_after(after_seq, limit), rows.to_chained)

    async def put_session(self, session: Session) -> None:
        """Raises Failed(CONFLICT) when the tenant has a session of this id, Failed(INVALID_VALUE)
        when its version says that it has turns, Failed(NOT_FOUND) without the tenant."""
        if session.version != 0:
            raise failures.refused(
                FailureKind.INVALID_VALUE,
                f"A new session has no turns, so its version is 0, not {session.version}.",
                stage=Stage.SESSION,
            )
        await self._open_writer().write(
            PutSession(_encoded(f"session {session.id}", rows.of_session, session))
        )

    async def branch_session(self, new: Session) -> None:
        if new.parent is None:
            raise failures.refused(
                FailureKind.NOT_FOUND,
                f"The session {new.id} names no parent to branch from.",
                stage=Stage.SESSION,
            )
        branch = replace(new, version=new.parent_version)
        row = _encoded(f"session {new.id}", rows.of_session, branch)
        await self._open_writer().write(BranchSession(row, new.parent))

    async def conversation(self, tenant: TenantId, session: SessionId) -> Conversation | None:
        return await self._open_reader().made(
            conversations.whole(tenant, session), conversations.conversation
        )

    async def sessions(self, tenant: TenantId, limit: int) -> Sequence[Session]:
        return await self._open_reader().all(conversations.newest_first(tenant, limit), Session)

    async def delete_session(self, tenant: TenantId, session: SessionId) -> bool:
        return await self._open_writer().write(DeleteSession(tenant, session))

    async def put_recipe(self, recipe: Recipe) -> None:
        """Raises Failed(INVALID_VALUE) for a recipe without a digest."""
        if not recipe.digest:
            raise failures.refused(
                FailureKind.INVALID_VALUE,
                f"The recipe {recipe.name} has no digest, so nothing could name it.",
            )
        await self._open_writer().write(
            PutRecipe(_encoded(f"recipe {recipe.name}", rows.of_recipe, recipe))
        )

    async def recipe(self, digest: str) -> Recipe | None:
        query = select(recipes.c.record).where(recipes.c.digest == digest)
        return await self._open_reader().one(query, Recipe)

    async def recipes(self, model: str | None = None) -> Sequence[Recipe]:
        query = select(recipes.c.record).order_by(recipes.c.seq)
        if model is not None:
            query = query.where(recipes.c.model == model)
        return await self._open_reader().all(query, Recipe)

    async def put_deployment(self, deployment: Deployment) -> None:
        """Raises Failed(NOT_FOUND) when the store has no recipe of that digest."""
        await self._open_writer().write(
            Put(
                deployments, _encoded(f"deployment {deployment.id}", rows.of_deployment, deployment)
            )
        )

    async def deployments(self) -> Sequence[Deployment]:
        """In the order of their creation."""
        query = select(deployments.c.record).order_by(
            deployments.c.created_unix_ns, deployments.c.id
        )
        return await self._open_reader().all(query, Deployment)

    async def delete_deployment(self, deployment: RouteId) -> bool:
        return await self._open_writer().write(DeleteDeployment(deployment))

    async def put_traffic(self, traffic: Traffic) -> None:
        await self._open_writer().write(
            PutTraffic(_encoded(f"traffic of {traffic.model}", rows.of_traffic, traffic))
        )

    async def traffic(self) -> Sequence[Traffic]:
        return await self._open_reader().all(_present_traffic(), Traffic)

    async def traffic_history(self, model: str, limit: int) -> Sequence[Traffic]:
        query = (
            select(traffic.c.record)
            .where(traffic.c.model == model)
            .order_by(traffic.c.version.desc())
            .limit(limit)
        )
        return await self._open_reader().all(query, Traffic)

    async def check_integrity(self) -> None:
        """Raises AssertionError when the file is damaged, or when accounts, sessions or the audit
        chain contradict themselves."""
        async with self._open_reader().connection() as connection:
            await integrity.check(connection)
        walked = await walk(self.audit_chain, _CHAIN_PAGE)
        assert walked.broken is None, f"the audit chain is broken: {walked.broken}"

    async def _open_file(self) -> None:
        self._settings.path.parent.mkdir(parents=True, exist_ok=True)
        writing = database.writing_engine(self._settings)
        reading = database.reading_engine(self._settings)
        self._engines = [writing, reading]
        self._writing = await writing.connect()
        await database.migrate(self._writing)
        await database.check_writable(self._writing)
        async with self._writing.begin():
            head = await chain.read_head(self._writing)
        self._reader = Reader(reading)
        self._writer = GroupWriter(self._writing, self._settings, head)

    def _open_writer(self) -> GroupWriter:
        if self._writer is None:
            raise failures.not_stored("The store is closed.")
        return self._writer

    def _open_reader(self) -> Reader:
        if self._reader is None:
            raise failures.not_stored("The store is closed.")
        return self._reader


def _encoded(what: str, encode: Callable[[V], W], value: V) -> W:
    """Raises Failed(RECORD_NOT_STORED) for values that have no stored form."""
    try:
        return encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise failures.not_stored(f"The {what} cannot be encoded.", error) from error


def _check_turn(settlement: Settlement) -> None:
    """A turn belongs to the request and the tenant that are settled, behind the version it names.

    Raises Failed(INVALID_VALUE), which is a defect of the caller.
    """
    append, outcome = settlement.session, settlement.outcome
    if append is None:
        return
    turn = append.turn
    named = (append.tenant, turn.request_id, turn.version)
    if named != (outcome.tenant, outcome.request_id, append.expected_version + 1):
        raise failures.refused(
            FailureKind.INVALID_VALUE,
            f"The turn for session {append.session} is not the next turn of request "
            f"{outcome.request_id} of tenant {outcome.tenant}.",
            stage=Stage.SESSION,
        )


def _present_traffic() -> Select[str]:
    newest = (
        select(traffic.c.model, func.max(traffic.c.version).label("version"))
        .group_by(traffic.c.model)
        .subquery()
    )
    present = (traffic.c.model == newest.c.model) & (traffic.c.version == newest.c.version)
    return select(traffic.c.record).join(newest, present).order_by(traffic.c.model)


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
