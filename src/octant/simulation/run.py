"""Run: drives the real scheduler and the real block pool over a workload on a virtual clock.

Law: equal workloads give equal logs. Every block is checked before it is used, and at the end
nothing may be left. With `audit` the books are checked whenever they have changed, too; the
decisions are the same without.
"""

from enum import StrEnum
from typing import NamedTuple

from octant.compute.token_scheduler import Expired, Planned, SchedulerEvent, TokenScheduler
from octant.context.kv.block_pool import BlockPool
from octant.core.failure import Failed
from octant.core.ids import SequenceId
from octant.core.step import StepPlan
from octant.simulation.modelled_executor import ModelledExecutor
from octant.simulation.virtual_clock import VirtualClock
from octant.simulation.workload import Arrival, Workload


class Ending(StrEnum):
    """How a sequence left the engine."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"


class Decision(NamedTuple):
    """One plan: when it was made, what it contained, what happened on the way."""

    at_ns: int
    step: StepPlan | None
    events: tuple[SchedulerEvent, ...]


class Report(NamedTuple):
    """What happened: every plan in order, and each sequence's end with its instant."""

    decisions: tuple[Decision, ...]
    endings: dict[SequenceId, Ending]
    ended_ns: dict[SequenceId, int]


# What a run may need for each token of work: most of them once, some again after a preemption.
_PLANS_PER_TOKEN_MAX = 4


class Endless(AssertionError):
    """A workload took more steps than any order of its work could need."""


class _Outside(NamedTuple):
    """An arrival or a cancellation, in the order in which they happen."""

    at_ns: int
    cancels: bool
    arrival: Arrival


def simulate(workload: Workload, audit: bool = True) -> Report:
    """Runs a workload to its end.

    Raises Misplaced, Endless or another AssertionError when the scheduler breaks its word.
    """
    run = _Run(workload, audit)
    while run.advance():
        pass
    return run.report()


class _Run:
    def __init__(self, workload: Workload, audit: bool) -> None:
        machine = workload.machine
        self._machine = machine
        self._audit = audit
        self._pool = BlockPool(machine.block_count, machine.block_size)
        self._scheduler = TokenScheduler(machine.settings, self._pool, machine.max_context)
        self._executor = ModelledExecutor(
            machine.block_count, machine.block_size, machine.vocab_size
        )
        self._clock = VirtualClock()
        # Last first, so that the next one is popped from the end.
        self._outside = _happenings(workload)[::-1]
        self._requests = {a.request.sequence: a.request for a in workload.arrivals}
        work = sum(len(r.prompt) + r.max_tokens for r in self._requests.values())
        self._decisions_max = _PLANS_PER_TOKEN_MAX * work + len(self._outside)
        self._decisions: list[Decision] = []
        self._endings: dict[SequenceId, Ending] = {}
        self._ended_ns: dict[SequenceId, int] = {}

    def advance(self) -> bool:
        """One step, or a jump to what happens next; False when nothing ever will."""
        self._let_happen(self._clock.monotonic_ns())
        planned = self._plan()
        if planned.step is not None:
            self._carry_out(planned.step)
        elif self._outside:
            self._clock.advance_to(self._outside[-1].at_ns)
        else:
            return False
        return True

    def report(self) -> Report:
        """The log; everything must have ended and everything must be free."""
        counts = self._scheduler.counts()
        assert self._endings.keys() == self._requests.keys(), "a sequence never ended"
        assert counts[:3] == (0, 0, 0), f"something is left when all is over: {counts}"
        return Report(tuple(self._decisions), self._endings, self._ended_ns)

    def _plan(self) -> Planned:
        now_ns = self._clock.monotonic_ns()
        planned = self._scheduler.plan(now_ns)
        self._decisions.append(Decision(now_ns, planned.step, planned.events))
        for event in planned.events:
            if isinstance(event, Expired):
                self._end(event.sequence, Ending.EXPIRED)
        counts = self._scheduler.counts()
        if planned.step is None and counts.running + counts.waiting:
            raise Endless(f"no step is planned at {now_ns} ns although work is left: {counts}")
        if len(self._decisions) > self._decisions_max:
            raise Endless(f"{len(self._decisions)} plans did not finish the work: {counts}")
        self._check()
        return planned

    def _carry_out(self, step: StepPlan) -> None:
        result = self._executor.execute(step)
        done_ns = self._clock.monotonic_ns() + self._machine.timing.duration_ns(step)
        # Callers come and leave while the executor computes, too.
        self._let_happen(done_ns)
        self._clock.advance_to(done_ns)
        self._scheduler.commit(result)
        for sequence in result.failed:
            self._end(sequence, Ending.FAILED)
        for sampled in result.sampled:
            if sampled.finished:
                self._end(sampled.sequence, Ending.FINISHED)
        self._check()

    def _let_happen(self, until_ns: int) -> None:
        while self._outside and self._outside[-1].at_ns <= until_ns:
            happening = self._outside.pop()
            if happening.cancels:
                self._cancel(happening)
            else:
                self._arrive(happening.arrival)
            self._check()

    def _arrive(self, arrival: Arrival) -> None:
        request = arrival.request
        self._executor.expect(request.sequence, request.prompt, request.cache_salt, arrival.script)
        try:
            self._scheduler.submit(request)
        except Failed:
            self._end(request.sequence, Ending.REFUSED)

    def _cancel(self, happening: _Outside) -> None:
        sequence = happening.arrival.request.sequence
        known = self._scheduler.cancel(sequence)
        assert known == (sequence not in self._endings), f"cancel of {sequence} answered {known}"
        assert not self._scheduler.cancel(sequence), f"{sequence} could be cancelled twice"
        self._end(sequence, Ending.CANCELLED)

    def _end(self, sequence: SequenceId, ending: Ending) -> None:
        """The first end counts: a cancelled sequence may still finish in the step under way."""
        if sequence not in self._endings:
            self._endings[sequence] = ending
            self._ended_ns[sequence] = self._clock.monotonic_ns()

    def _check(self) -> None:
        if self._audit:
            self._scheduler.check_integrity()


def _happenings(workload: Workload) -> list[_Outside]:
    happenings: list[_Outside] = []
    for arrival in workload.arrivals:
        happenings.append(_Outside(arrival.request.arrived_ns, False, arrival))
        if arrival.cancelled_at_ns is not None:
            happenings.append(_Outside(arrival.cancelled_at_ns, True, arrival))
    return sorted(happenings, key=lambda happening: (happening.at_ns, happening.cancels))
