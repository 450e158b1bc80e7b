"""Events of requests as the server emits them, for tests of folds."""

from octant.core.events import (
    AnyEvent,
    AttemptStarted,
    ContextAssembled,
    EvidenceSelected,
    FirstToken,
    OutputChecked,
    PolicyDecided,
    RequestAdmitted,
    RequestReceived,
    RequestSettled,
    RouteDecided,
    SequenceFinished,
    SequenceScheduled,
    SessionLoaded,
    ToolFinished,
    ToolStarted,
)
from octant.core.failure import Failure
from octant.core.ids import (
    KeyId,
    ReleaseId,
    RequestId,
    RouteId,
    SessionId,
    SpanId,
    TenantId,
    TraceId,
)
from octant.core.limits import Profile
from octant.core.outcome import Outcome, OutcomeStatus
from octant.core.route import Candidate, Route, RouteDecision
from octant.core.stage import Stage
from octant.core.tools import SideEffect, ToolOutcome, ToolStatus
from octant.core.units import NS_PER_MS, NanoUsd
from octant.core.usage import FinishReason, Usage
from octant.core.verdict import Decision, Verdict

ROUTE = Route(
    id=RouteId("embedded"),
    model="octant-mini",
    release=ReleaseId("1"),
    engine="openvino",
    max_context=1024,
)
REQUEST = RequestId("req_" + "1" * 32)
TRACE = TraceId("2" * 32)
START_MS = 1_000


def at(ms: float) -> int:
    """An instant `ms` after the reception of the request."""
    return round((START_MS + ms) * NS_PER_MS)


def received(
    request: RequestId = REQUEST, *, model: str = "octant-mini", tenant: str = "default"
) -> RequestReceived:
    return RequestReceived(
        at_ns=at(0),
        request_id=request,
        trace_id=TRACE,
        parent_span_id=SpanId("3" * 16),
        tenant=TenantId(tenant),
        key_id=KeyId("key_1"),
        model=model,
        api="chat_completions",
        profile=Profile.INTERACTIVE,
        stream=True,
        deadline_ns=at(60_000),
        at_unix_ns=1_700_000_000_000_000_000,
    )


def before_the_engine(request: RequestId = REQUEST) -> list[AnyEvent]:
    """Verdict at 1 ms, admission at 3, context at 4, route at 5, attempt at 6."""
    verdict = Verdict(decision=Decision.ALLOW, policy_version="1", rule="default", reason="")
    decision = RouteDecision(chosen=ROUTE, candidates=(Candidate(route=ROUTE.id, score=1.0),))
    return [
        PolicyDecided(at_ns=at(1), request_id=request, stage=Stage.BOUNDARY, verdict=verdict),
        RequestAdmitted(
            at_ns=at(3),
            request_id=request,
            reserved_tokens=64,
            predicted_queue_ns=None,
            predicted_ttft_ns=None,
        ),
        ContextAssembled(
            at_ns=at(4), request_id=request, prompt_tokens=40, prompt_digest="sha256:00"
        ),
        RouteDecided(at_ns=at(5), request_id=request, decision=decision),
        AttemptStarted(at_ns=at(6), request_id=request, attempt=1, route=ROUTE.id),
    ]


def in_the_engine(request: RequestId = REQUEST, choice: int = 0) -> list[AnyEvent]:
    """Scheduled at 16 ms, first token at 36, finished with 11 tokens at 136."""
    return [
        SequenceScheduled(
            at_ns=at(16), request_id=request, choice=choice, prompt_tokens=40, cached_tokens=32
        ),
        FirstToken(at_ns=at(36), request_id=request, choice=choice),
        SequenceFinished(
            at_ns=at(136),
            request_id=request,
            choice=choice,
            reason=FinishReason.STOP,
            completion_tokens=11,
        ),
    ]


def outcome(
    request: RequestId = REQUEST,
    *,
    status: OutcomeStatus = OutcomeStatus.COMPLETED,
    failure: Failure | None = None,
    attempts: int = 1,
    tenant: str = "default",
    model: str = "octant-mini",
) -> Outcome:
    routed = attempts > 0
    return Outcome(
        request_id=request,
        trace_id=TRACE,
        tenant=TenantId(tenant),
        key_id=KeyId("key_1"),
        model=model,
        route=ROUTE.id if routed else None,
        profile=Profile.INTERACTIVE,
        status=status,
        failure=failure,
        finish_reasons=(FinishReason.STOP,) if status is OutcomeStatus.COMPLETED else (),
        attempts=attempts,
        usage=Usage(prompt_tokens=40, cached_tokens=32, completion_tokens=11)
        if routed
        else Usage(),
        cost_nano_usd=NanoUsd(510 if routed else 0),
        received_unix_ns=1_700_000_000_000_000_000,
        duration_ns=140 * NS_PER_MS,
        time_to_first_token_ns=37 * NS_PER_MS if routed else None,
    )


