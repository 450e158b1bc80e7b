"""RequestEnvelope: what a request is, once the gateway has understood it (RC1).

Law: everything after the gateway sees only this. It is complete (no later step reads a header, a
key or a setting to find out what the caller meant) and it never changes: each step of the request
path takes it, or the value the step before made of it, and returns the next.
"""

from enum import StrEnum
from typing import Any

from octant.core import versions
from octant.core.content import Input
from octant.core.evidence import Document
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
    RUNS = "runs"


class RiskClass(StrEnum):
    """How much harm a wrong answer or action could do: the higher of what tenant and caller say."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    def or_higher(self, other: "RiskClass") -> "RiskClass":
        """The higher of the two."""
        return max(self, other, key=list(RiskClass).index)


class Preference(StrEnum):
    """What matters most where several routes could answer."""

    LATENCY = "latency"
    QUALITY = "quality"
    COST = "cost"


class ModelConstraints(Record, frozen=True, kw_only=True):
    """Which model may answer: its public name, needed capabilities, residency, cost ceiling.

    `labels` restricts to routes that carry one of them; empty means any route of the model.
    """

    name: str
    capabilities: tuple[str, ...] = ()
    residency: str | None = None
    max_cost_nano_usd: NanoUsd | None = None
    prefer: Preference = Preference.LATENCY
    labels: tuple[str, ...] = ()


class ContextPolicy(Record, frozen=True, kw_only=True):
    """What to answer from. `max_tokens` bounds the evidence in the prompt, None means a half of it.

    With `require_citations` an answer without a supported mark is rejected.
    """

    documents: tuple[Document, ...] = ()
    max_tokens: int | None = None
    require_citations: bool = False


class ToolGrant(Record, frozen=True, kw_only=True):
    """Tools of the broker that this run may use, and how many model calls it may make."""

    allowed: tuple[str, ...] = ()
    max_steps: int = 4


class OutputContract(Record, frozen=True, kw_only=True):
    """What the answer has to be: JSON that fits `json_schema`, after at most `max_repairs` more
    tries."""

    json_schema: dict[str, Any]
    name: str = ""
    max_repairs: int = 1


class SessionUse(Record, frozen=True, kw_only=True):
    """The session a run goes on with. `expected_version` None means whatever it is by then.

    `store` False reads the conversation and leaves it as it is (memory policy).
    """

    id: SessionId
    expected_version: int | None = None
    store: bool = True


class TraceSettings(Record, frozen=True, kw_only=True):
    """`record` False keeps the tokens of this run out of the store; it cannot be replayed then."""

    record: bool = True


class RequestEnvelope(Record, frozen=True, kw_only=True):
    """One unit of user work. `received_ns` and the deadline count on the same monotonic clock."""

    request_id: RequestId
    trace_id: TraceId
    parent_span_id: SpanId | None = None
    client_request_id: str | None = None
    idempotency_key: str | None = None
    principal: Principal
    allowance: Allowance = Allowance()
    session: SessionUse | None = None
    api: Api
    input: Input
    input_bytes: int
    sampling: Sampling
    model: ModelConstraints
    profile: Profile
    deadline: Deadline
    budget: RunBudget = RunBudget()
    context: ContextPolicy = ContextPolicy()
    tools: ToolGrant = ToolGrant()
    output: OutputContract | None = None
    trace: TraceSettings = TraceSettings()
    risk: RiskClass = RiskClass.LOW
    stream: bool = False
    cache_salt: str | None = None
    received_ns: int
    received_unix_ns: int
    version: int = versions.ENVELOPE
