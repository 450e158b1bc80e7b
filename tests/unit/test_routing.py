"""Routing: the split comes first, filters keep their reasons, the score is what is preferred."""

from typing import Any

import pytest

from octant.core.envelope import ModelConstraints, Preference
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import ReleaseId, RouteId
from octant.core.limits import Profile, RunBudget
from octant.core.route import DeploymentState, Price, Route, RouteLoad
from octant.core.stage import Stage
from octant.core.units import NS_PER_S, NanoUsd
from octant.orchestration.breakers import Shut
from octant.orchestration.routing import (
    PromptSize,
    RouteNeeds,
    RouteView,
    decide,
    standing,
    worth_a_prompt,
)
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
    needs = RouteNeeds(envelope(model=ModelConstraints(name="m", capabilities=("vision",))))
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


def asking(prefer: Preference = Preference.LATENCY, **model: Any) -> RouteNeeds:
    return RouteNeeds(envelope(model=ModelConstraints(name="m", prefer=prefer, **model)))


def test_latency_looks_at_waiting_tokens_and_breaks_ties_by_quality() -> None:
    long_queue = RouteLoad(
        state=DeploymentState.READY, waiting=1, waiting_tokens_by_profile={Profile.BATCH: 4_096}
    )
    behind, before = view(route("a"), long_queue), view(route("b"), busy(2))
    assert decide(asking(), [behind, before]).chosen.id == "b"
    plain, better = view(route("a"), READY), view(route("b", quality=0.9), READY)
    assert decide(asking(), [plain, better]).chosen.id == "b"


def test_quality_comes_before_load_where_it_is_preferred() -> None:
    views = [view(route("fast", quality=0.4), READY), view(route("precise", quality=0.8), busy(9))]
    decision = decide(asking(Preference.QUALITY), views)
    assert decision.chosen.id == "precise"
    assert [item.score for item in decision.candidates] == [0.4, 0.8]


def test_cost_is_the_price_of_the_whole_request() -> None:
    # 90 prompt tokens and 10 of output: cheap input wins although its output is dearer.
    cheap_in = Price(input_nano_usd=NanoUsd(1), output_nano_usd=NanoUsd(100))
    cheap_out = Price(input_nano_usd=NanoUsd(100), output_nano_usd=NanoUsd(1))
    views = [view(route("out", price=cheap_out), READY), view(route("in", price=cheap_in), busy(3))]
    decision = decide(asking(Preference.COST), views)
    assert decision.chosen.id == "in"
    assert [item.score for item in decision.candidates] == [1_090 / 9_010, 1.0]
    free = [*views, view(route("free"), busy(9))]
    assert decide(asking(Preference.COST), free).chosen.id == "free"


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        (asking(labels=("precise", "exact")), "its label is fast, wanted is precise or exact"),
        (asking(residency="local"), "it computes in remote, wanted is local"),
        (asking(capabilities=("vision", "audio")), "it lacks audio, vision"),
        (
            asking(max_cost_nano_usd=NanoUsd(999)),
            "it would cost about 1000 nano-USD, at most 999 are allowed",
        ),
        (
            RouteNeeds(envelope(budget=RunBudget(cost_nano_usd=NanoUsd(999)))),
            "it would cost about 1000 nano-USD, at most 999 are allowed",
        ),
    ],
    ids=["label", "residency", "capability", "cost", "budget"],
)
def test_what_no_route_is_does_not_come_with_waiting(needs: RouteNeeds, reason: str) -> None:
    price = Price(input_nano_usd=NanoUsd(10), output_nano_usd=NanoUsd(10))
    only = view(route("r", label="fast", residency="remote", price=price), READY)
    with pytest.raises(Failed) as caught:
        decide(needs, [only])
    failure = caught.value.failure
    assert failure.kind is FailureKind.INVALID_VALUE
    assert failure.retry_after_ns is None
    assert failure.detail == {"r": reason}


def test_one_route_that_may_come_back_makes_it_worth_asking_again() -> None:
    down = RouteLoad(state=DeploymentState.LOADING)
    views = [view(route("a"), READY), view(route("b", label="precise"), down)]
    with pytest.raises(Failed) as caught:
        decide(asking(labels=("precise",)), views)
    assert caught.value.failure.kind is FailureKind.ENGINE_UNAVAILABLE


@pytest.mark.parametrize(
    "holds",
    [
        {"max_context": 99},
        {"capabilities": ()},
        {"price": Price(input_nano_usd=NanoUsd(10), output_nano_usd=NanoUsd(10))},
    ],
    ids=["context", "capability", "cost"],
)
def test_nobody_waits_for_a_route_that_would_not_do(holds: dict[str, Any]) -> None:
    needs = asking(capabilities=("vision",), max_cost_nano_usd=NanoUsd(500))
    down = RouteLoad(state=DeploymentState.LOADING, retry_after_ns=1)
    ready = view(route("a", capabilities=("vision",), max_context=99), READY)
    loading = view(route("b", **{"capabilities": ("vision",)} | holds), down)
    with pytest.raises(Failed) as caught:
        decide(needs, [ready, loading])
    assert caught.value.failure.kind is FailureKind.INVALID_VALUE


