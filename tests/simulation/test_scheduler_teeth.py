"""The simulation finds what it is for: with one rule of the scheduler broken, it must fail.

Each break takes one line of the real code away, as a careless change would.
"""

from collections.abc import Callable

import pytest

from octant.compute import token_scheduler
from octant.compute.schedule import SequenceRequest
from octant.compute.sequence_state import SequenceState
from octant.compute.token_scheduler import TokenScheduler
from octant.context.kv import block_table
from octant.context.kv.block_pool import BlockPool
from octant.context.kv.block_table import BlockTable, Fit
from octant.simulation.run import simulate
from octant.simulation.workload import random_workload
from tests.support.scheduler_promises import check_promises

WORKLOADS = 300
Break = Callable[[pytest.MonkeyPatch], None]


def salt_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(block_table, "root_digest", lambda _salt: bytes(16))


def digest_forgets_the_past(patch: pytest.MonkeyPatch) -> None:
    true_digest = block_table.chain_digest
    patch.setattr(
        block_table, "chain_digest", lambda _parent, tokens: true_digest(bytes(16), tokens)
    )


def partial_blocks_are_published(patch: pytest.MonkeyPatch) -> None:
    publish = BlockTable.publish
    patch.setattr(
        BlockTable,
        "publish",
        lambda self, tokens, computed: publish(self, tokens, min(len(tokens), computed + 1)),
    )


def blocks_are_published_before_they_are_computed(patch: pytest.MonkeyPatch) -> None:
    start = SequenceState.start

    def start_and_publish(self: SequenceState, fit: Fit) -> None:
        start(self, fit)
        self.table.publish(self.tokens, len(self.tokens))

    patch.setattr(SequenceState, "start", start_and_publish)


def failed_content_is_published(patch: pytest.MonkeyPatch) -> None:
    def discard(self: TokenScheduler, sequence: int) -> None:
        state = self._live.get(sequence)
        if state is not None:
            state.table.publish(state.tokens, len(state.tokens) - 1)
            self._free(state)

    patch.setattr(TokenScheduler, "_discard", discard)


def shared_blocks_are_freed_with_their_first_holder(patch: pytest.MonkeyPatch) -> None:
    release = BlockPool.release

    def release_all(self: BlockPool, block: int) -> bool:
        while self.references(block) > 1:
            self._references[block] -= 1
        return release(self, block)

    patch.setattr(BlockPool, "release", release_all)


def evicted_content_is_still_found(patch: pytest.MonkeyPatch) -> None:
    def take(self: BlockPool, tenant: str) -> int:
        cache = self._cache
        block = self._empty.pop() if self._empty else next(iter(cache._idle))
        cache._idle.pop(block, None)
        self._hold(block, tenant)
        return block

    patch.setattr(BlockPool, "take", take)


def the_whole_prompt_may_be_shared(patch: pytest.MonkeyPatch) -> None:
    fit = BlockTable.fit
    patch.setattr(BlockTable, "fit", lambda self, tokens: fit(self, [*tokens, 0]))


def finished_sequences_keep_their_blocks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BlockTable, "release", lambda _self: 0)


def cancelled_sequences_keep_their_blocks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TokenScheduler, "cancel", lambda self, name: bool(self._live.pop(name, None)))


def deadlines_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TokenScheduler, "_expire", lambda _self, _now_ns, _events: None)


def deadlines_come_early(patch: pytest.MonkeyPatch) -> None:
    expire = TokenScheduler._expire
    patch.setattr(
        TokenScheduler, "_expire", lambda self, now_ns, events: expire(self, now_ns + 1, events)
    )


def profiles_are_ignored(patch: pytest.MonkeyPatch) -> None:
    _rank_as(patch, lambda request: request.deadline_ns)


def ageing_is_ignored(patch: pytest.MonkeyPatch) -> None:
    order = ("critical", "interactive", "long_context", "batch")
    _rank_as(patch, lambda request: order.index(request.profile) << 80 | request.deadline_ns)


def the_last_come_goes_first(patch: pytest.MonkeyPatch) -> None:
    _rank_as(patch, lambda request: -request.arrived_ns)


