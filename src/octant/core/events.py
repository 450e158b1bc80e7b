"""Events: every fact on a request's way, typed. Observability is nothing but folds over these.

Law: an event is a past fact with its instant, it never asks for anything, and it holds no prompt or
answer text. Simulator and production emit the same events, so both compute the same figures.
Instants are monotonic nanoseconds, comparable across the processes of one machine.
"""

from octant.core.failure import Failure
from octant.core.ids import KeyId, RequestId, RouteId, SessionId, SpanId, TenantId, TraceId
from octant.core.limits import Profile
from octant.core.outcome import Outcome
from octant.core.record import Record
from octant.core.route import BreakerState, DeploymentState, RouteDecision
from octant.core.tools import SideEffect, ToolOutcome
from octant.core.usage import FinishReason
from octant.core.verdict import Verdict


class Event(Record, frozen=True, kw_only=True, tag_field="event"):
    """Base: when it happened."""

    at_ns: int


class RequestEvent(Event, frozen=True, kw_only=True):
    """Base of events that belong to one request."""

    request_id: RequestId


class RequestReceived(RequestEvent, frozen=True, kw_only=True, tag="request_received"):
    """The envelope stands: identity, profile and deadline are known."""

    trace_id: TraceId
    parent_span_id: SpanId | None
    tenant: TenantId
    key_id: KeyId
    model: str
    api: str
    profile: Profile
    stream: bool
    deadline_ns: int
    at_unix_ns: int


class RequestRefused(Event, frozen=True, kw_only=True, tag="request_refused"):
    """Bytes that never became an envelope: bad identity, bad body, unknown path (RC3)."""

    failure: Failure


class RequestAdmitted(RequestEvent, frozen=True, kw_only=True, tag="request_admitted"):
    """Limits and budget are reserved; predictions are None until the cost model has data."""

    reserved_tokens: int
    predicted_queue_ns: int | None
    predicted_ttft_ns: int | None


class PolicyDecided(RequestEvent, frozen=True, kw_only=True, tag="policy_decided"):
    """A verdict and the stage it was given at: on identity and input, a tool call, or output."""

    stage: str
    verdict: Verdict


class SessionLoaded(RequestEvent, frozen=True, kw_only=True, tag="session_loaded"):
    """The conversation so far stands before the caller's messages."""

    session: SessionId
    session_version: int
    messages: int


class EvidenceSelected(RequestEvent, frozen=True, kw_only=True, tag="evidence_selected"):
    """Documents became numbered passages within their token budget."""

    passages: int
    dropped: int
    tokens: int
    digest: str


class ContextAssembled(RequestEvent, frozen=True, kw_only=True, tag="context_assembled"):
    """The prompt as the model will see it, for model call `step` (from 1)."""

    prompt_tokens: int
    prompt_digest: str
    step: int = 1


class RouteDecided(RequestEvent, frozen=True, kw_only=True, tag="route_decided"):
    """Filter, score, pick are done."""

    decision: RouteDecision


class AttemptStarted(RequestEvent, frozen=True, kw_only=True, tag="attempt_started"):
    """Attempt `attempt` (from 1) was handed to a route."""

    attempt: int
    route: RouteId
    step: int = 1


class AttemptFailed(RequestEvent, frozen=True, kw_only=True, tag="attempt_failed"):
    """Attempt `attempt` ended in a failure; another may follow."""

    attempt: int
    route: RouteId
    failure: Failure
    step: int = 1


class ToolStarted(RequestEvent, frozen=True, kw_only=True, tag="tool_started"):
    """A call was authorised, its intent is in the audit log, and it runs now."""

    call_id: str
    tool: str
    side_effect: SideEffect
    step: int


class ToolFinished(RequestEvent, frozen=True, kw_only=True, tag="tool_finished"):
    """What became of a proposed call, also of one that was refused before it ran."""

    outcome: ToolOutcome


class OutputChecked(RequestEvent, frozen=True, kw_only=True, tag="output_checked"):
    """The answer was held against its contract and its evidence; None: nothing was asked."""

    valid: bool | None
    citations: int
    supported: int
    repairs: int = 0


class SequenceScheduled(RequestEvent, frozen=True, kw_only=True, tag="sequence_scheduled"):
    """First tokens of a choice entered a step: its queue time ends. `cached` came from reuse."""

    choice: int
    prompt_tokens: int
    cached_tokens: int


class SequencePreempted(RequestEvent, frozen=True, kw_only=True, tag="sequence_preempted"):
    """A choice gave its blocks back and waits to be recomputed."""

    choice: int
    freed_blocks: int


class FirstToken(RequestEvent, frozen=True, kw_only=True, tag="first_token"):
    """A choice produced its first token: prefill ends, decode begins."""

    choice: int


class SequenceFinished(RequestEvent, frozen=True, kw_only=True, tag="sequence_finished"):
    """A choice left the engine; `reason` is None when it was cancelled or failed.

    `max_batch` is the largest number of sequences in one of its steps, itself included.
    """

    choice: int
    reason: FinishReason | None
    completion_tokens: int
    max_batch: int = 0


class RequestSettled(RequestEvent, frozen=True, kw_only=True, tag="request_settled"):
    """Outcome, usage, budget and audit are committed. `stored` is False when that failed."""

    outcome: Outcome
    stored: bool


class StepExecuted(Event, frozen=True, kw_only=True, tag="step_executed"):
    """One engine step: what it computed, and how long it took with and without Octant's part."""

    route: RouteId
    duration_ns: int
    executor_ns: int
    sequences: int
    prefill_tokens: int
    decode_tokens: int


class EngineLoadChanged(Event, frozen=True, kw_only=True, tag="engine_load_changed"):
    """What an engine holds now: after a step, an arrival, a cancellation or an expiry."""

    route: RouteId
    running: int
    waiting: int
    kv_blocks_used: int
    kv_blocks_total: int


class EngineStateChanged(Event, frozen=True, kw_only=True, tag="engine_state_changed"):
    """A deployment moved to another state, and why."""

    route: RouteId
    state: DeploymentState
    reason: str = ""
    restarts: int = 0


class BreakerChanged(Event, frozen=True, kw_only=True, tag="breaker_changed"):
    """A route's breaker moved, and why; open, it lets nothing through for `pause_ns`."""

    route: RouteId
    state: BreakerState
    reason: str = ""
    pause_ns: int = 0


AnyEvent = (
    RequestReceived
    | RequestRefused
    | RequestAdmitted
    | PolicyDecided
    | SessionLoaded
    | EvidenceSelected
    | ContextAssembled
    | RouteDecided
    | AttemptStarted
    | AttemptFailed
    | ToolStarted
    | ToolFinished
    | OutputChecked
    | SequenceScheduled
    | SequencePreempted
    | FirstToken
    | SequenceFinished
    | RequestSettled
    | StepExecuted
    | EngineLoadChanged
    | EngineStateChanged
    | BreakerChanged
)
