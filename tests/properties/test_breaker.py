"""A breaker over random sequences on a virtual clock, held against what it promises."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from octant.core.route import BreakerState
from octant.orchestration.breaker import AttemptEnd, Breaker, BreakerSettings

SETTINGS = BreakerSettings(
    failures_in_row=3,
    window=6,
    window_ns=1_000,
    failure_share=0.5,
    first_pause_ns=10,
    longest_pause_ns=80,
)
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
GOOD, BAD, NOTHING = AttemptEnd.GOOD, AttemptEnd.BAD, AttemptEnd.NOTHING
MOVES = {
    (CLOSED, OPEN),
    (OPEN, HALF_OPEN),
    (HALF_OPEN, OPEN),
    (HALF_OPEN, CLOSED),
}


class Step(NamedTuple):
    """Time passes, then something happens to one of the attempts under way, or a new one begins."""

    wait_ns: int
    what: str
    which: int
    hold_ns: int


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(0, 40),
        st.sampled_from(["begin", "begin", "answer", "good", "bad", "bad", "nothing"]),
        st.integers(0, 9),
        st.sampled_from([0, 0, 25, 10_000]),
    ),
    max_size=120,
)
ENDS = {"good": GOOD, "bad": BAD, "nothing": NOTHING}


class World:
    """A breaker, the attempts under way, and the promises."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.breaker = Breaker()
        self.under_way: list[int] = []

    def take(self, step: Step) -> None:
        self.now_ns += step.wait_ns
        if step.what == "begin":
            self.begin()
        elif self.under_way:
            index = step.which % len(self.under_way)
            if step.what == "answer":
                self.answer(index)
            else:
                epoch = self.under_way.pop(index)
                how = ENDS[step.what]
                self.move(self.breaker.end(epoch, how, self.now_ns, SETTINGS, step.hold_ns))

    def begin(self) -> None:
        before = self.breaker
        if not before.admits(self.now_ns):
            return
        if before.state is OPEN:
            assert self.now_ns >= before.until_ns
        self.move(before.begin(self.now_ns))
        self.under_way.append(self.breaker.epoch)
        if self.breaker.state is HALF_OPEN:
            assert not self.breaker.admits(self.now_ns), "one probe at a time"
            assert self.breaker.admits(self.now_ns + self.breaker.pause_ns), "a lost probe ends"

    def answer(self, index: int) -> None:
        known = self.breaker
        self.move(known.answered(self.under_way[index], SETTINGS))
        if self.breaker is not known:
            self.under_way[index] = self.breaker.epoch

    def move(self, after: Breaker) -> None:
        before, self.breaker = self.breaker, after
        after.check_integrity(SETTINGS)
        if before.state is after.state:
            return
        assert (before.state, after.state) in MOVES
        assert after.epoch > before.epoch
        if after.state is OPEN:
            assert after.until_ns - self.now_ns == after.pause_ns
            assert SETTINGS.first_pause_ns <= after.pause_ns <= SETTINGS.longest_pause_ns
            if before.state is HALF_OPEN:
                assert after.pause_ns >= min(2 * before.pause_ns, SETTINGS.longest_pause_ns)


@given(STEPS)
def test_it_moves_only_along_its_edges_and_never_lets_a_second_probe_through(
    steps: list[Step],
) -> None:
    world = World()
    for step in steps:
        world.take(step)


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from([GOOD, BAD, NOTHING])), max_size=60))
def test_a_closed_breaker_opens_exactly_when_the_rule_says_so(
    ends: list[tuple[int, AttemptEnd]],
) -> None:
    breaker, now_ns, said = Breaker(), 0, list[tuple[int, bool]]()
    for wait_ns, how in ends:
        now_ns += wait_ns
        breaker = breaker.end(breaker.epoch, how, now_ns, SETTINGS)
        if how is not NOTHING:
            said.append((now_ns, how is BAD))
        in_row = len(said) >= 3 and all(bad for _, bad in said[-3:])
        window = [bad for at_ns, bad in said[-6:] if now_ns - at_ns <= 1_000]
        half = len(window) == 6 and sum(window) >= 3
        due = how is BAD and (in_row or half)
        assert (breaker.state is OPEN) == due
        if due:
            return


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(SETTINGS.failures_in_row):
        breaker = breaker.end(breaker.epoch, BAD, 0, SETTINGS)
    assert breaker.state is OPEN
    return breaker


def test_pauses_double_up_to_their_bound_and_one_good_answer_ends_them() -> None:
    breaker, pauses = opened(), list[int]()
    for _ in range(6):
        pauses.append(breaker.pause_ns)
        probe = breaker.begin(breaker.until_ns)
        breaker = probe.end(probe.epoch, BAD, probe.until_ns, SETTINGS)
    assert pauses == [10, 20, 40, 80, 80, 80]
    probe = breaker.begin(breaker.until_ns)
    breaker = probe.end(probe.epoch, GOOD, probe.until_ns, SETTINGS)
    assert (breaker.state, breaker.pause_ns) == (CLOSED, 0)


def test_a_route_that_starts_answers_and_cuts_them_is_on_trial() -> None:
    probe = opened().begin(10)
    closed = probe.answered(probe.epoch, SETTINGS)
    assert closed.state is CLOSED
    again = closed.end(closed.epoch, BAD, 20, SETTINGS)
    assert (again.state, again.pause_ns) == (OPEN, 20)
    trusted = closed.end(closed.epoch, GOOD, 20, SETTINGS)
    assert (trusted.bad_in_row, trusted.pause_ns) == (0, 0)


def test_what_was_under_way_when_it_opened_is_heard_no_more() -> None:
    breaker = opened()
    assert breaker.end(0, GOOD, 5, SETTINGS) is breaker
    probe = breaker.begin(10)
    assert probe.end(0, BAD, 11, SETTINGS) is probe
    assert probe.answered(0, SETTINGS) is probe


def test_a_route_that_asks_to_be_left_alone_is_left_alone_at_once() -> None:
    breaker = Breaker().end(0, BAD, 100, SETTINGS, hold_ns=50)
    assert (breaker.state, breaker.until_ns) == (OPEN, 150)
    assert Breaker().end(0, BAD, 0, SETTINGS, hold_ns=10**9).pause_ns == 80
