"""The token scheduler, one decision at a time."""

from typing import Any

import pytest

from octant.compute.token_scheduler import (
    Expired,
    Planned,
    Preempted,
    Scheduled,
    SchedulerSettings,
    SequenceRequest,
    TokenScheduler,
)
from octant.context.kv.block_pool import BlockPool
from octant.core.failure import Failed, FailureKind
from octant.core.ids import RequestId, SequenceId, TenantId
from octant.core.limits import Profile
from octant.core.step import SampledToken, StepPlan, StepResult

FAR_NS = 1 << 60
BLOCK = 4


def request(sequence: int, prompt: int | tuple[int, ...], **changes: Any) -> SequenceRequest:
    """An interactive sequence; a number of tokens gives a prompt that no other one shares."""
    tokens = prompt if isinstance(prompt, tuple) else (sequence,) * prompt
    values: dict[str, Any] = {
        "request_id": RequestId(f"req_{sequence}"),
        "choice": 0,
        "tenant": TenantId("ann"),
        "profile": Profile.INTERACTIVE,
        "cache_salt": "ann/",
        "max_tokens": 8,
        "arrived_ns": sequence,
        "deadline_ns": FAR_NS,
        "leader": None,
    }
    return SequenceRequest(sequence=SequenceId(sequence), prompt=tokens, **(values | changes))


class Engine:
    """A scheduler with its pool; every sampled token is the sequence's number."""

    def __init__(self, blocks: int = 64, max_context: int = 1_000, **settings: int) -> None:
        self.pool = BlockPool(blocks, BLOCK)
        bounds = {"max_batch_tokens": 32, "max_sequences": 4, "max_prefill_chunk": 8}
        self.scheduler = TokenScheduler(
            SchedulerSettings(**(bounds | settings)), self.pool, max_context
        )
        self.now_ns = 0

    def submit(self, *requests: SequenceRequest) -> None:
        for one in requests:
            self.scheduler.submit(one)

    def plan(self) -> Planned:
        planned = self.scheduler.plan(self.now_ns)
        self.scheduler.check_integrity()
        return planned

    def commit(self, step: StepPlan, finished: tuple[int, ...] = (), failed: tuple[int, ...] = ()):
        sampled = tuple(
            SampledToken(piece.sequence, piece.sequence, piece.sequence in finished)
            for piece in step.slices
            if piece.samples and piece.sequence not in failed
        )
        names = tuple(SequenceId(name) for name in failed)
        self.scheduler.commit(StepResult(step.number, sampled, names, 0))
        self.scheduler.check_integrity()

    def step(self, *finished: int) -> dict[int, int]:
        """Plans and commits; the number of tokens computed for each sequence."""
        step = self.plan().step
        if step is None:
            return {}
        self.commit(step, finished)
        return {int(piece.sequence): len(piece.tokens) for piece in step.slices}


def failure_of(engine: Engine, refused: SequenceRequest) -> FailureKind:
    with pytest.raises(Failed) as caught:
        engine.submit(refused)
    engine.scheduler.check_integrity()
    return caught.value.failure.kind


class TestSubmission:
    def test_what_exceeds_the_context_is_refused(self) -> None:
        engine = Engine(max_context=20)
        assert failure_of(engine, request(1, 13)) is FailureKind.CONTEXT_LENGTH_EXCEEDED
        engine.submit(request(2, 12))

    def test_what_the_whole_pool_cannot_hold_is_refused(self) -> None:
        engine = Engine(blocks=4)
        assert failure_of(engine, request(1, 10)) is FailureKind.CAPACITY_EXHAUSTED
        # 9 + 8 tokens, of which the last is never computed, fill the four blocks exactly.
        engine.submit(request(2, 9))

    def test_a_full_queue_refuses_and_says_when_to_come_back(self) -> None:
        engine = Engine(max_waiting=1)
        engine.submit(request(1, 4))
        with pytest.raises(Failed) as caught:
            engine.submit(request(2, 4))
        assert caught.value.failure.kind is FailureKind.OVERLOADED
        assert caught.value.failure.retry_after_ns is not None
        engine.step()
        engine.submit(request(2, 4))

    def test_a_full_queue_shuts_out_no_other_profile(self) -> None:
        engine = Engine(max_waiting=2)
        engine.submit(*(request(n, 4, profile=Profile.BATCH) for n in (1, 2)))
        assert failure_of(engine, request(3, 4, profile=Profile.BATCH)) is FailureKind.OVERLOADED
        engine.submit(*(request(n, 4, profile=Profile.CRITICAL) for n in (4, 5)))
        assert list(engine.step())[0] == 4

    @pytest.mark.parametrize("changes", [{"prompt": 0}, {"prompt": 3, "max_tokens": 0}])
    def test_nothing_to_compute_is_refused(self, changes: dict[str, int]) -> None:
        assert failure_of(Engine(), request(1, **changes)) is FailureKind.INVALID_VALUE

    def test_a_sequence_in_use_is_refused(self) -> None:
        engine = Engine()
        engine.submit(request(1, 4))
        with pytest.raises(ValueError, match="already here"):
            engine.submit(request(1, 4))


