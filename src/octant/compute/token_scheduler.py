"""Token scheduler: which tokens of which sequences the next step computes.

    plan -> (the executor computes, the sampler chooses) -> commit

Law: it decides and keeps books, nothing else; time is handed in, equal calls give equal decisions.
A sequence waits without blocks or runs with all blocks its known tokens need, so only decoding asks
for more. Running sequences decode first, one token each; prompts share what is left of the step.
When blocks run out, the last in rank gives its own back and is recomputed later, where it can be
from the prefix cache.

Why nothing starves and nothing livelocks: ranks never change (`compute.ranking`). Blocks are only
ever taken from sequences further back, so the first of the running ones is never preempted, always
gets its block (alone it fits the pool, `submit` sees to that) and always a token of the step, so
it ends. Nobody is admitted past a waiting sequence that lacks space, so what ends makes room for
the first of the waiting ones. By induction over a finite number of predecessors, everyone ends.
"""

from bisect import insort
from operator import attrgetter

from octant.compute.ranking import may_displace, rank_of
from octant.compute.refusal import raise_if_full, raise_if_it_cannot_run
from octant.compute.schedule import (
    Expired,
    Planned,
    Preempted,
    Scheduled,
    SchedulerCounts,
    SchedulerEvent,
    SchedulerSettings,
    SequenceRequest,
)
from octant.compute.sequence_state import SequenceState
from octant.context.kv.block_pool import BlockPool
from octant.context.kv.block_table import Fit
from octant.core.ids import SequenceId
from octant.core.limits import Profile
from octant.core.step import SampledToken, StepPlan, StepResult

__all__ = [
    "Expired",
    "Planned",
    "Preempted",
    "Scheduled",
    "SchedulerCounts",
    "SchedulerEvent",
    "SchedulerSettings",
    "SequenceRequest",
    "TokenScheduler",
]

_BY_RANK = attrgetter("rank")


