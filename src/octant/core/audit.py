"""AuditRecord: who did what under which rule, kept apart from telemetry because it is mandatory."""

from octant.core.ids import KeyId, RequestId, TenantId
from octant.core.record import Record


class AuditRecord(Record, frozen=True, kw_only=True):
    """One action and its authority. `detail` holds ids, digests and counts, never content."""

    request_id: RequestId | None
    tenant: TenantId
    key_id: KeyId | None
    action: str
    decision: str
    policy_version: str
    rule: str
    at_unix_ns: int
    detail: dict[str, str | int] = {}
