"""RequestEnvelope: what a request is, once the gateway has understood it (RC1).

Law: everything after the gateway sees only this. It is complete (no later step reads a header, a
key or a setting to find out what the caller meant) and it never changes: each step of the request
path takes it, or the value the step before made of it, and returns the next.
"""

from enum import StrEnum

from octant.core import versions
from octant.core.content import Input
from octant.core.identity import Principal
from octant.core.ids import RequestId, SessionId, SpanId, TraceId
from octant.core.limits import Allowance, Deadline, Profile, RunBudget
from octant.core.record import Record
from octant.core.sampling import Sampling
from octant.core.units import NanoUsd


class Api(StrEnum):
    """The endpoint family a request came through."""

    CHAT_COMPLETIONS = "chat_completions"
    COMPLETIONS = "completions"


class RiskClass(StrEnum):
    """How much harm a wrong answer or action could do; policy raises it, a caller cannot lower."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class ModelConstraints(Record, frozen=True, kw_only=True):
    """Which model may answer: its public name, needed capabilities, residency, cost ceiling."""

    name: str
    capabilities: tuple[str, ...] = ()
    residency: str | None = None
    max_cost_nano_usd: NanoUsd | None = None


class RequestEnvelope(Record, frozen=True, kw_only=True):
    """One unit of user work. `received_ns` and the deadline count on the same monotonic clock."""

    request_id: RequestId
    trace_id: TraceId
    parent_span_id: SpanId | None = None
    client_request_id: str | None = None
    idempotency_key: str | None = None
    principal: Principal
    allowance: Allowance = Allowance()
    session_id: SessionId | None = None
    api: Api
    input: Input
    input_bytes: int
    sampling: Sampling
    model: ModelConstraints
    profile: Profile
    deadline: Deadline
    budget: RunBudget = RunBudget()
    risk: RiskClass = RiskClass.LOW
    stream: bool = False
    cache_salt: str | None = None
    received_ns: int
    received_unix_ns: int
    version: int = versions.ENVELOPE
