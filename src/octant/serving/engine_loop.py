"""The engine loop: the whole life of an engine once its model is ready, one turn at a time.

    read inbox -> plan -> execute -> sample -> commit -> publish

Law: the scheduler decides, the executor computes, this loop carries between them. A fault of one
work ends that work alone; a fault that does not pass ends the engine, with its reason. What a work
held is free before the step after its end.
"""

from typing import NamedTuple

import msgspec

from octant.compute.token_scheduler import (
    Expired,
    Preempted,
    Scheduled,
    SchedulerCounts,
    SchedulerEvent,
    SequenceRequest,
    TokenScheduler,
)
from octant.core.events import EngineLoadChanged, StepExecuted
from octant.core.failure import Failed, Failure
from octant.core.ids import RouteId
from octant.core.step import SampledToken, StepPlan, StepResult
from octant.core.usage import FinishReason, Usage
from octant.ports.clock import Clock
from octant.ports.executor import Executor
from octant.ports.link import EngineLink
from octant.serving import engine_events, engine_failures
from octant.serving.acceptance import accepted_max_tokens
from octant.serving.messages import from_engine, to_engine
from octant.serving.messages.from_engine import Progress
from octant.serving.messages.to_engine import AttemptId, Cancel, Generate, Stop
from octant.serving.outbox import Outbox
from octant.serving.sampler import Sampled, Sampler
from octant.serving.sequences import LiveChoice, LiveWork, Vocabulary, WorkTable

# Reading more would only delay the running sequences; the link keeps the rest.
_MAX_MESSAGES_PER_TURN = 256
_NO_USAGE = Usage()


class LoopSettings(NamedTuple):
    """`pulse_ms` is the longest silence; `max_failed_steps` in a row end the engine."""

    route: RouteId
    pulse_ms: int = 1000
    max_failed_steps: int = 3


_Owner = tuple[LiveWork, LiveChoice]