def settled(of: Outcome, *, stored: bool = True) -> RequestSettled:
    return RequestSettled(at_ns=at(140), request_id=of.request_id, outcome=of, stored=stored)


def whole_request(request: RequestId = REQUEST) -> list[AnyEvent]:
    """A request that went well, from reception to settling."""
    return [
        received(request),
        *before_the_engine(request),
        *in_the_engine(request),
        settled(outcome(request)),
    ]


def model_call(step: int, start_ms: float, *, attempt: int = 1) -> list[AnyEvent]:
    """Prompt, route, hand-over a millisecond each; then 10 queueing, 20 prefill, 100 decode."""
    decision = RouteDecided(
        at_ns=at(start_ms + 2),
        request_id=REQUEST,
        decision=RouteDecision(chosen=ROUTE, candidates=(Candidate(route=ROUTE.id, score=1.0),)),
    )
    return [
        ContextAssembled(
            at_ns=at(start_ms + 1),
            request_id=REQUEST,
            prompt_tokens=40 * step,
            prompt_digest=f"sha256:0{step}",
            step=step,
        ),
        decision,
        AttemptStarted(
            at_ns=at(start_ms + 3),
            request_id=REQUEST,
            attempt=attempt,
            route=ROUTE.id,
            step=step,
        ),
        SequenceScheduled(
            at_ns=at(start_ms + 13),
            request_id=REQUEST,
            choice=0,
            prompt_tokens=40 * step,
            cached_tokens=32 * (step - 1),
        ),
        FirstToken(at_ns=at(start_ms + 33), request_id=REQUEST, choice=0),
        SequenceFinished(
            at_ns=at(start_ms + 133),
            request_id=REQUEST,
            choice=0,
            reason=FinishReason.STOP,
            completion_tokens=11,
            max_batch=2 + step,
        ),
    ]


def tool_outcome(
    status: ToolStatus = ToolStatus.SUCCEEDED, failure: Failure | None = None
) -> ToolOutcome:
    """A call of the calculator in step 1."""
    return ToolOutcome(
        call_id="call_1",
        tool="calculator",
        version="2",
        step=1,
        status=status,
        side_effect=SideEffect.READ,
        idempotency_key="key-1",
        arguments_digest="sha256:0a",
        result_bytes=12,
        duration_ns=5 * NS_PER_MS,
        failure=failure,
    )


def tool_use(start_ms: float) -> list[AnyEvent]:
    """Authorised after 1 ms, on record after 3, done after 10."""
    allowed = Verdict(decision=Decision.ALLOW, policy_version="7", rule="tools", reason="")
    return [
        PolicyDecided(
            at_ns=at(start_ms + 1),
            request_id=REQUEST,
            stage=Stage.TOOL_AUTHORIZATION,
            verdict=allowed,
        ),
        ToolStarted(
            at_ns=at(start_ms + 3),
            request_id=REQUEST,
            call_id="call_1",
            tool="calculator",
            side_effect=SideEffect.READ,
            step=1,
        ),
        ToolFinished(at_ns=at(start_ms + 10), request_id=REQUEST, outcome=tool_outcome()),
    ]


def whole_run() -> list[AnyEvent]:
    """Every stage there is: session, evidence, two model calls with a tool between them, a check.

    Admission to 2 ms, governance 3, session 5, evidence 8, call 141, tool 151, call 284, check 286.
    """
    changed = Verdict(
        decision=Decision.CHANGE,
        policy_version="7",
        rule="pii.input",
        reason="",
        findings={"email": 2, "card": 1},
    )
    ended = outcome(attempts=2)
    return [
        received(),
        RequestAdmitted(
            at_ns=at(2),
            request_id=REQUEST,
            reserved_tokens=64,
            predicted_queue_ns=None,
            predicted_ttft_ns=None,
        ),
        PolicyDecided(at_ns=at(3), request_id=REQUEST, stage=Stage.GOVERNANCE, verdict=changed),
        SessionLoaded(
            at_ns=at(5),
            request_id=REQUEST,
            session=SessionId("ses_1"),
            session_version=4,
            messages=9,
        ),
        EvidenceSelected(
            at_ns=at(8), request_id=REQUEST, passages=3, dropped=1, tokens=90, digest="sha256:ee"
        ),
        *model_call(1, 8),
        *tool_use(141),
        *model_call(2, 151, attempt=2),
        OutputChecked(at_ns=at(286), request_id=REQUEST, valid=True, citations=2, supported=2),
        RequestSettled(at_ns=at(290), request_id=REQUEST, outcome=ended, stored=True),
    ]
