"""What a probe takes for the known answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from octant.core.failure import Failure, FailureKind
from octant.core.stage import Stage
from octant.core.stream import Broken, Completed, StreamItem, TextDelta
from octant.core.usage import Usage
from octant.core.work import ModelWork
from octant.serving.known_answer import PROBE_REQUEST, KnownAnswer, what_is_wrong

KNOWN = KnownAnswer(prompt=(1, 2), expect="I am here.", max_tokens=8)


class Answering:
    """A Prober that says what it was given."""

    def __init__(self, *items: StreamItem) -> None:
        self.items = items
        self.asked: list[ModelWork] = []

    @asynccontextmanager
    async def probe(self, work: ModelWork) -> AsyncIterator[AsyncIterator[StreamItem]]:
        self.asked.append(work)
        yield self._all()

    async def _all(self) -> AsyncIterator[StreamItem]:
        for item in self.items:
            yield item


async def test_the_right_answer_in_pieces_is_right() -> None:
    engine = Answering(
        TextDelta(0, " I am", (1,)), TextDelta(0, " here.\n", (2,)), Completed(Usage())
    )
    assert await what_is_wrong(KNOWN, engine) is None


async def test_it_is_asked_greedily_and_belongs_to_no_caller() -> None:
    engine = Answering(Completed(Usage()))
    await what_is_wrong(KNOWN, engine)
    (work,) = engine.asked
    assert (work.request_id, work.prompt_tokens) == (PROBE_REQUEST, (1, 2))
    assert (work.sampling.temperature, work.sampling.max_tokens) == (0.0, 8)


async def test_another_answer_is_told_beside_the_right_one() -> None:
    wrong = await what_is_wrong(KNOWN, Answering(TextDelta(0, "I am", (1,)), Completed(Usage())))
    assert wrong is not None
    assert "'I am'" in wrong
    assert "'I am here.'" in wrong


async def test_a_probe_that_broke_is_no_answer() -> None:
    failure = Failure(kind=FailureKind.MODEL_FAILURE, stage=Stage.DECODE, message="it burst")
    engine = Answering(TextDelta(0, "I am here.", (1,)), Broken(failure, Usage()))
    assert await what_is_wrong(KNOWN, engine) == "the probe ended with: it burst"