def small_ones_slip_past_one_that_lacks_space(patch: pytest.MonkeyPatch) -> None:
    displaced_by = TokenScheduler._displaced_by
    admit = TokenScheduler._admit

    def admit_whoever_fits(self: TokenScheduler, events: list[object]) -> None:
        waiting = self._waiting
        for state in tuple(waiting):
            fit = state.table.fit(state.tokens)
            if displaced_by(self, state, fit) is not None:
                others = [other for other in waiting if other is not state]
                self._waiting = [state]
                admit(self, events)
                left = self._waiting
                self._waiting = sorted(others + left, key=lambda s: s.rank)
                waiting = self._waiting

    patch.setattr(TokenScheduler, "_admit", admit_whoever_fits)


def the_first_gives_way(patch: pytest.MonkeyPatch) -> None:
    """Preempting from the front instead of the back: two that do not fit take turns for ever."""

    def grow(self: TokenScheduler, events: list[object]) -> None:
        for state in tuple(self._running):
            if not state.runs or state.table.holds(len(state.tokens)):
                continue
            while not self._pool.available and self._running[0] is not state:
                self._preempt(self._running[0], events)
            if self._pool.available:
                state.table.grow()

    patch.setattr(TokenScheduler, "_grow", grow)


def nobody_gives_way(patch: pytest.MonkeyPatch) -> None:
    def grow(self: TokenScheduler, _events: list[object]) -> None:
        for state in self._running:
            if not state.table.holds(len(state.tokens)) and self._pool.available:
                state.table.grow()

    patch.setattr(TokenScheduler, "_grow", grow)


def followers_never_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        TokenScheduler,
        "_waits_for_another",
        lambda _self, state, _filling: state.request.leader is not None,
    )


def chunks_have_no_cap(patch: pytest.MonkeyPatch) -> None:
    chunks = TokenScheduler._prefill_chunks
    patch.setattr(
        TokenScheduler,
        "_prefill_chunks",
        lambda self, filling, decoding: chunks(self, filling, decoding=0),
    )


def chance_decides(patch: pytest.MonkeyPatch) -> None:
    calls = iter(range(10**9))
    _rank_as(patch, lambda request: request.arrived_ns + next(calls) % 7)


def _rank_as(patch: pytest.MonkeyPatch, turn: Callable[[SequenceRequest], int]) -> None:
    rank_of = token_scheduler.rank_of
    patch.setattr(
        token_scheduler,
        "rank_of",
        lambda request, ageing_ns: rank_of(request, ageing_ns)._replace(turn_ns=turn(request)),
    )


BREAKS: tuple[Break, ...] = (
    salt_is_ignored,
    digest_forgets_the_past,
    partial_blocks_are_published,
    blocks_are_published_before_they_are_computed,
    failed_content_is_published,
    shared_blocks_are_freed_with_their_first_holder,
    evicted_content_is_still_found,
    the_whole_prompt_may_be_shared,
    finished_sequences_keep_their_blocks,
    cancelled_sequences_keep_their_blocks,
    deadlines_are_ignored,
    deadlines_come_early,
    profiles_are_ignored,
    ageing_is_ignored,
    the_last_come_goes_first,
    small_ones_slip_past_one_that_lacks_space,
    the_first_gives_way,
    nobody_gives_way,
    followers_never_start,
    chunks_have_no_cap,
    chance_decides,
)


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda b: b.__name__)
def test_a_broken_rule_is_found(break_it: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it(monkeypatch)
    for seed in range(WORKLOADS):
        try:
            workload = random_workload(seed)
            report = simulate(workload)
            check_promises(workload, report)
            assert simulate(workload, audit=False) == report
        except (AssertionError, ValueError, KeyError):
            return
    pytest.fail(f"{WORKLOADS} workloads did not notice")


@pytest.mark.parametrize(
    "break_it",
    [
        salt_is_ignored,
        digest_forgets_the_past,
        partial_blocks_are_published,
        blocks_are_published_before_they_are_computed,
        failed_content_is_published,
        the_whole_prompt_may_be_shared,
    ],
    ids=lambda b: b.__name__,
)
def test_blocks_are_watched_without_the_books(
    break_it: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong content is found where it would be computed with, not only by `check_integrity`."""
    break_it(monkeypatch)
    for seed in range(WORKLOADS):
        try:
            simulate(random_workload(seed), audit=False)
        except AssertionError:
            return
    pytest.fail(f"{WORKLOADS} workloads did not notice")
