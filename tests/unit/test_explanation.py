"""Why a request went where it went: each attempt beside the decision that led to it."""

from octant.core.events import AnyEvent, AttemptFailed, AttemptStarted, RouteDecided
from octant.core.failure import Failure, FailureKind
from octant.core.ids import ReleaseId, RequestId, RouteId
from octant.core.route import RouteDecision
from octant.core.stage import Stage
from octant.orchestration.explanation import ExplainedAttempt, explain
from tests.support import happenings
from tests.support.envelopes import route

REQUEST = RequestId("req_1")
LOST = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="gone")


def decision(name: str, drawn: str | None = None) -> RouteDecision:
    release = ReleaseId(drawn) if drawn else None
    return RouteDecision(chosen=route(name, release=name), candidates=(), release=release)


def decided(at_ns: int, made: RouteDecision) -> RouteDecided:
    return RouteDecided(at_ns=at_ns, request_id=REQUEST, decision=made)


def started(at_ns: int, attempt: int, step: int) -> AttemptStarted:
    return AttemptStarted(
        at_ns=at_ns, request_id=REQUEST, attempt=attempt, route=RouteId("x"), step=step
    )


def test_decisions_attempts_and_failures_stand_together_whatever_their_order() -> None:
    first, second, third = decision("a", "a"), decision("b", "a"), decision("a")
    events: list[AnyEvent] = [
        started(2, 1, 1),
        decided(1, first),
        AttemptFailed(
            at_ns=3, request_id=REQUEST, attempt=1, route=RouteId("a"), failure=LOST, step=1
        ),
        decided(4, second),
        started(5, 2, 1),
        decided(6, third),
        started(7, 3, 2),
    ]
    explained = explain(events)
    assert explained == (
        ExplainedAttempt(first, 1, 1, LOST),
        ExplainedAttempt(second, 1, 2),
        ExplainedAttempt(third, 2, 3),
    )
    assert [item.split_kept for item in explained] == [True, False, True]


def test_events_of_requests_that_were_never_routed_explain_nothing() -> None:
    assert explain([]) == ()
    assert explain([started(1, 1, 1)]) == ()


def test_a_whole_request_has_one_attempt() -> None:
    assert len(explain(happenings.whole_request())) == 1
