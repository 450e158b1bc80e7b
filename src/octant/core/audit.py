"""AuditRecord: who did what under which rule, kept apart from telemetry because it is mandatory.

Law: records form one chain over all tenants. A record's digest covers the digest before it and its
own encoded bytes as stored, so that a change, an omission or a swap anywhere shows (GV6).
"""

import hashlib

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


GENESIS = "sha256:" + "0" * 64
"""What stands before the first record."""


def chain_digest(previous: str, seq: int, encoded: bytes) -> str:
    """`sha256:` and 64 hex digits over the previous digest, the place and the encoded record."""
    return "sha256:" + hashlib.sha256(f"{previous}\n{seq}\n".encode() + encoded).hexdigest()
