"""Store: durable state. Adapter: `adapters/sqlite/store.py`.

Law: a method returns only after what it was given is durable; what returned is never lost. Every
read and write names its tenant. Raises Failed(RECORD_NOT_STORED) when the store cannot keep its
promise, and nothing of the call is kept then.
"""

from collections.abc import Sequence
from typing import Protocol

from octant.core.audit import AuditRecord
from octant.core.events import AnyEvent
from octant.core.identity import PrincipalRole, Scope
from octant.core.ids import ActorId, KeyId, RequestId, TenantId
from octant.core.limits import TenantLimits
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import Outcome
from octant.core.record import Record
from octant.core.units import NanoUsd


class Tenant(Record, frozen=True, kw_only=True):
    """A tenant with its limits. `budget_nano_usd` is for a calendar month (UTC)."""

    id: TenantId
    name: str
    limits: TenantLimits = TenantLimits()
    budget_nano_usd: NanoUsd | None = None
    created_unix_ns: int


class ApiKey(Record, frozen=True, kw_only=True):
    """An API key as stored. `digest` is HMAC-SHA256 of the secret under the server's pepper."""

    id: KeyId
    tenant: TenantId
    actor: ActorId
    prefix: str
    digest: bytes
    name: str
    role: PrincipalRole = PrincipalRole.SERVICE
    scopes: tuple[Scope, ...] = ()
    models: tuple[str, ...] = ()
    limits: TenantLimits = TenantLimits()
    created_unix_ns: int
    expires_unix_ns: int | None = None
    revoked_unix_ns: int | None = None


class Settlement(Record, frozen=True, kw_only=True):
    """All that one request leaves behind, committed in one transaction (settle)."""

    outcome: Outcome
    manifest: ExecutionManifest | None
    audit: tuple[AuditRecord, ...]
    events: tuple[AnyEvent, ...]
    month: str


class RequestFilter(Record, frozen=True, kw_only=True):
    """Which settled requests to list, newest first; `tenant` None is for operators only."""

    tenant: TenantId | None = None
    status: str | None = None
    limit: int = 50


class Store(Protocol):
    """Tenants, keys, settled requests with their traces, budgets, audit."""

    async def open(self) -> None:
        """Creates or migrates the schema, then checks that writing works."""
        ...

    async def close(self) -> None:
        """Writes out what is pending and closes; idempotent."""
        ...

    async def put_tenant(self, tenant: Tenant) -> None:
        """Inserts or replaces by id."""
        ...

    async def tenant(self, tenant: TenantId) -> Tenant | None: ...

    async def tenants(self) -> Sequence[Tenant]: ...

    async def put_key(self, key: ApiKey) -> None:
        """Inserts or replaces by id; the prefix is unique."""
        ...

    async def key_by_prefix(self, prefix: str) -> ApiKey | None: ...

    async def keys(self, tenant: TenantId | None = None) -> Sequence[ApiKey]: ...

    async def settle(self, settlement: Settlement) -> None:
        """Outcome, usage, budget and audit in one transaction, exactly once by request id."""
        ...

    async def spent(self, tenant: TenantId, month: str) -> NanoUsd:
        """Settled cost of a tenant in a month written `YYYY-MM`."""
        ...

    async def outcome(self, request: RequestId) -> Outcome | None: ...

    async def manifest(self, request: RequestId) -> ExecutionManifest | None: ...

    async def outcomes(self, wanted: RequestFilter) -> Sequence[Outcome]: ...

    async def events(self, request: RequestId) -> Sequence[AnyEvent]:
        """The events of one settled request in order of time; empty when unknown."""
        ...

    async def audit(self, tenant: TenantId | None, limit: int) -> Sequence[AuditRecord]:
        """The newest `limit` records, newest first."""
        ...