def test_prompts_are_made_for_what_may_come_back_once_a_route_is_there() -> None:
    loading = view(route("b"), RouteLoad(state=DeploymentState.LOADING))
    other = view(route("c", label="slow"), READY)
    ready = view(route("a", label="fast"), READY)
    needs = asking(labels=("fast", ""))
    assert worth_a_prompt(needs, [ready, loading, other]) == [ready, loading]
    assert worth_a_prompt(needs, [loading, other]) == []


def test_an_open_breaker_keeps_requests_away_and_says_for_how_long() -> None:
    shut = Shut("5 failures in a row", 1_500_000_000)
    with pytest.raises(Failed) as caught:
        decide(asking(), [view(route("a"), READY)._replace(shut=shut)])
    failure = caught.value.failure
    assert failure.retry_after_ns == 1_500_000_000
    assert failure.detail == {"a": "its breaker is open (5 failures in a row; 1.5 s left)"}


def test_a_prompt_that_only_some_routes_can_read_goes_to_those() -> None:
    fault = Failure(
        kind=FailureKind.UNSUPPORTED_PARAMETER, stage=Stage.CONTEXT, message="no images"
    )
    blind = view(route("blind", quality=1.0), READY)._replace(size=None, unfit=fault)
    seeing = view(route("seeing"), busy(9))
    decision = decide(asking(), [blind, seeing])
    assert decision.chosen.id == "seeing"
    assert decision.candidates[0].rejected_because == "no images"
    with pytest.raises(Failed) as caught:
        decide(asking(), [blind])
    assert caught.value.failure is fault


WEIGHTS = {ReleaseId("old"): 1, ReleaseId("new"): 0}


def test_the_drawn_release_answers_and_the_others_are_its_fallbacks() -> None:
    views = [
        view(route("new", release="new", quality=1.0), READY),
        view(route("old", release="old"), busy(5)),
        view(route("free", release="free"), READY),
    ]
    decision = decide(RouteNeeds(envelope(), traffic=WEIGHTS), views)
    assert (decision.release, decision.chosen.id) == ("old", "old")
    assert decision.fallbacks == ("new", "free")


def test_without_an_eligible_route_of_the_drawn_release_another_answers() -> None:
    views = [
        view(route("old", release="old"), RouteLoad(state=DeploymentState.DRAINING)),
        view(route("new", release="new"), READY),
    ]
    decision = decide(RouteNeeds(envelope(), traffic=WEIGHTS), views)
    assert (decision.release, decision.chosen.id) == ("old", "new")
    assert decision.candidates[0].rejected_because == "it is draining"


def test_before_a_prompt_is_made_only_what_is_known_speaks_against_a_route() -> None:
    price = Price(input_nano_usd=NanoUsd(10**9), output_nano_usd=NanoUsd(0))
    unread = view(route("a", price=price), READY)._replace(size=None)
    needs = asking(max_cost_nano_usd=NanoUsd(1))
    assert standing(needs, [unread]) == [unread]
    assert standing(needs, [unread._replace(size=PromptSize(1, 1))]) == []


@pytest.mark.parametrize(("running_fast", "running_precise"), [(0, 0), (3, 0), (0, 2)])
def test_load_does_not_spill_over_to_a_slower_route_of_the_same_machine(
    running_fast: int, running_precise: int
) -> None:
    views = [
        view(
            route("precise", machine="local", tokens_per_s=50.0, quality=0.9),
            busy(running_precise),
        ),
        view(route("fast", machine="local", tokens_per_s=90.0, quality=0.8), busy(running_fast)),
    ]
    assert decide(NEEDS, views).chosen.id == "fast"


def test_what_measurements_cannot_tell_apart_moves_no_traffic() -> None:
    first = view(route("first", tokens_per_s=650.0, quality=0.905), READY)
    noisy = view(route("noisy", tokens_per_s=740.0, quality=0.910), READY)
    faster = view(route("faster", tokens_per_s=1_300.0, quality=0.9), READY)
    assert decide(NEEDS, [first, noisy]).chosen.id == "first"
    assert decide(NEEDS, [first, noisy, faster]).chosen.id == "faster"
    wanted = RouteNeeds(envelope(model=ModelConstraints(name="m", prefer=Preference.QUALITY)))
    assert decide(wanted, [first, noisy]).chosen.id == "noisy"
