"""The engine loop over a model with real paged memory, turn by turn, without a process."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from octant.compute.schedule import SchedulerSettings
from octant.compute.token_scheduler import TokenScheduler
from octant.context.kv.block_pool import BlockPool
from octant.core.events import (
    EngineLoadChanged,
    FirstToken,
    SequenceFinished,
    SequencePreempted,
    SequenceScheduled,
    StepExecuted,
)
from octant.core.failure import Failed, FailureKind
from octant.core.limits import Profile
from octant.core.stage import Stage
from octant.core.step import StepPlan
from octant.core.stream import ChoiceFinished, PositionLogprobs
from octant.core.usage import FinishReason
from octant.core.work import ModelWork
from octant.ports.executor import Executor
from octant.serving.engine_loop import EngineLoop, LoopSettings
from octant.serving.messages.from_engine import WorkOutput
from octant.serving.messages.to_engine import Cancel, Generate, Stop, generate
from octant.serving.sequences import Vocabulary, choice_seed
from tests.support.engine_parts import ROUTE, MemoryLink, SetClock, text_of, work
from tests.support.modelled_lm import (
    EOS,
    NAN_MARK,
    RAISE_MARK,
    ByteTokenizer,
    FaultyExecutor,
    ModelledExecutor,
    saying,
)

MAX_TURNS = 2000


class Engine:
    """A loop with all its parts in reach."""

    def __init__(self, executor: Executor | None = None, **scheduling: int) -> None:
        self.executor = executor or ModelledExecutor()
        facts = self.executor.facts
        self.pool = BlockPool(facts.block_count, facts.block_size)
        self.clock = SetClock()
        self.link = MemoryLink()
        scheduler = TokenScheduler(
            SchedulerSettings(**scheduling), self.pool, max_context=facts.max_context
        )
        words = Vocabulary(ByteTokenizer(), frozenset({EOS}))
        settings = LoopSettings(route=ROUTE)
        self.loop = EngineLoop(self.link, self.executor, scheduler, words, self.clock, settings)

    def tell(self, *works: ModelWork) -> None:
        self.link.tell(*map(generate, works))

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.loop.turn()

    def finish(self) -> None:
        """Runs until nothing is left, then checks that nothing is held."""
        for _ in range(MAX_TURNS):
            self.loop.turn()
            last = self.link.progress()[-1]
            if not self.link.inbox and last.running + last.waiting == 0:
                self.loop.check_integrity()
                assert self.pool.live == 0
                return
        raise AssertionError("the works never ended")

    def answer(self, asked: ModelWork) -> list[WorkOutput]:
        self.tell(asked)
        self.finish()
        return self.link.outputs(asked.request_id)


def finished(outputs: list[WorkOutput]) -> list[ChoiceFinished]:
    return [choice for output in outputs for choice in output.finished]


def test_an_answer_arrives_in_order_with_one_end() -> None:
    engine = Engine()
    outputs = engine.answer(work(saying("hello")))
    assert [output.started for output in outputs] == [True] + [False] * (len(outputs) - 1)
    assert text_of(outputs) == "hello"
    assert finished(outputs) == [ChoiceFinished(0, FinishReason.STOP)]
    assert [output.usage is not None for output in outputs[:-1]] == [False] * (len(outputs) - 1)
    usage = outputs[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (7, 6)
    assert outputs[-1].failure is None


def test_every_step_is_reported_once() -> None:
    engine = Engine()
    engine.answer(work(saying("hello")))
    steps = engine.link.events(StepExecuted)
    assert [event.route for event in steps] == [ROUTE] * 6
    assert [event.prefill_tokens for event in steps] == [7, 0, 0, 0, 0, 0]
    assert [event.decode_tokens for event in steps] == [0, 1, 1, 1, 1, 1]
    assert [progress.step for progress in engine.link.progress()][-1] == 6
    loads = engine.link.events(EngineLoadChanged)
    assert (loads[0].running, loads[-1].running, loads[-1].kv_blocks_used) == (1, 0, 0)
    assert len(engine.link.events(SequenceScheduled)) == 1
    assert len(engine.link.events(FirstToken)) == 1
    (end,) = engine.link.events(SequenceFinished)
    assert (end.reason, end.completion_tokens) == (FinishReason.STOP, 6)


def test_max_tokens_ends_with_length() -> None:
    outputs = Engine().answer(work(saying("hello"), max_tokens=3))
    assert text_of(outputs) == "hel"
    assert finished(outputs) == [ChoiceFinished(0, FinishReason.LENGTH)]


def test_without_max_tokens_the_context_is_the_limit() -> None:
    engine = Engine(ModelledExecutor(max_context=32))
    outputs = engine.answer(work(b"abcd", max_tokens=None, ignore_eos=True))
    usage = outputs[-1].usage
    assert usage is not None and usage.total_tokens == 32
    assert finished(outputs) == [ChoiceFinished(0, FinishReason.LENGTH)]


def test_eos_is_only_a_token_when_it_is_to_be_ignored() -> None:
    outputs = Engine().answer(work(saying("hi"), max_tokens=5, ignore_eos=True))
    assert text_of(outputs) == "hi"
    assert finished(outputs) == [ChoiceFinished(0, FinishReason.LENGTH)]
    usage = outputs[-1].usage
    assert usage is not None and usage.completion_tokens == 5


def test_min_tokens_keep_an_answer_going() -> None:
    outputs = Engine().answer(work(saying("hi"), min_tokens=6, max_tokens=20))
    usage = outputs[-1].usage
    assert usage is not None and usage.completion_tokens == 7
    assert text_of(outputs).startswith("hi") and len(text_of(outputs)) == 6


def test_a_stop_token_ends_the_answer_without_its_text() -> None:
    outputs = Engine().answer(work(saying("a-b"), stop_token_ids=(ord("-"),)))
    assert text_of(outputs) == "a"
    assert finished(outputs) == [ChoiceFinished(0, FinishReason.STOP, ord("-"))]


def test_nothing_of_a_stop_string_is_ever_sent() -> None:
    outputs = Engine().answer(work(saying("one END two"), stop=("END",)))
    assert text_of(outputs) == "one "
    assert finished(outputs) == [ChoiceFinished(0, FinishReason.STOP, "END")]
    usage = outputs[-1].usage
    assert usage is not None and usage.completion_tokens == len("one END")


def test_text_held_back_for_a_stop_comes_when_it_was_none() -> None:
    outputs = Engine().answer(work(saying("the EN"), stop=("END",)))
    assert text_of(outputs) == "the EN"


def test_a_character_is_never_cut() -> None:
    outputs = Engine().answer(work(saying("a€b")))
    assert text_of(outputs) == "a€b"
    assert [delta.text for output in outputs for delta in output.deltas if delta.text] == [
        "a",
        "€",
        "b",
    ]


def positions(outputs: list[WorkOutput]) -> list[PositionLogprobs]:
    return [
        position for output in outputs for delta in output.deltas for position in delta.logprobs
    ]


@pytest.mark.parametrize("stop", [(), ("END",), ("nd",), ("€x",)])
@pytest.mark.parametrize("max_tokens", [10, 11, 12, 40])
def test_logprobs_cover_exactly_the_text_that_was_sent(
    stop: tuple[str, ...], max_tokens: int
) -> None:
    asked = work(saying("€ one END two€x"), stop=stop, top_logprobs=2, max_tokens=max_tokens)
    outputs = Engine().answer(asked)
    covered = positions(outputs)
    assert b"".join(entry.chosen.utf8 for entry in covered).decode() == text_of(outputs)
    assert {len(entry.top) for entry in covered} == {2}
    assert all(entry.top[0].logprob >= entry.chosen.logprob for entry in covered)


def test_choices_share_the_prompt_and_differ_by_seed() -> None:
    engine = Engine()
    prompt = b"a prompt of five blocks"
    outputs = engine.answer(work(prompt, n=3, max_tokens=12, temperature=1.0, ignore_eos=True))
    texts = [text_of(outputs, choice) for choice in range(3)]
    assert len(set(texts)) == 3
    assert sorted(choice.choice for choice in finished(outputs)) == [0, 1, 2]
    usage = outputs[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (23, 0, 36)
    cached = {event.choice: event.cached_tokens for event in engine.link.events(SequenceScheduled)}
    assert cached == {0: 0, 1: 20, 2: 20}
    for choice in range(3):
        alone = Engine().answer(
            work(
                prompt,
                seed=choice_seed(7, choice),
                max_tokens=12,
                temperature=1.0,
                ignore_eos=True,
            )
        )
        assert text_of(alone) == texts[choice]


def test_a_cancel_frees_before_the_next_step_and_silences() -> None:
    engine = Engine()
    asked = work(b"endless", ignore_eos=True, n=2)
    engine.tell(asked)
    engine.turns(5)
    assert engine.pool.live > 0
    said = len(engine.link.outputs("req_1"))
    engine.link.tell(Cancel(asked.request_id, asked.attempt))
    engine.turns(1)
    assert engine.pool.live == 0
    assert len(engine.link.outputs("req_1")) == said
    assert [event.reason for event in engine.link.events(SequenceFinished)] == [None, None]
    engine.finish()


def test_cancels_of_unknown_and_finished_works_do_nothing() -> None:
    engine = Engine()
    asked = work(saying("hi"))
    engine.answer(asked)
    engine.link.tell(Cancel(asked.request_id, 1), Cancel(asked.request_id, 2))
    engine.finish()


def test_a_work_cancelled_before_it_began_leaves_nothing() -> None:
    engine = Engine()
    asked = work(saying("hi"))
    engine.link.tell(generate(asked), Cancel(asked.request_id, asked.attempt))
    engine.finish()
    assert engine.link.outputs("req_1") == []


def test_a_row_without_numbers_fails_its_own_work_only() -> None:
    others = [work(b"first", "req_a", max_tokens=9), work(b"second", "req_b", max_tokens=9)]
    alone = Engine()
    alone.tell(*others)
    alone.finish()

    engine = Engine(FaultyExecutor(ModelledExecutor(), after=3))
    engine.tell(others[0], work([NAN_MARK, 65], "req_bad", n=2, ignore_eos=True), others[1])
    engine.finish()

    for asked in others:
        outputs = engine.link.outputs(asked.request_id)
        assert text_of(outputs) == text_of(alone.link.outputs(asked.request_id))
        assert outputs[-1].failure is None
    failure = engine.link.outputs("req_bad")[-1].failure
    assert failure is not None
    assert (failure.kind, failure.stage) == (FailureKind.MODEL_FAILURE, Stage.DECODE)
    usage = engine.link.outputs("req_bad")[-1].usage
    assert usage is not None and usage.completion_tokens >= 3


def test_a_step_that_raises_fails_its_works_and_the_engine_goes_on() -> None:
    engine = Engine(FaultyExecutor(ModelledExecutor(), after=2))
    engine.tell(work([RAISE_MARK, 65], "req_bad"), work(b"beside", "req_beside"))
    engine.finish()
    for name in ("req_bad", "req_beside"):
        failure = engine.link.outputs(name)[-1].failure
        assert failure is not None and failure.kind is FailureKind.MODEL_FAILURE
    assert text_of(engine.answer(work(saying("still here"), "req_2"))) == "still here"


def test_choices_that_fail_together_fail_their_work_once() -> None:
    class Spoiled(ModelledExecutor):
        steps = 0

        def execute(self, plan: StepPlan) -> NDArray[np.float32]:
            self.steps += 1
            logits = super().execute(plan)
            return logits if self.steps < 5 else logits * np.nan

    engine = Engine(Spoiled())
    outputs = engine.answer(work(b"two at once", n=2, ignore_eos=True))
    assert [output.failure is not None for output in outputs[-2:]] == [False, True]


def test_failures_in_a_row_are_counted_anew_after_a_good_step() -> None:
    engine = Engine(FaultyExecutor(ModelledExecutor(), after=0))
    for index in range(6):
        engine.tell(work([RAISE_MARK, 65], f"req_{index}"), work(b"good", f"req_good_{index}"))
        engine.turns(1)
        engine.answer(work(saying("good"), f"req_then_{index}"))


def test_an_executor_that_keeps_failing_ends_the_engine_with_a_reason() -> None:
    engine = Engine(FaultyExecutor(ModelledExecutor(), after=0))
    for index in range(2):
        engine.tell(work([RAISE_MARK, 65], f"req_{index}"))
        engine.turns(1)
    engine.tell(work([RAISE_MARK, 65], "req_2"))
    with pytest.raises(Failed, match="3 steps in a row"):
        engine.turns(1)
    assert engine.link.outputs("req_2")[-1].failure is not None


def test_a_deadline_ends_the_work_with_the_usage_so_far() -> None:
    engine = Engine()
    engine.tell(work(b"endless", deadline_ns=1000, ignore_eos=True, n=2))
    engine.turns(4)
    engine.clock.now_ns = 1000
    engine.finish()
    last = engine.link.outputs("req_1")[-1]
    assert last.failure is not None and last.usage is not None
    assert (last.failure.kind, last.failure.stage) == (
        FailureKind.DEADLINE_EXCEEDED,
        Stage.DECODE,
    )
    assert last.usage.completion_tokens > 0


def test_the_line_of_each_profile_is_reported() -> None:
    engine = Engine(max_sequences=1, max_batch_tokens=64)
    late = msgspec.structs.replace(work(b"later", "req_2"), profile=Profile.BATCH)
    engine.tell(work(b"now", "req_1"), late)
    engine.turns(1)
    reported = engine.link.progress()[-1].waiting_tokens
    assert reported == dict.fromkeys(Profile, 0) | {Profile.BATCH: 5}


def test_a_deadline_in_the_queue_says_so() -> None:
    engine = Engine(max_sequences=1, max_batch_tokens=64)
    engine.tell(
        work(b"long", "req_1", ignore_eos=True, max_tokens=40),
        work(b"late", "req_2", deadline_ns=1000),
    )
    engine.clock.now_ns = 1000
    engine.turns(2)
    last = engine.link.outputs("req_2")[-1]
    assert last.failure is not None and last.failure.stage is Stage.QUEUE
    assert last.usage is not None and last.usage.total_tokens == 0


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (work(b"a", max_tokens=256), FailureKind.CONTEXT_LENGTH_EXCEEDED),
        (work(b"a" * 300, max_tokens=None), FailureKind.CONTEXT_LENGTH_EXCEEDED),
        (work(b"", max_tokens=4), FailureKind.INVALID_VALUE),
        (work(b"a", max_tokens=0), FailureKind.INVALID_VALUE),
        (work([4, 257]), FailureKind.INVALID_VALUE),
        (work([-1]), FailureKind.INVALID_VALUE),
        (work(b"a", n=0), FailureKind.INVALID_VALUE),
        (work(b"a", logit_bias={-300: 1.0}), FailureKind.INVALID_VALUE),
        (work(b"a", temperature=float("nan")), FailureKind.INVALID_VALUE),
        (work(b"a", top_p=7.0), FailureKind.INVALID_VALUE),
        (work(b"a", repetition_penalty=0.0), FailureKind.INVALID_VALUE),
    ],
)
def test_what_makes_no_sense_is_refused_alone(asked: ModelWork, kind: FailureKind) -> None:
    engine = Engine()
    engine.tell(asked, work(saying("fine"), "req_2"))
    engine.finish()
    (output,) = engine.link.outputs("req_1")
    assert output.failure is not None and output.failure.kind is kind
    assert output.usage is not None and output.usage.total_tokens == 0
    assert text_of(engine.link.outputs("req_2")) == "fine"


def test_a_message_that_cannot_be_read_fails_its_work_alone() -> None:
    engine = Engine()
    asked = generate(work(saying("x"), "req_1"))
    broken = {name: getattr(asked, name) for name in Generate.__struct_fields__}
    engine.link.inbox.append(
        msgspec.msgpack.encode(broken | {"type": "generate", "seed": "not a number"})
    )
    engine.tell(work(saying("fine"), "req_2"))
    engine.finish()
    (output,) = engine.link.outputs("req_1")
    assert output.failure is not None and output.failure.kind is FailureKind.INTERNAL_ERROR
    assert text_of(engine.link.outputs("req_2")) == "fine"


def test_an_attempt_sent_twice_runs_once() -> None:
    engine = Engine()
    asked = work(saying("once"))
    engine.tell(asked, asked)
    engine.finish()
    failures = [o.failure for o in engine.link.outputs("req_1") if o.failure]
    assert [failure.kind for failure in failures] == [FailureKind.INTERNAL_ERROR]


def test_siblings_beyond_the_queue_take_the_whole_work_with_them() -> None:
    engine = Engine(max_waiting=2)
    outputs = engine.answer(work(saying("x"), n=3))
    assert outputs[-1].failure is not None
    assert outputs[-1].failure.kind is FailureKind.OVERLOADED
    assert text_of(engine.answer(work(saying("fine"), "req_2"))) == "fine"


def test_preemption_changes_no_answer() -> None:
    works = [work([65 + i] * 5, f"req_{i}", max_tokens=30, ignore_eos=True) for i in range(4)]
    roomy, tight = Engine(), Engine(ModelledExecutor(block_count=14))
    for engine in (roomy, tight):
        engine.tell(*works)
        engine.finish()
    assert tight.link.events(SequencePreempted) and not roomy.link.events(SequencePreempted)
    for asked in works:
        answers = [text_of(e.link.outputs(asked.request_id)) for e in (roomy, tight)]
        assert answers[0] == answers[1]
    assert len(tight.link.events(SequenceScheduled)) == 4


def test_an_idle_engine_pulses() -> None:
    engine = Engine()
    engine.answer(work(saying("x")))
    before = len(engine.link.progress())
    engine.turns(3)
    assert len(engine.link.progress()) == before + 3


def test_an_engine_whose_books_do_not_balance_ends_when_idle() -> None:
    engine = Engine()
    for index in range(2):
        engine.answer(work(saying("x"), f"req_{index}"))
        engine.turns(2)
    engine.answer(work(saying("x")))
    engine.pool.take(work(b"x").tenant)
    with pytest.raises(AssertionError, match="references"):
        engine.turns(2)


def test_stop_ends_the_loop() -> None:
    engine = Engine()
    engine.link.tell(Stop())
    engine.loop.run()
