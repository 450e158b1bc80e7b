"""The scheduler under every legal order of submit, cancel, plan and commit.

The modelled executor checks the content of each block that a plan names. At the end of every
sequence of events whoever is left must finish and leave nothing behind.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from octant.compute.token_scheduler import (
    Expired,
    SchedulerSettings,
    SequenceRequest,
    TokenScheduler,
)
from octant.context.kv.block_pool import BlockPool
from octant.core.failure import Failed
from octant.core.ids import RequestId, SequenceId, TenantId
from octant.core.limits import Profile
from octant.core.step import StepPlan
from octant.simulation.modelled_executor import ModelledExecutor, Script

BLOCKS, SIZE, VOCABULARY = 7, 2, 2
STEPS_TO_DRAIN = 2_000


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        bounds = SchedulerSettings(
            max_batch_tokens=7,
            max_sequences=3,
            max_prefill_chunk=3,
            max_long_prefills=1,
            long_prompt_tokens=5,
            max_waiting=6,
            ageing_ns=20,
        )
        self.scheduler = TokenScheduler(bounds, BlockPool(BLOCKS, SIZE), max_context=14)
        self.executor = ModelledExecutor(BLOCKS, SIZE, VOCABULARY)
        self.step: StepPlan | None = None
        self.live: set[SequenceId] = set()
        self.submitted = 0
        self.now_ns = 0

    @rule(
        prompt=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=8),
        answer=st.integers(1, 6),
        profile=st.sampled_from(Profile),
        tenant=st.sampled_from("ab"),
        patience=st.one_of(st.none(), st.integers(0, 60)),
        fails_at=st.one_of(st.none(), st.none(), st.integers(0, 10)),
        follows=st.booleans(),
    )
    def submit(
        self,
        prompt: list[int],
        answer: int,
        profile: Profile,
        tenant: str,
        patience: int | None,
        fails_at: int | None,
        follows: bool,
    ) -> None:
        leader = SequenceId(self.submitted) if follows and self.submitted else None
        self.submitted += 1
        request = SequenceRequest(
            sequence=SequenceId(self.submitted),
            request_id=RequestId("req"),
            choice=0,
            tenant=TenantId(tenant),
            profile=profile,
            prompt=tuple(prompt),
            cache_salt=tenant,
            max_tokens=6,
            arrived_ns=self.now_ns,
            deadline_ns=1 << 60 if patience is None else self.now_ns + patience,
            leader=leader,
        )
        script = Script(answer, fails_at=fails_at)
        self.executor.expect(request.sequence, request.prompt, tenant, script)
        try:
            self.scheduler.submit(request)
        except Failed:
            return
        self.live.add(request.sequence)

    @rule(sequence=st.integers(1, 40))
    def cancel(self, sequence: int) -> None:
        name = SequenceId(sequence)
        assert self.scheduler.cancel(name) == (name in self.live)
        self.live.discard(name)

    @precondition(lambda self: self.step is None)
    @rule(passed_ns=st.integers(0, 30))
    def plan(self, passed_ns: int) -> None:
        self.now_ns += passed_ns
        planned = self.scheduler.plan(self.now_ns)
        for event in planned.events:
            if isinstance(event, Expired):
                self.live.remove(event.sequence)
        self.step = planned.step
        assert (self.step is None) == (not self.live), "work is left, yet nothing is planned"

    @precondition(lambda self: self.step is not None)
    @rule()
    def commit(self) -> None:
        assert self.step is not None
        result = self.executor.execute(self.step)
        self.scheduler.commit(result)
        self.live -= set(result.failed)
        self.live -= {sampled.sequence for sampled in result.sampled if sampled.finished}
        self.step = None

    @invariant()
    def the_books_are_right(self) -> None:
        self.scheduler.check_integrity()
        counts = self.scheduler.counts()
        assert counts.running + counts.waiting == len(self.live)

    def teardown(self) -> None:
        for _ in range(STEPS_TO_DRAIN):
            if self.step is None:
                self.plan(0)
            if self.step is None:
                break
            self.commit()
        assert not self.live, f"{self.live} never end"
        assert self.scheduler.counts()[:3] == (0, 0, 0)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
