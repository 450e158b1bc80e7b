"""The breakers of routes: one result for each attempt, events for each move."""

from collections.abc import Sequence

import pytest

from octant.core.events import AnyEvent, BreakerChanged
from octant.core.failure import Failure, FailureKind
from octant.core.ids import RouteId
from octant.core.route import BreakerState
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    Started,
    StreamItem,
    TextDelta,
)
from octant.core.units import NS_PER_S
from octant.core.usage import FinishReason, Usage
from octant.orchestration.breakers import Breakers, Shut, Trial

ROUTE = RouteId("r")
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
WHOLE = (Started(ROUTE, 1, 5), TextDelta(0, "Hi", (1,)), Completed(Usage()))


class Kept(list[AnyEvent]):
    """An event sink."""

    def emit(self, event: AnyEvent) -> None:
        self.append(event)

    @property
    def moves(self) -> list[BreakerState]:
        return [event.state for event in self if isinstance(event, BreakerChanged)]


def broken(kind: FailureKind = FailureKind.UPSTREAM_FAILURE, retry_ns: int | None = None) -> Broken:
    failure = Failure(kind=kind, stage=Stage.QUEUE, message="m", retry_after_ns=retry_ns)
    return Broken(failure, Usage())


def attempt(breakers: Breakers, items: Sequence[StreamItem], now_ns: int = 0) -> None:
    trial = Trial(breakers, ROUTE, now_ns)
    for item in items:
        trial.see(item, now_ns)
    trial.close(now_ns)
    breakers.check_integrity()


def opened(events: Kept) -> Breakers:
    breakers = Breakers(events)
    for _ in range(5):
        attempt(breakers, [broken()])
    return breakers


def test_it_opens_pauses_probes_and_closes_and_says_so_each_time() -> None:
    events = Kept()
    breakers = opened(events)
    assert breakers.shut(ROUTE, NS_PER_S // 4) == Shut("5 failures in a row", 3 * NS_PER_S // 4)
    assert breakers.shut(ROUTE, NS_PER_S) is None
    probe = Trial(breakers, ROUTE, NS_PER_S)
    assert breakers.state(ROUTE) is HALF_OPEN
    assert breakers.shut(ROUTE, NS_PER_S) is not None
    for item in WHOLE[:2]:
        probe.see(item, NS_PER_S)
    assert breakers.state(ROUTE) is CLOSED
    assert events.moves == [CLOSED, OPEN, HALF_OPEN, CLOSED]


@pytest.mark.parametrize(
    "kind",
    [FailureKind.UPSTREAM_REFUSED, FailureKind.CONTEXT_LENGTH_EXCEEDED, FailureKind.CANCELLED],
)
def test_what_one_caller_did_is_not_held_against_the_route(kind: FailureKind) -> None:
    breakers = Breakers(Kept())
    for _ in range(50):
        attempt(breakers, [broken(kind)])
    assert breakers.state(ROUTE) is CLOSED


def test_an_attempt_that_was_left_says_nothing_and_frees_the_probes_place() -> None:
    breakers = opened(Kept())
    attempt(breakers, WHOLE[:1], NS_PER_S)
    assert breakers.state(ROUTE) is HALF_OPEN
    assert breakers.shut(ROUTE, NS_PER_S) is None


def test_only_a_busy_upstream_is_left_alone_for_as_long_as_it_asks() -> None:
    breakers = Breakers(Kept())
    attempt(breakers, [broken(FailureKind.ENGINE_UNAVAILABLE, 9 * NS_PER_S)])
    assert breakers.state(ROUTE) is CLOSED
    attempt(breakers, [broken(FailureKind.UPSTREAM_BUSY, 9 * NS_PER_S)])
    assert breakers.shut(ROUTE, 0) == Shut("it asked to be left alone", 9 * NS_PER_S)


def test_a_route_that_was_down_starts_anew() -> None:
    events = Kept()
    breakers = opened(events)
    breakers.renew(ROUTE, 1)
    assert breakers.shut(ROUTE, 1) is None
    assert events.moves[-1] is CLOSED
    breakers.renew(ROUTE, 2)
    breakers.renew(RouteId("other"), 2)
    assert len(events) == 3


def test_a_route_that_is_gone_is_forgotten_and_stays_so() -> None:
    breakers = Breakers(Kept())
    late = Trial(breakers, ROUTE, 0)
    breakers.forget(ROUTE)
    late.see(broken(), 1)
    late.close(1)
    assert breakers.state(ROUTE) is CLOSED
    assert breakers._breakers == {}  # pyright: ignore[reportPrivateUsage] # that nothing is kept


def test_a_finished_choice_is_an_answer_too() -> None:
    breakers = opened(Kept())
    trial = Trial(breakers, ROUTE, NS_PER_S)
    trial.see(ChoiceFinished(0, FinishReason.STOP), NS_PER_S)
    assert breakers.state(ROUTE) is CLOSED