class EngineLoop:
    """One engine: a model, its scheduler and the works it holds."""

    def __init__(
        self,
        link: EngineLink,
        executor: Executor,
        scheduler: TokenScheduler,
        words: Vocabulary,
        clock: Clock,
        settings: LoopSettings,
    ) -> None:
        self._link = link
        self._executor = executor
        self._scheduler = scheduler
        self._words = words
        self._clock = clock
        self._settings = settings
        self._sampler = Sampler(executor.facts.vocab_size)
        self._works = WorkTable()
        self._outbox = Outbox()
        self._next_sequence = 0
        self._reported: SchedulerCounts | None = None
        self._steps = 0
        self._failed_steps = 0
        self._idle = True
        self._checked = False
        self._stopped = False

    def run(self) -> None:
        """Returns when told to stop. Raises Failed or AssertionError when it cannot go on."""
        while not self._stopped:
            self.turn()

    def turn(self) -> None:
        """Reads, computes at most one step, and reports."""
        read = self._read_inbox(self._settings.pulse_ms if self._idle else 0)
        if read:
            self._checked = False
        elif self._idle and not self._checked:
            self.check_integrity()
            self._checked = True
        planned = self._scheduler.plan(self._clock.monotonic_ns())
        for event in planned.events:
            self._note(event)
        if planned.step is not None:
            self._step(planned.step)
        self._idle = planned.step is None
        self._publish()

    def check_integrity(self) -> None:
        """Raises AssertionError when blocks, sequences and works do not add up."""
        self._scheduler.check_integrity()
        self._works.check_integrity()
        counts = self._scheduler.counts()
        held = counts.running + counts.waiting
        live = sum(choice.open for work in self._works for choice in work.choices)
        assert held == live, f"the scheduler holds {held} sequences, the works {live}"

    # Inbox

    def _read_inbox(self, wait_ms: int) -> int:
        for count in range(_MAX_MESSAGES_PER_TURN):
            payload = self._link.receive(wait_ms if count == 0 else 0)
            if payload is None:
                return count
            self._receive(payload)
        return _MAX_MESSAGES_PER_TURN

    def _receive(self, payload: bytes) -> None:
        try:
            message = to_engine.decode(payload)
        except msgspec.MsgspecError as error:
            self._refuse_unreadable(payload, error)
            return
        match message:
            case Generate():
                self._accept(message)
            case Cancel():
                self._cancel(AttemptId(message.request_id, message.attempt))
            case Stop():
                self._stopped = True

    def _refuse_unreadable(self, payload: bytes, error: msgspec.MsgspecError) -> None:
        sender = to_engine.sender(payload)
        if sender is None:
            raise Failed(engine_failures.unreadable(error)) from error
        self._outbox.failed(sender, engine_failures.unreadable(error), _NO_USAGE)

    def _accept(self, generate: Generate) -> None:
        try:
            self._admit(generate)
        except Failed as error:
            self._outbox.failed(generate.id, error.failure, _NO_USAGE)

    def _admit(self, generate: Generate) -> None:
        max_tokens = accepted_max_tokens(generate, self._executor.facts)
        if self._works.work(generate.id) is not None:
            raise Failed(engine_failures.sent_twice())
        first = self._next_sequence
        self._next_sequence += generate.sampling.n
        work = LiveWork(generate, range(first, self._next_sequence), max_tokens, self._words)
        self._submit(work)
        self._works.add(work)
        self._outbox.started(work.id)

    def _submit(self, work: LiveWork) -> None:
        try:
            for choice in work.choices:
                self._scheduler.submit(_request(work, choice))
        except Failed:
            for choice in work.choices:
                self._scheduler.cancel(choice.sequence)
            raise

    def _cancel(self, attempt: AttemptId) -> None:
        work = self._works.work(attempt)
        if work is not None:
            self._release(work)
        self._outbox.drop(attempt)

    # Plan

    def _note(self, event: SchedulerEvent) -> None:
        if not self._works.is_open(event.sequence):
            return  # Expired together with a sibling, whose event has ended both.
        work, choice = self._works.owner(event.sequence)
        now_ns = self._clock.monotonic_ns()
        match event:
            case Scheduled(_, cached_tokens):
                choice.scheduled = True
                if choice.index == 0:
                    work.cached_tokens = cached_tokens
                self._outbox.event(engine_events.scheduled(work, choice, cached_tokens, now_ns))
            case Preempted(_, freed_blocks):
                self._outbox.event(engine_events.preempted(work, choice, freed_blocks, now_ns))
            case Expired():
                stage = choice.stage
                self._close(work, choice, None)
                self._fail(work, engine_failures.expired(stage))

    # Step

    def _step(self, plan: StepPlan) -> None:
        started_ns = self._clock.monotonic_ns()
        self._steps += 1
        pieces = [piece for piece in plan.slices if piece.samples]
        owners = [self._works.owner(piece.sequence) for piece in pieces]
        for piece in plan.slices:
            _, choice = self._works.owner(piece.sequence)
            choice.max_batch = max(choice.max_batch, len(plan.slices))
        try:
            logits = self._executor.execute(plan)
            executor_ns = self._clock.monotonic_ns() - started_ns
            results = self._sampler.sample(logits, [choice.row for _, choice in owners])
        except Failed as error:
            self._give_up_step(plan, error.failure, self._clock.monotonic_ns() - started_ns)
            return
        self._failed_steps = 0
        decode_tokens = sum(
            len(piece.tokens) == 1 and choice.generated > 0
            for piece, (_, choice) in zip(pieces, owners, strict=True)
        )
        faulty = self._advance(plan, owners, results, executor_ns)
        for work, choice in faulty:
            self._end_faulty(work, choice)
        self._report_step(plan, started_ns, executor_ns, decode_tokens)

    def _advance(
        self, plan: StepPlan, owners: list[_Owner], results: list[Sampled], executor_ns: int
    ) -> list[_Owner]:
        """Takes and commits the tokens of a step; returns whose computation gave none."""
        tokens: list[SampledToken] = []
        faulty: list[_Owner] = []
        for (work, choice), sampled in zip(owners, results, strict=True):
            if sampled.fault:
                faulty.append((work, choice))
            else:
                finished = self._take(work, choice, sampled)
                tokens.append(SampledToken(choice.sequence, sampled.token, finished))
        failed = tuple(choice.sequence for _, choice in faulty)
        self._scheduler.commit(StepResult(plan.number, tuple(tokens), failed, executor_ns))
        return faulty

    def _end_faulty(self, work: LiveWork, choice: LiveChoice) -> None:
        # Two faulty choices of one work: the first has ended both.
        if choice.open:
            stage = choice.stage
            self._close(work, choice, None)
            self._fail(work, engine_failures.not_finite(stage))

    def _give_up_step(self, plan: StepPlan, failure: Failure, duration_ns: int) -> None:
        """Ends every work of a step that could not be computed, and the engine after several."""
        failed = tuple(piece.sequence for piece in plan.slices)
        self._scheduler.commit(StepResult(plan.number, (), failed, duration_ns))
        owners = [self._works.owner(sequence) for sequence in failed]
        for work, choice in owners:
            self._close(work, choice, None)
        for work in {work.id: work for work, _ in owners}.values():
            self._fail(work, failure)
        self._failed_steps += 1
        if self._failed_steps >= self._settings.max_failed_steps:
            self._publish()
            raise Failed(engine_failures.steps_keep_failing(self._failed_steps, failure))

    def _take(self, work: LiveWork, choice: LiveChoice, sampled: Sampled) -> bool:
        taken = choice.take(sampled)
        if choice.generated == 1:
            now_ns = self._clock.monotonic_ns()
            self._outbox.event(engine_events.first_token(work, choice, now_ns))
        if taken.delta is not None:
            self._outbox.delta(work.id, taken.delta)
        if taken.finished is None:
            return False
        self._outbox.choice_finished(work.id, taken.finished)
        self._close(work, choice, taken.finished.reason)
        if work.finished:
            self._outbox.completed(work.id, work.usage())
        return True

    # Endings

    def _fail(self, work: LiveWork, failure: Failure) -> None:
        self._release(work)
        self._outbox.failed(work.id, failure, work.usage())

    def _release(self, work: LiveWork) -> None:
        """Frees whatever the open choices of a work hold."""
        for choice in work.choices:
            if choice.open:
                self._scheduler.cancel(choice.sequence)
                self._close(work, choice, None)

    def _close(self, work: LiveWork, choice: LiveChoice, reason: FinishReason | None) -> None:
        """Ends a choice that the scheduler has let go, or lets go with the commit of this step."""
        self._works.close(work, choice)
        now_ns = self._clock.monotonic_ns()
        self._outbox.event(engine_events.finished(work, choice, reason, now_ns))

    # Publish

    def _report_step(
        self, plan: StepPlan, started_ns: int, executor_ns: int, decode_tokens: int
    ) -> None:
        now_ns = self._clock.monotonic_ns()
        self._outbox.event(
            StepExecuted(
                at_ns=now_ns,
                route=self._settings.route,
                duration_ns=now_ns - started_ns,
                executor_ns=executor_ns,
                sequences=len(plan.slices),
                prefill_tokens=plan.token_count - decode_tokens,
                decode_tokens=decode_tokens,
            )
        )

    def _report_load(self, counts: SchedulerCounts) -> None:
        self._reported = counts
        self._outbox.event(
            EngineLoadChanged(
                at_ns=self._clock.monotonic_ns(),
                route=self._settings.route,
                running=counts.running,
                waiting=counts.waiting,
                kv_blocks_used=counts.blocks_used,
                kv_blocks_total=counts.blocks_total,
            )
        )

    def _publish(self) -> None:
        counts = self._scheduler.counts()
        if counts != self._reported:
            self._report_load(counts)
        progress = Progress(
            step=self._steps,
            running=counts.running,
            waiting=counts.waiting,
            waiting_tokens=counts.waiting_tokens,
            kv_usage=counts.blocks_used / counts.blocks_total,
            outputs=self._outbox.outputs(),
            events=self._outbox.events(),
        )
        self._link.send(from_engine.encode(progress))


def _request(work: LiveWork, choice: LiveChoice) -> SequenceRequest:
    generate = work.generate
    return SequenceRequest(
        sequence=choice.sequence,
        request_id=generate.request_id,
        choice=choice.index,
        tenant=generate.tenant,
        profile=generate.profile,
        prompt=generate.prompt_tokens,
        cache_salt=generate.cache_salt,
        max_tokens=work.max_tokens,
        arrived_ns=generate.received_ns,
        deadline_ns=generate.deadline_ns,
        leader=None if choice.index == 0 else work.choices[0].sequence,
    )