class TokenScheduler:
    """Owns every sequence between `submit` and its end, and the block pool."""

    def __init__(self, settings: SchedulerSettings, pool: BlockPool, max_context: int) -> None:
        self._settings = settings
        self._pool = pool
        self._max_context = max_context
        self._live: dict[SequenceId, SequenceState] = {}
        self._running: list[SequenceState] = []  # by rank, first first
        self._waiting: list[SequenceState] = []  # by rank, first first
        # Kept as the line changes, because every step reports them.
        self._waiting_count = dict.fromkeys(Profile, 0)
        self._waiting_tokens = dict.fromkeys(Profile, 0)
        self._step: StepPlan | None = None
        self._steps_planned = 0

    def submit(self, request: SequenceRequest) -> None:
        """Queues a sequence.

        Raises Failed: INVALID_VALUE for nothing to compute, CONTEXT_LENGTH_EXCEEDED beyond the
        model's context, CAPACITY_EXHAUSTED for what the whole pool could not hold, OVERLOADED when
        the profile's line is full. Raises ValueError for a sequence id that is in use.
        """
        if request.sequence in self._live:
            raise ValueError(f"sequence {request.sequence} is already here")
        raise_if_it_cannot_run(request, self._pool, self._max_context)
        profile = request.profile
        raise_if_full(profile, self._waiting_count[profile], self._settings.max_waiting)
        if request.leader not in self._live:
            request = request._replace(leader=None)
        state = SequenceState(request, rank_of(request, self._settings.ageing_ns), self._pool)
        self._live[request.sequence] = state
        self._line_up(state)

    def cancel(self, sequence: SequenceId) -> bool:
        """Frees a sequence; False when it is unknown. Allowed at any time, also during a step.

        A step under way still computes into its blocks, but no plan can give them to anyone before
        that step is committed.
        """
        state = self._live.get(sequence)
        if state is not None:
            self._free(state)
        return state is not None

    def plan(self, now_ns: int) -> Planned:
        """The next step; None when nothing is left to compute. Commit a step before the next."""
        if self._step is not None:
            raise ValueError(f"step {self._step.number} was planned but never committed")
        events: list[SchedulerEvent] = []
        self._expire(now_ns, events)
        self._grow(events)
        self._admit(events)
        self._step = self._compose()
        return Planned(self._step, tuple(events))

    def commit(self, result: StepResult) -> None:
        """Takes in what the planned step produced; frees what finished, failed or was cancelled.

        Raises ValueError when the result is not one of the planned step.
        """
        step, self._step = self._step, None
        if step is None or step.number != result.number:
            raise ValueError(f"step {result.number} was never planned or is already committed")
        for sequence in result.failed:
            self._discard(sequence)
        for piece in step.slices:
            if state := self._running_still(piece.sequence):
                state.advance(len(piece.tokens))
        for sampled in result.sampled:
            self._extend(sampled)
        for piece in step.slices:
            state = self._running_still(piece.sequence)
            if state is not None and not state.pending:
                raise ValueError(f"step {step.number} has no token for sequence {piece.sequence}")

    def counts(self) -> SchedulerCounts:
        """The present load."""
        return SchedulerCounts(
            running=len(self._running),
            waiting=len(self._waiting),
            blocks_used=self._pool.live,
            blocks_total=self._pool.block_count,
            waiting_tokens=self._waiting_tokens.copy(),
        )

    # Planning, in the order in which `plan` calls it.

    def _expire(self, now_ns: int, events: list[SchedulerEvent]) -> None:
        late = [s for s in self._live.values() if s.request.deadline_ns <= now_ns]
        for state in late:
            self._free(state)
            events.append(Expired(state.request.sequence))

    def _grow(self, events: list[SchedulerEvent]) -> None:
        """A block for every decoding sequence at the end of its last one, first in rank first.

        A sequence for which only those ahead of it could make room keeps its blocks and sits out.
        """
        for state in tuple(self._running):
            if not state.runs or state.table.holds(len(state.tokens)):
                continue
            while not self._pool.available and self._running[-1] is not state:
                self._preempt(self._running[-1], events)
            if self._pool.available:
                state.table.grow()

    def _admit(self, events: list[SchedulerEvent]) -> None:
        """Starts waiting sequences in rank order while this step has tokens left for them.

        The first one that lacks space ends it: whoever is behind must not take what it waits for.
        """
        filling = self._long_ones_filling()
        index = 0
        while index < len(self._waiting):
            state = self._waiting[index]
            if self._waits_for_another(state, filling):
                index += 1
                continue
            fit = state.table.fit(state.tokens)
            victims = self._displaced_by(state, fit)
            if victims is None or self._tokens_left_for(state) < 1:
                return
            for victim in victims:
                self._preempt(victim, events)
            self._start(state, fit, events)
            filling = self._long_ones_filling()

    def _compose(self) -> StepPlan | None:
        """One token for each decoding sequence, the rest of the step in chunks of prompts."""
        ready = [s for s in self._running if s.table.holds(len(s.tokens))]
        chunks = [(s, 1) for s in ready if s.pending == 1]
        chunks += self._prefill_chunks([s for s in ready if s.pending > 1], decoding=len(chunks))
        if not chunks:
            return None
        size = self._pool.block_size
        self._steps_planned += 1
        return StepPlan(self._steps_planned, tuple(state.slice(n, size) for state, n in chunks))

    # What planning needs to know.

    def _tokens_left_for(self, newcomer: SequenceState) -> int:
        """Tokens of this step that neither decoding nor prompts ahead of the newcomer claim."""
        left = self._settings.max_batch_tokens
        for state in self._running:
            if state.pending == 1 or state.rank < newcomer.rank:
                left -= min(state.pending, self._settings.max_prefill_chunk)
        return left

    def _long_ones_filling(self) -> int:
        return sum(state.is_long and state.pending > 1 for state in self._running)

    def _waits_for_another(self, state: SequenceState, long_ones_filling: int) -> bool:
        """Whether it is not this sequence's turn, for a reason that holds up nobody behind it.

        It waits for its leader's prefill, or for the end of other long ones; what of a long prompt
        is cached is looked up only when it starts, or a long queue of them would slow each step.
        """
        leader = state.request.leader
        if leader is not None and leader in self._live and not self._live[leader].generated:
            return True
        is_long = len(state.tokens) > self._settings.long_prompt_tokens
        return is_long and long_ones_filling >= self._settings.max_long_prefills

    def _displaced_by(self, newcomer: SequenceState, fit: Fit) -> list[SequenceState] | None:
        """Whom a waiting sequence must displace to start, mostly nobody; None when it may not.

        One block for each running sequence stays free, or the newcomer would be preempted as soon
        as they grow.
        """
        victims: list[SequenceState] = []
        kept = frozenset(fit.shared)
        running, available = len(self._running), self._pool.available
        while running >= self._settings.max_sequences or fit.needed + running > available:
            if not running or not may_displace(newcomer.rank, self._running[running - 1].rank):
                return None
            running -= 1
            victims.append(self._running[running])
            available += self._running[running].table.exclusive_count(kept)
        return victims

    def _prefill_chunks(
        self, filling: list[SequenceState], decoding: int
    ) -> list[tuple[SequenceState, int]]:
        """Shares in rank order, each capped; uncapped for the first when nobody else is held up."""
        left = self._settings.max_batch_tokens - decoding
        shares: list[int] = []
        for state in filling:
            shares.append(min(state.pending, self._settings.max_prefill_chunk, left))
            left -= shares[-1]
        if not decoding:
            for index, state in enumerate(filling):
                extra = min(state.pending - shares[index], left)
                shares[index] += extra
                left -= extra
        return [(state, share) for state, share in zip(filling, shares, strict=True) if share]

    # Changes of one sequence.

    def _line_up(self, state: SequenceState) -> None:
        insort(self._waiting, state, key=_BY_RANK)
        self._waiting_count[state.request.profile] += 1
        self._waiting_tokens[state.request.profile] += state.expected_tokens

    def _leave_line(self, state: SequenceState) -> None:
        self._waiting.remove(state)
        self._waiting_count[state.request.profile] -= 1
        self._waiting_tokens[state.request.profile] -= state.expected_tokens

    def _start(self, state: SequenceState, fit: Fit, events: list[SchedulerEvent]) -> None:
        self._leave_line(state)
        state.start(fit)
        state.is_long = state.pending > self._settings.long_prompt_tokens
        insort(self._running, state, key=_BY_RANK)
        if not state.was_scheduled:
            state.was_scheduled = True
            events.append(Scheduled(state.request.sequence, cached_tokens=state.computed))

    def _preempt(self, state: SequenceState, events: list[SchedulerEvent]) -> None:
        self._running.remove(state)
        events.append(Preempted(state.request.sequence, freed_blocks=state.stop()))
        self._line_up(state)

    def _extend(self, sampled: SampledToken) -> None:
        state = self._running_still(sampled.sequence)
        if state is None:
            return
        if state.pending:
            raise ValueError(f"sequence {sampled.sequence} was not asked for a token")
        state.tokens.append(sampled.token)
        if sampled.finished:
            self._free(state)
        elif state.generated >= state.request.max_tokens:
            raise ValueError(f"sequence {sampled.sequence} goes on beyond its max_tokens")

    def _discard(self, sequence: SequenceId) -> None:
        """A sequence that failed; a retry must not find what may have made it fail."""
        if state := self._running_still(sequence):
            state.table.withdraw()
            self._free(state)

    def _running_still(self, sequence: SequenceId) -> SequenceState | None:
        """None when it was cancelled since the plan, even if its id has been submitted again."""
        state = self._live.get(sequence)
        return state if state is not None and state.runs else None

    def _free(self, state: SequenceState) -> None:
        del self._live[state.request.sequence]
        if state.runs:
            self._running.remove(state)
        else:
            self._leave_line(state)
        state.stop()

    def check_integrity(self) -> None:
        """Raises AssertionError with the fact that is wrong. Holds between any two calls."""
        listed = [*self._running, *self._waiting]
        self._pool.check_integrity([state.table.blocks for state in listed])
        assert len(listed) == len(self._live), "a live sequence neither runs nor waits, or twice"
        for states in (self._running, self._waiting):
            ranks = [state.rank for state in states]
            assert ranks == sorted(ranks), f"a line is out of rank order: {ranks}"
        for state in listed:
            name = state.request.sequence
            assert self._live.get(name) is state, f"sequence {name} is listed but not live"
            assert state.pending > 0, f"sequence {name} has nothing left to compute"
            assert state.runs or not state.computed, f"sequence {name} waits with computed tokens"
            state.table.check_integrity(state.computed)
        assert all(state.runs for state in self._running), "a sequence runs without blocks"
        assert not any(state.runs for state in self._waiting), "a sequence waits with blocks"
        for profile in Profile:
            line = [s.expected_tokens for s in self._waiting if s.request.profile is profile]
            kept = (self._waiting_count[profile], self._waiting_tokens[profile])
            assert kept == (len(line), sum(line)), f"{profile}: {kept} kept, {line} wait"
