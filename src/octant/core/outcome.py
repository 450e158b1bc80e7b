"""Outcome: how a request ended, in the form in which it is committed (settle)."""

from enum import StrEnum

from octant.core import versions
from octant.core.failure import Failure
from octant.core.ids import KeyId, RequestId, RouteId, TenantId, TraceId
from octant.core.limits import Profile
from octant.core.record import Record
from octant.core.units import NanoUsd
from octant.core.usage import FinishReason, Usage


class OutcomeStatus(StrEnum):
    """PARTIAL means that some output had been sent before the failure or cancellation."""

    COMPLETED = "completed"
    FAILED = "failed"
    PARTIAL = "partial"
    CANCELLED = "cancelled"


class Outcome(Record, frozen=True, kw_only=True):
    """The one durable summary of a request; never holds prompt or answer text."""

    request_id: RequestId
    trace_id: TraceId
    tenant: TenantId
    key_id: KeyId
    model: str
    route: RouteId | None
    profile: Profile
    status: OutcomeStatus
    failure: Failure | None = None
    finish_reasons: tuple[FinishReason, ...] = ()
    attempts: int = 0
    usage: Usage = Usage()
    cost_nano_usd: NanoUsd = NanoUsd(0)
    received_unix_ns: int
    duration_ns: int
    time_to_first_token_ns: int | None = None
    version: int = versions.OUTCOME
