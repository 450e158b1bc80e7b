"""Whatever is asked, cancelled, spoiled or late: one end for each attempt, nothing left behind."""

from hypothesis import given, settings
from hypothesis import strategies as st

from octant.compute.schedule import SchedulerSettings
from octant.compute.token_scheduler import TokenScheduler
from octant.context.kv.block_pool import BlockPool
from octant.core.events import SequenceFinished, SequenceScheduled
from octant.core.work import ModelWork
from octant.serving.engine_loop import EngineLoop, LoopSettings
from octant.serving.messages.from_engine import WorkOutput
from octant.serving.messages.to_engine import Cancel, generate
from octant.serving.sequences import Vocabulary
from tests.support.engine_parts import FAR_NS, ROUTE, MemoryLink, SetClock, work
from tests.support.modelled_lm import EOS, NAN_MARK, ByteTokenizer, FaultyExecutor, ModelledExecutor

MAX_TURNS = 4000

prompts = st.one_of(
    st.binary(min_size=0, max_size=40).map(tuple),
    st.just((NAN_MARK, 65, 66)),
    st.sampled_from([(65,) * 12, (65,) * 16]),
)


@st.composite
def works(draw: st.DrawFn) -> list[ModelWork]:
    count = draw(st.integers(1, 8))
    return [
        work(
            draw(prompts),
            f"req_{index}",
            max_tokens=draw(st.integers(0, 24)),
            deadline_ns=draw(st.sampled_from([FAR_NS, FAR_NS, 20, 60])),
            seed=draw(st.integers(0, 1 << 56)),
            n=draw(st.integers(1, 3)),
            temperature=draw(st.sampled_from([0.0, 1.0])),
            ignore_eos=draw(st.booleans()),
            stop=draw(st.sampled_from([(), ("e",), ("ab", "b")])),
        )
        for index in range(count)
    ]


def run(asked: list[ModelWork], cancelled: set[int], gaps: list[int]) -> MemoryLink:
    """Tells the loop everything in turn, a gap of so many turns between; returns the link."""
    executor = FaultyExecutor(ModelledExecutor(block_count=24), after=2)
    pool = BlockPool(executor.facts.block_count, executor.facts.block_size)
    scheduler = TokenScheduler(
        SchedulerSettings(max_sequences=4, max_batch_tokens=24, max_prefill_chunk=8),
        pool,
        executor.facts.max_context,
    )
    link, clock = MemoryLink(), SetClock()
    words = Vocabulary(ByteTokenizer(), frozenset({EOS}))
    loop = EngineLoop(link, executor, scheduler, words, clock, LoopSettings(route=ROUTE))

    def turn() -> None:
        clock.now_ns += 1
        loop.turn()
        loop.check_integrity()

    for index, gap in zip(range(len(asked)), gaps, strict=False):
        link.tell(generate(asked[index]))
        for _ in range(gap):
            turn()
        if index in cancelled:
            link.tell(Cancel(asked[index].request_id, asked[index].attempt))
            turn()
    for _ in range(MAX_TURNS):
        turn()
        if link.progress()[-1].running + link.progress()[-1].waiting == 0:
            break
    assert pool.live == 0, "blocks are held for nobody"
    return link


def check_outputs(asked: ModelWork, outputs: list[WorkOutput], cancelled: bool) -> None:
    ends = [index for index, output in enumerate(outputs) if output.usage is not None]
    if cancelled:
        assert len(ends) <= 1
    else:
        assert ends == [len(outputs) - 1], "exactly one end, and it comes last"
    started = [index for index, output in enumerate(outputs) if output.started]
    assert started in ([], [0])
    closed: set[int] = set()
    for output in outputs:
        assert not closed & {delta.choice for delta in output.deltas}, "spoke after its end"
        closed |= {choice.choice for choice in output.finished}
    completed = [output for output in outputs if output.usage and not output.failure]
    for output in completed:
        assert closed == set(range(asked.sampling.n)), "a choice is missing"
        assert output.usage is not None and asked.sampling.max_tokens is not None
        limit = asked.sampling.n * asked.sampling.max_tokens
        assert asked.sampling.n <= output.usage.completion_tokens <= limit


@settings(max_examples=150, deadline=None)
@given(
    asked=works(),
    cancelled=st.sets(st.integers(0, 7)),
    gaps=st.lists(st.integers(0, 6), min_size=8, max_size=8),
)
def test_every_attempt_ends_once_and_leaves_nothing(
    asked: list[ModelWork], cancelled: set[int], gaps: list[int]
) -> None:
    link = run(asked, cancelled, gaps)
    for index, one in enumerate(asked):
        check_outputs(one, link.outputs(one.request_id), index in cancelled)
    entered = {(e.request_id, e.choice) for e in link.events(SequenceScheduled)}
    left = [(e.request_id, e.choice) for e in link.events(SequenceFinished)]
    assert len(left) == len(set(left)), "a choice left the engine twice"
    assert entered <= set(left), "a choice never left the engine"
