"""The stream of one attempt: order, joining, one end, a bound on what waits."""

import asyncio

from octant.core.failure import Failure, FailureKind
from octant.core.ids import RequestId
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    PositionLogprobs,
    Started,
    StreamItem,
    TextDelta,
    TokenLogprob,
)
from octant.core.usage import FinishReason, Usage
from octant.serving.messages.from_engine import WorkOutput
from octant.serving.request_stream import RequestStream
from tests.support.engine_parts import ROUTE, work

LOST = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="lost")
END = WorkOutput(RequestId("req_1"), 1, usage=Usage(prompt_tokens=3, completion_tokens=2))


def stream(bound: int = 100) -> RequestStream:
    return RequestStream(work(b"abc"), ROUTE, bound)


def said(*deltas: TextDelta, started: bool = False) -> WorkOutput:
    return WorkOutput(RequestId("req_1"), 1, started, deltas)


async def drain(items: RequestStream) -> list[StreamItem]:
    return [item async for item in items]


async def test_what_piled_up_for_one_choice_comes_as_one() -> None:
    items = stream()
    mark = PositionLogprobs(TokenLogprob(1, "a", b"a", -1.0), ())
    items.put(said(TextDelta(0, "a", (1,), (mark,)), started=True))
    items.put(said(TextDelta(0, "b", (2,), (mark,)), TextDelta(1, "x", (3,))))
    items.put(said(TextDelta(0, "c", (4,))))
    items.put(END)
    assert await drain(items) == [
        Started(ROUTE, 1, 3),
        TextDelta(0, "ab", (1, 2), (mark, mark)),
        TextDelta(1, "x", (3,)),
        TextDelta(0, "c", (4,)),
        Completed(Usage(prompt_tokens=3, completion_tokens=2)),
    ]


async def test_a_waiting_reader_is_woken_by_each_item() -> None:
    items = stream()
    reader = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    assert not reader.done()
    items.put(said(TextDelta(0, "a", (1,))))
    assert await reader == TextDelta(0, "a", (1,))


async def test_nothing_follows_the_end() -> None:
    items = stream()
    items.put(END)
    items.fail(LOST)
    assert await drain(items) == [Completed(Usage(prompt_tokens=3, completion_tokens=2))]
    assert await drain(items) == []


async def test_a_failure_says_what_was_used_as_far_as_known() -> None:
    items, untouched = stream(), stream()
    items.put(said(TextDelta(0, "ab", (1, 2)), started=True))
    for failing in (items, untouched):
        failing.fail(LOST)
    assert (await drain(items))[-1] == Broken(LOST, Usage(prompt_tokens=3, completion_tokens=2))
    assert await drain(untouched) == [Broken(LOST, Usage())]


async def test_the_engine_s_own_count_wins() -> None:
    items = stream()
    items.put(WorkOutput(RequestId("req_1"), 1, failure=LOST, usage=Usage(prompt_tokens=9)))
    assert await drain(items) == [Broken(LOST, Usage(prompt_tokens=9))]


async def test_reading_makes_room() -> None:
    items = stream(bound=2)
    for _ in range(10):
        items.put(said(TextDelta(0, "ab", (1, 2))))
        assert await anext(items) == TextDelta(0, "ab", (1, 2))
    assert not items.ended


async def test_a_pile_beyond_the_bound_ends_the_stream() -> None:
    items = stream(bound=2)
    items.put(said(TextDelta(0, "abc", (1, 2, 3))))
    items.put(WorkOutput(RequestId("req_1"), 1, finished=(ChoiceFinished(0, FinishReason.STOP),)))
    assert items.ended
    received = await drain(items)
    assert received[0] == TextDelta(0, "abc", (1, 2, 3))
    last = received[1]
    assert isinstance(last, Broken) and last.failure.kind is FailureKind.CANCELLED
