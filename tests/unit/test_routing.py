"""Routing: filters keep their reasons, the least busy route wins, ties go to the first."""

import pytest

from octant.core.envelope import ModelConstraints
from octant.core.failure import Failed, FailureKind
from octant.core.ids import RouteId
from octant.core.route import DeploymentState, Route, RouteLoad
from octant.core.units import NS_PER_S
from octant.orchestration.routing import PromptSize, RouteNeeds, RouteView, decide
from tests.support.envelopes import READY, envelope, route

NEEDS = RouteNeeds(envelope())


def view(route: Route, load: RouteLoad) -> RouteView:
    return RouteView(route, load, route.max_context, size=PromptSize(90, 10))


def busy(running: int, waiting: int = 0) -> RouteLoad:
    return RouteLoad(state=DeploymentState.READY, running=running, waiting=waiting)


def test_the_least_busy_route_wins() -> None:
    views = [view(route("a"), busy(3)), view(route("b"), busy(1))]
    assert decide(NEEDS, views).chosen.id == "b"


def test_equal_routes_resolve_to_the_first() -> None:
    views = [view(route("a"), READY), view(route("b"), READY)]
    assert decide(NEEDS, views).chosen.id == "a"


def test_every_loser_keeps_its_reason_and_every_candidate_is_recorded() -> None:
    views = [
        view(route("down"), RouteLoad(state=DeploymentState.FAILED, reason="crash loop")),
        view(route("short", max_context=99), READY),
        view(route("tried"), READY),
        view(route("good"), busy(1)),
    ]
    needs = RouteNeeds(envelope(), excluded=frozenset({RouteId("tried")}))
    decision = decide(needs, views)
    assert decision.chosen.id == "good"
    reasons = {item.route: item.rejected_because for item in decision.candidates}
    assert reasons == {
        "down": "it is failed: crash loop",
        "short": "its context holds 99 tokens, 100 are needed",
        "tried": "an earlier attempt failed there",
        "good": None,
    }
    assert [item.score for item in decision.candidates] == [None, None, None, 0.5]


def test_a_missing_capability_is_named() -> None:
    needs = RouteNeeds(
        envelope(model=ModelConstraints(name="m", capabilities=("vision",)))
    )
    with pytest.raises(Failed) as caught:
        decide(needs, [view(route("text"), READY)])
    assert "it lacks vision" in caught.value.failure.message


def test_the_caller_is_told_when_the_first_route_should_be_back() -> None:
    waits = {"a": 60, "b": 5, "c": None}
    views = [
        view(
            route(name),
            RouteLoad(
                state=DeploymentState.LOADING,
                retry_after_ns=wait_s and wait_s * NS_PER_S,
            ),
        )
        for name, wait_s in waits.items()
    ]
    with pytest.raises(Failed) as caught:
        decide(NEEDS, views)
    assert caught.value.failure.retry_after_ns == 5 * NS_PER_S
    with pytest.raises(Failed) as alone:
        decide(NEEDS, views[:1])
    assert alone.value.failure.retry_after_ns == 60 * NS_PER_S


@pytest.mark.parametrize("state", [s for s in DeploymentState if s is not DeploymentState.READY])
def test_only_ready_routes_take_requests(state: DeploymentState) -> None:
    with pytest.raises(Failed) as caught:
        decide(NEEDS, [view(route(), RouteLoad(state=state))])
    failure = caught.value.failure
    assert failure.kind is FailureKind.ENGINE_UNAVAILABLE
    assert failure.retry_after_ns is not None
    assert state.value in failure.message
