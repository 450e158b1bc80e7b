"""Events of requests as the server emits them, for tests of folds."""

from octant.core.events import (
    AnyEvent,
    AttemptStarted,
    ContextAssembled,
    FirstToken,
    PolicyDecided,
    RequestAdmitted,
    RequestReceived,
    RequestSettled,
    RouteDecided,
    SequenceFinished,
    SequenceScheduled,
)
from octant.core.failure import Failure
from octant.core.ids import KeyId, ReleaseId, RequestId, RouteId, SpanId, TenantId, TraceId
from octant.core.limits import Profile
from octant.core.outcome import Outcome, OutcomeStatus
from octant.core.route import Candidate, Route, RouteDecision
from octant.core.stage import Stage
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
