"""AuditRecord: who did what under which rule, kept apart from telemetry because it is mandatory.

Law: records form one chain over all tenants. A record's digest covers the digest before it, its
place and its own encoded bytes as stored, so that a change, an omission or a swap anywhere shows
(GV6). Only a missing end looks like a shorter chain; a head that was noted elsewhere shows it.
`core.audit_walk` follows the chain.
"""

import hashlib
from enum import StrEnum
from typing import NamedTuple

from octant.core.ids import KeyId, RequestId, TenantId
from octant.core.record import Record, decode


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


class ChainHead(NamedTuple):
    """The end of a chain: the place and digest of its last record."""

    seq: int = 0
    digest: str = GENESIS


class ChainedAudit(Record, frozen=True, kw_only=True):
    """An audit record in its place; places are counted from 1. `encoded` is what is stored.

    `filed` is False where the store finds the record by a tenant, request, action or time that are
    not its own.
    """

    seq: int
    encoded: bytes
    previous: str
    digest: str
    filed: bool = True

    @property
    def record(self) -> AuditRecord:
        """Raises msgspec.MsgspecError when the stored bytes are no record any more."""
        return decode(self.encoded, AuditRecord)


class ChainFlaw(StrEnum):
    """What can be wrong with a record in its place."""

    MISSING = "missing"
    ADDED = "added"
    CHANGED = "changed"
    UNLINKED = "unlinked"
    SWAPPED = "swapped"


def chain_digest(previous: str, seq: int, encoded: bytes) -> str:
    """`sha256:` and 64 hex digits over the previous digest, the place and the encoded record."""
    return "sha256:" + hashlib.sha256(f"{previous}\n{seq}\n".encode() + encoded).hexdigest()


def next_head(head: ChainHead, encoded: bytes) -> ChainHead:
    """Where the chain ends when a record is added to it."""
    seq = head.seq + 1
    return ChainHead(seq, chain_digest(head.digest, seq, encoded))


def flaw(after: ChainHead, found: ChainedAudit) -> ChainFlaw | None:
    """What is wrong with the record found next after `after`, as far as it tells by itself.

    UNLINKED is sound in itself and was chained to another record than the one before it.
    """
    if found.seq <= after.seq:
        return ChainFlaw.ADDED
    if found.seq > after.seq + 1:
        return ChainFlaw.MISSING
    if not found.filed or found.digest != _own_digest(found):
        return ChainFlaw.CHANGED
    return None if found.previous == after.digest else ChainFlaw.UNLINKED


def belongs_at(found: ChainedAudit, place: ChainedAudit) -> bool:
    """True when what stands at `found.seq` was chained at `place.seq`: moved whole, or the record
    alone."""
    moved = chain_digest(found.previous, place.seq, found.encoded) == found.digest
    return moved or chain_digest(place.previous, place.seq, found.encoded) == place.digest


def _own_digest(found: ChainedAudit) -> str:
    return chain_digest(found.previous, found.seq, found.encoded)