class TestSettings:
    @pytest.mark.parametrize("name", [f for f in SchedulerSettings.__struct_fields__[1:]])
    def test_every_bound_is_positive(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            SchedulerSettings(**{name: 0})

    def test_a_full_house_of_decoding_leaves_tokens_for_a_prompt(self) -> None:
        with pytest.raises(ValueError, match="must exceed max_sequences"):
            SchedulerSettings(max_batch_tokens=8, max_sequences=8)


class TestSteps:
    def test_nothing_to_do_is_no_step(self) -> None:
        assert Engine().plan() == Planned(None, ())

    def test_a_prompt_then_one_token_after_the_other(self) -> None:
        engine = Engine()
        engine.submit(request(1, (5, 6, 7)))
        first = engine.plan()
        assert first.events == (Scheduled(SequenceId(1), cached_tokens=0),)
        assert first.step is not None
        (piece,) = first.step.slices
        assert (piece.tokens, piece.past, piece.samples) == ((5, 6, 7), 0, True)
        engine.commit(first.step)
        second = engine.plan()
        assert second.events == ()
        assert second.step is not None
        (piece,) = second.step.slices
        assert (piece.tokens, piece.past, piece.samples) == ((1,), 3, True)
        assert len(piece.blocks) == 1
        engine.commit(second.step)
        third = engine.plan().step
        assert third is not None
        assert len(third.slices[0].blocks) == 2, "the fifth position needs another block"
        assert third.number == second.step.number + 1

    def test_only_the_end_of_a_prompt_is_sampled(self) -> None:
        engine = Engine(max_batch_tokens=8)
        engine.submit(request(1, 20))
        steps = [engine.plan().step]
        for _ in range(2):
            engine.commit(steps[-1])
            steps.append(engine.plan().step)
        pieces = [step.slices[0] for step in steps]
        assert [p.samples for p in pieces] == [False, False, True]
        assert [len(p.blocks) for p in pieces] == [2, 4, 5]

    def test_running_streams_come_first_and_bound_the_chunk(self) -> None:
        engine = Engine(max_prefill_chunk=8)
        engine.submit(request(1, 4))
        assert engine.step() == {1: 4}
        engine.submit(request(2, 40))
        assert engine.step() == {1: 1, 2: 8}
        assert engine.step(1) == {1: 1, 2: 8}
        assert engine.step() == {2: 24}, "with nobody to hold up the whole step is the prompt's"

    def test_prompts_share_a_step(self) -> None:
        engine = Engine(max_batch_tokens=20, max_prefill_chunk=8)
        engine.submit(request(1, 30), request(2, 5), request(3, 8))
        assert engine.step() == {1: 8, 2: 5, 3: 7}

    def test_a_short_prompt_does_not_queue_behind_long_ones(self) -> None:
        engine = Engine(
            max_batch_tokens=20, max_prefill_chunk=8, long_prompt_tokens=10, max_long_prefills=1
        )
        engine.submit(request(1, 30), request(2, 30), request(3, 8))
        assert engine.step() == {1: 12, 3: 8}
        assert engine.step(3) == {1: 8, 3: 1}
        assert engine.step() == {1: 10}
        assert engine.step() == {1: 1, 2: 8}

    def test_max_sequences_run_at_once(self) -> None:
        engine = Engine(max_sequences=2)
        engine.submit(*(request(n, 4) for n in (1, 2, 3)))
        assert engine.step() == {1: 4, 2: 4}
        assert engine.step(1) == {1: 1, 2: 1}
        assert engine.step() == {2: 1, 3: 4}

    def test_counts(self) -> None:
        engine = Engine(max_sequences=1)
        engine.submit(request(1, 5), request(2, 7, profile=Profile.BATCH))
        nothing = dict.fromkeys(Profile, 0)
        both = nothing | {Profile.INTERACTIVE: 5, Profile.BATCH: 7}
        assert engine.scheduler.counts() == (0, 2, 0, 64, both)
        engine.step()
        assert engine.scheduler.counts() == (1, 1, 2, 64, nothing | {Profile.BATCH: 7})
        assert engine.pool.charged(TenantId("ann")) == 2

    def test_siblings_in_line_count_their_prompt_once(self) -> None:
        engine = Engine()
        engine.submit(request(1, 9), *(request(n, 9, leader=1) for n in (2, 3)))
        assert engine.scheduler.counts().waiting_tokens[Profile.INTERACTIVE] == 9 + 1 + 1
        engine.step()
        assert engine.scheduler.counts().waiting_tokens[Profile.INTERACTIVE] == 1 + 1

    def test_plan_and_commit_alternate(self) -> None:
        engine = Engine()
        engine.submit(request(1, 4))
        step = engine.plan().step
        with pytest.raises(ValueError, match="never committed"):
            engine.scheduler.plan(0)
        with pytest.raises(ValueError, match="never planned"):
            engine.scheduler.commit(StepResult(step.number + 1, (), (), 0))

    def test_a_result_that_does_not_fit_its_step_is_refused(self) -> None:
        token = SampledToken(SequenceId(1), 7, finished=False)
        for sampled, complaint in (((), "no token"), ((token, token), "not asked")):
            engine = Engine()
            engine.submit(request(1, 4))
            step = engine.plan().step
            with pytest.raises(ValueError, match=complaint):
                engine.scheduler.commit(StepResult(step.number, sampled, (), 0))

    def test_a_sequence_that_is_not_ended_in_time_is_refused(self) -> None:
        engine = Engine()
        engine.submit(request(1, 4, max_tokens=1))
        with pytest.raises(ValueError, match="max_tokens"):
            engine.step()


class TestOrder:
    def test_profiles_go_before_arrival(self) -> None:
        engine = Engine(max_sequences=1)
        order = (Profile.BATCH, Profile.LONG_CONTEXT, Profile.INTERACTIVE, Profile.CRITICAL)
        engine.submit(*(request(n, 4, profile=profile) for n, profile in enumerate(order, 1)))
        assert [engine.step(n) for n in (4, 3, 2, 1)] == [{4: 4}, {3: 4}, {2: 4}, {1: 4}]

    def test_the_earliest_deadline_goes_first_within_a_profile(self) -> None:
        engine = Engine(max_sequences=1)
        engine.submit(request(1, 4, deadline_ns=900), request(2, 4, deadline_ns=800))
        assert engine.step(2) == {2: 4}

    def test_who_has_waited_longer_than_ageing_is_not_passed_any_more(self) -> None:
        engine = Engine(max_sequences=1, ageing_ns=100)
        engine.submit(request(1, 4, profile=Profile.BATCH, arrived_ns=0))
        engine.submit(request(2, 4, profile=Profile.CRITICAL, arrived_ns=299))
        engine.submit(request(3, 4, profile=Profile.CRITICAL, arrived_ns=301))
        assert [engine.step(n) for n in (2, 1, 3)] == [{2: 4}, {1: 4}, {3: 4}]

    def test_nobody_slips_past_one_that_lacks_space(self) -> None:
        engine = Engine(blocks=8)
        engine.submit(request(1, 16))
        engine.step()
        engine.submit(request(2, 24), request(3, 4))
        assert engine.step() == {1: 1}
        assert engine.step(1) == {1: 1}
        assert engine.step() == {2: 24, 3: 4}

    def test_a_newcomer_of_a_higher_profile_takes_a_place(self) -> None:
        engine = Engine(max_sequences=2)
        engine.submit(request(1, 6, profile=Profile.BATCH), request(2, 4, profile=Profile.BATCH))
        engine.step()
        engine.submit(request(3, 4, profile=Profile.CRITICAL))
        planned = engine.plan()
        assert planned.events == (
            Preempted(SequenceId(2), freed_blocks=2),
            Scheduled(SequenceId(3), cached_tokens=0),
        )
        engine.commit(planned.step, finished=(3,))
        assert engine.step() == {1: 1, 2: 1}, "its full block was still cached"

    def test_a_newcomer_displaces_only_as_many_as_it_needs(self) -> None:
        engine = Engine(blocks=14)
        engine.submit(*(request(n, 12, profile=Profile.BATCH) for n in (1, 2, 3)))
        engine.step()
        engine.submit(request(4, 12, profile=Profile.INTERACTIVE))
        planned = engine.plan()
        preempted = [e.sequence for e in planned.events if isinstance(e, Preempted)]
        assert preempted == [3]

    def test_nobody_is_displaced_in_vain(self) -> None:
        engine = Engine(blocks=8)
        engine.submit(request(1, 16), request(2, 8, profile=Profile.BATCH, max_tokens=2))
        engine.step()
        engine.submit(request(3, 20))
        assert engine.plan().events == ()

    def test_equals_keep_their_places(self) -> None:
        engine = Engine(max_sequences=1)
        engine.submit(request(1, 4))
        engine.step()
        engine.submit(request(2, 4, deadline_ns=10))
        assert engine.step() == {1: 1}


class TestPrefixes:
    TEXT = tuple(range(50, 61))

    def test_a_finished_prompt_is_found_again(self) -> None:
        engine = Engine()
        engine.submit(request(1, self.TEXT))
        engine.step(1)
        engine.submit(request(2, self.TEXT))
        planned = engine.plan()
        assert planned.events == (Scheduled(SequenceId(2), cached_tokens=8),)
        assert planned.step.slices[0].tokens == self.TEXT[8:]

    def test_an_answer_is_found_by_the_next_turn(self) -> None:
        engine = Engine()
        engine.submit(request(1, self.TEXT))
        for _ in range(3):
            engine.step()
        engine.step(1)
        engine.submit(request(2, (*self.TEXT, 1, 1, 1, 1, 9)))
        assert engine.plan().events == (Scheduled(SequenceId(2), cached_tokens=12),)

    def test_another_tenant_finds_nothing(self) -> None:
        engine = Engine()
        engine.submit(request(1, self.TEXT))
        engine.step(1)
        engine.submit(request(2, self.TEXT, tenant=TenantId("bob"), cache_salt="bob/"))
        assert engine.plan().events == (Scheduled(SequenceId(2), cached_tokens=0),)

    def test_siblings_wait_for_their_leader_and_share_its_prompt(self) -> None:
        engine = Engine(max_batch_tokens=16)
        engine.submit(request(1, self.TEXT), request(2, self.TEXT, leader=SequenceId(1)))
        assert engine.step() == {1: 11}
        planned = engine.plan()
        assert planned.events == (Scheduled(SequenceId(2), cached_tokens=8),)
        first, second = planned.step.slices
        assert first.blocks[:2] == second.blocks[:2]
        assert first.blocks[2] != second.blocks[2]

    @pytest.mark.parametrize("leaves", ["cancelled", "failed", "expired"])
    def test_a_leader_that_leaves_is_not_waited_for(self, leaves: str) -> None:
        engine = Engine(max_batch_tokens=8)
        engine.submit(
            request(1, self.TEXT, deadline_ns=5), request(2, self.TEXT, leader=SequenceId(1))
        )
        step = engine.plan().step
        engine.commit(step, failed=(1,) if leaves == "failed" else ())
        if leaves == "cancelled":
            engine.scheduler.cancel(SequenceId(1))
        engine.now_ns = 5 if leaves == "expired" else 0
        assert 2 in engine.step()

    def test_an_unknown_leader_is_not_waited_for(self) -> None:
        engine = Engine()
        engine.submit(request(2, 4, leader=SequenceId(1)), request(1, 4, leader=SequenceId(2)))
        assert engine.step() == {2: 4}
        assert engine.step() == {2: 1, 1: 4}

    def test_nothing_of_a_failed_sequence_is_found_again(self) -> None:
        engine = Engine(max_batch_tokens=8)
        engine.submit(request(1, self.TEXT))
        engine.step()
        engine.commit(engine.plan().step, failed=(1,))
        assert engine.pool.live == 0
        engine.submit(request(2, self.TEXT))
        assert engine.plan().events == (Scheduled(SequenceId(2), cached_tokens=0),)


class TestPreemption:
    def test_the_last_in_rank_gives_way_and_is_recomputed(self) -> None:
        engine = Engine(blocks=6)
        engine.submit(request(1, 8, max_tokens=16), request(2, 7, max_tokens=16))
        assert engine.step() == {1: 8, 2: 7}
        events = []
        while not events:
            planned = engine.plan()
            events = [e for e in planned.events if isinstance(e, Preempted)]
            engine.commit(planned.step)
        assert [e.sequence for e in events] == [2]
        assert [int(p.sequence) for p in planned.step.slices] == [1]

    def test_two_that_do_not_fit_together_both_end(self) -> None:
        engine = Engine(blocks=6)
        engine.submit(request(1, 8, max_tokens=16), request(2, 8, max_tokens=16))
        left = {1: 16, 2: 16}
        for _ in range(60):
            step = engine.plan().step
            if step is None:
                break
            for piece in step.slices:
                left[piece.sequence] -= piece.samples
            engine.commit(step, finished=tuple(n for n, tokens in left.items() if not tokens))
        assert left == {1: 0, 2: 0}
        assert engine.scheduler.counts().running == engine.scheduler.counts().waiting == 0

    def test_nobody_gives_way_to_one_behind_it(self) -> None:
        engine = Engine(blocks=5)
        engine.submit(request(1, 6, max_tokens=9), request(2, 4, max_tokens=16))
        engine.step()
        while True:
            planned = engine.plan()
            assert not any(e == 1 for e in planned.events)
            sequences = {int(piece.sequence) for piece in planned.step.slices}
            assert 1 in sequences
            if sequences == {1}:
                break
            engine.commit(planned.step)

    def test_a_preempted_sequence_is_not_scheduled_twice(self) -> None:
        engine = Engine(max_sequences=1)
        engine.submit(request(1, 4, profile=Profile.BATCH))
        engine.step()
        engine.submit(request(2, 4, profile=Profile.CRITICAL))
        engine.step(2)
        assert engine.plan().events == ()


class TestEndings:
    def test_a_waiting_and_a_running_sequence_expire(self) -> None:
        engine = Engine(max_sequences=1)
        engine.submit(request(1, 4, deadline_ns=50), request(2, 4, deadline_ns=60))
        engine.step()
        engine.now_ns = 49
        assert engine.step() == {1: 1}
        engine.now_ns = 60
        assert engine.plan() == Planned(None, (Expired(SequenceId(1)), Expired(SequenceId(2))))
        assert engine.scheduler.counts()[:3] == (0, 0, 0)

    def test_a_cancelled_sequence_is_free_at_once(self) -> None:
        engine = Engine(max_sequences=1)
        engine.submit(request(1, 4), request(2, 4))
        engine.step()
        for sequence in (SequenceId(1), SequenceId(2)):
            assert engine.scheduler.cancel(sequence)
            assert not engine.scheduler.cancel(sequence)
        assert engine.scheduler.counts()[:3] == (0, 0, 0)
        assert engine.plan() == Planned(None, ())

    def test_a_step_under_way_goes_on_without_the_cancelled(self) -> None:
        engine = Engine()
        engine.submit(request(1, 8), request(2, 8))
        step = engine.plan().step
        assert engine.scheduler.cancel(SequenceId(1))
        engine.scheduler.check_integrity()
        engine.commit(step)
        assert engine.step() == {2: 1}

    def test_what_a_cancelled_sequence_computed_meanwhile_is_not_trusted(self) -> None:
        engine = Engine()
        engine.submit(request(1, (5,) * 9))
        step = engine.plan().step
        engine.scheduler.cancel(SequenceId(1))
        engine.commit(step)
        engine.submit(request(2, (5,) * 9))
        assert engine.plan().events == (Scheduled(SequenceId(2), cached_tokens=0),)

    def test_an_id_used_again_during_a_step_gets_nothing_of_it(self) -> None:
        engine = Engine()
        engine.submit(request(1, 8))
        step = engine.plan().step
        engine.scheduler.cancel(SequenceId(1))
        engine.submit(request(1, 6))
        engine.commit(step)
        assert engine.step() == {1: 6}

    def test_only_the_failed_sequence_ends(self) -> None:
        engine = Engine()
        engine.submit(request(1, 4), request(2, 4))
        engine.commit(engine.plan().step, failed=(1,))
        assert engine.step() == {2: 1}


class TestIntegrity:
    def test_a_lost_block_is_found(self) -> None:
        engine = Engine()
        engine.submit(request(1, 4))
        engine.step()
        engine.pool.take(TenantId("nobody"))
        with pytest.raises(AssertionError, match="references"):
            engine.scheduler.check_integrity()
