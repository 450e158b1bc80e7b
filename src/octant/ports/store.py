"""Store: durable state. Adapter: `adapters/sqlite/store.py`.

Law: a method returns only after what it was given is durable; what returned is never lost. Every
read and write names its tenant. Raises Failed(RECORD_NOT_STORED) when the store cannot keep its
promise, and nothing of the call is kept then.
"""

from collections.abc import Sequence
from typing import Protocol

from octant.core.audit import AuditRecord, ChainedAudit
from octant.core.deployment import Deployment, Recipe, Traffic
from octant.core.envelope import RiskClass
from octant.core.events import AnyEvent
from octant.core.identity import PrincipalRole, Scope
from octant.core.ids import ActorId, KeyId, RequestId, RouteId, SessionId, TenantId
from octant.core.limits import TenantLimits
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import Outcome
from octant.core.record import Record
from octant.core.recording import Recording
from octant.core.session import Conversation, Session, SessionAppend
from octant.core.summary import RunSummary
from octant.core.units import NanoUsd


class Tenant(Record, frozen=True, kw_only=True):
    """A tenant with its limits. `budget_nano_usd` is for a calendar month (UTC).

    `risk` is the least risk class of its requests.
    """

    id: TenantId
    name: str
    limits: TenantLimits = TenantLimits()
    budget_nano_usd: NanoUsd | None = None
    risk: RiskClass = RiskClass.LOW
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
    summary: RunSummary | None = None
    recording: Recording | None = None
    session: SessionAppend | None = None


class UsageLine(Record, frozen=True, kw_only=True):
    """What one tenant used of one model in one month, as the ledger has it."""

    tenant: TenantId
    month: str
    model: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_nano_usd: NanoUsd


class RequestFilter(Record, frozen=True, kw_only=True):
    """Which settled requests to list, newest first; `tenant` None is for operators only."""

    tenant: TenantId | None = None
    status: str | None = None
    limit: int = 50


class Store(Protocol):
    """Tenants, keys, settled requests with their traces, budgets, audit, sessions, deployments."""

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
        """Outcome, usage, budget, audit and session turn in one transaction, once by request id.

        Raises Failed(CONFLICT) when the session has moved on, Failed(NOT_FOUND) when it is gone.
        """
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

    async def summary(self, request: RequestId) -> RunSummary | None: ...

    async def recording(self, request: RequestId) -> Recording | None: ...

    async def usage(self, tenant: TenantId | None, month: str) -> Sequence[UsageLine]:
        """Sums over the ledger, by tenant and model."""
        ...

    async def append_audit(self, records: Sequence[AuditRecord]) -> None:
        """Adds mandatory records that no settlement carries, durable when it returns."""
        ...

    async def audit_chain(self, after_seq: int, limit: int) -> Sequence[ChainedAudit]:
        """Up to `limit` records of all tenants after `after_seq`, oldest first.

        From the very first when `after_seq` is negative; `core.audit_walk` follows the chain so.
        """
        ...

    async def put_session(self, session: Session) -> None:
        """Adds a session. Raises Failed(CONFLICT) when the id is taken."""
        ...

    async def branch_session(self, new: Session) -> None:
        """Adds `new` with the turns of `new.parent` up to `new.parent_version`, in one transaction.

        Its version is `parent_version`. Raises Failed(NOT_FOUND) without the parent,
        Failed(INVALID_VALUE) without that version, Failed(CONFLICT) when the id is taken.
        """
        ...

    async def conversation(self, tenant: TenantId, session: SessionId) -> Conversation | None: ...

    async def sessions(self, tenant: TenantId, limit: int) -> Sequence[Session]:
        """The most recently changed first."""
        ...

    async def delete_session(self, tenant: TenantId, session: SessionId) -> bool:
        """Removes it with its turns and placeholders, and the recordings of their requests.

        False when there is none.
        """
        ...

    async def put_recipe(self, recipe: Recipe) -> None:
        """Adds a recipe by its digest, once; the same digest again changes nothing."""
        ...

    async def recipe(self, digest: str) -> Recipe | None: ...

    async def recipes(self, model: str | None = None) -> Sequence[Recipe]:
        """In the order of their addition."""
        ...

    async def put_deployment(self, deployment: Deployment) -> None:
        """Inserts or replaces by id."""
        ...

    async def deployments(self) -> Sequence[Deployment]: ...

    async def delete_deployment(self, deployment: RouteId) -> bool: ...

    async def put_traffic(self, traffic: Traffic) -> None:
        """Replaces a model's split. Raises Failed(CONFLICT) unless `version` is the stored one
        plus one (1 for the first)."""
        ...

    async def traffic(self) -> Sequence[Traffic]:
        """The present split of every model that has one."""
        ...

    async def traffic_history(self, model: str, limit: int) -> Sequence[Traffic]:
        """Every split that was in force, newest first."""
        ...

    async def audit(self, tenant: TenantId | None, limit: int) -> Sequence[AuditRecord]:
        """The newest `limit` records, newest first."""
        ...
