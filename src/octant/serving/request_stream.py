"""RequestStream: the items of one attempt on their way from the engine to whoever asked.

Law: items leave in the order in which they came, exactly one of them is terminal, and it is the
last. The buffer is bounded in tokens: a reader that falls further behind loses its request, never
the engine's time.
"""

import asyncio
from collections import deque

from octant.core.failure import Failure, FailureKind
from octant.core.ids import RouteId
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    Completed,
    PositionLogprobs,
    Started,
    StreamItem,
    Terminal,
    TextDelta,
)
from octant.core.usage import Usage
from octant.core.work import ModelWork
from octant.serving.messages.from_engine import WorkOutput
from octant.serving.messages.to_engine import AttemptId


class RequestStream:
    """An async iterator of StreamItems, filled by the engine's client on the same event loop."""

    def __init__(self, work: ModelWork, route: RouteId, max_buffered_tokens: int) -> None:
        self.id = AttemptId(work.request_id, work.attempt)
        self.profile = work.profile
        self.prompt_tokens = len(work.prompt_tokens)
        self.started = False
        self._route = route
        self._max_buffered_tokens = max_buffered_tokens
        self._items: deque[StreamItem] = deque()
        self._buffered_tokens = 0
        self._received_tokens = 0
        self._ended = False
        self._exhausted = False
        self._filled = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the terminal item is in; what the engine says now comes too late."""
        return self._ended

    def put(self, output: WorkOutput) -> None:
        """Takes on what a step produced. Ends the stream when the reader is too far behind."""
        if self._ended:
            return
        if output.started:
            self.started = True
            self._items.append(Started(self._route, self.id.attempt, self.prompt_tokens))
        for delta in output.deltas:
            self._received_tokens += len(delta.tokens)
            self._buffered_tokens += len(delta.tokens)
            self._items.append(delta)
        self._items.extend(output.finished)
        if output.failure is not None:
            self._end(Broken(output.failure, output.usage or self._usage()))
        elif output.usage is not None:
            self._end(Completed(output.usage))
        elif self._buffered_tokens > self._max_buffered_tokens:
            self.fail(_fell_behind(self._buffered_tokens))
        self._filled.set()

    def fail(self, failure: Failure) -> None:
        """Ends the stream; a stream that has ended stays as it is."""
        if not self._ended:
            self._end(Broken(failure, self._usage()))

    def __aiter__(self) -> "RequestStream":
        return self

    async def __anext__(self) -> StreamItem:
        """The next item; text of one choice that piled up comes as one delta."""
        if self._exhausted:
            raise StopAsyncIteration
        while not self._items:
            self._filled.clear()
            await self._filled.wait()
        item = self._items.popleft()
        match item:
            case TextDelta():
                return self._joined(item)
            case Completed() | Broken():
                self._exhausted = True
            case _:
                pass
        return item

    def _joined(self, first: TextDelta) -> TextDelta:
        pile = [first]
        while self._items:
            following = self._items[0]
            if not isinstance(following, TextDelta) or following.choice != first.choice:
                break
            pile.append(following)
            self._items.popleft()
        self._buffered_tokens -= sum(len(delta.tokens) for delta in pile)
        return first if len(pile) == 1 else _join(pile)

    def _end(self, terminal: Terminal) -> None:
        self._ended = True
        self._items.append(terminal)
        self._filled.set()

    def _usage(self) -> Usage:
        """As far as this side knows: nothing was used before the engine took the work on."""
        if not self.started:
            return Usage()
        return Usage(prompt_tokens=self.prompt_tokens, completion_tokens=self._received_tokens)


def _join(pile: list[TextDelta]) -> TextDelta:
    tokens: list[int] = []
    logprobs: list[PositionLogprobs] = []
    for delta in pile:
        tokens.extend(delta.tokens)
        logprobs.extend(delta.logprobs)
    text = "".join(delta.text for delta in pile)
    return TextDelta(pile[0].choice, text, tuple(tokens), tuple(logprobs))


def _fell_behind(buffered_tokens: int) -> Failure:
    return Failure(
        kind=FailureKind.CANCELLED,
        stage=Stage.RESPONSE,
        message=f"The reader of this stream fell {buffered_tokens} tokens behind, so generation "
        "was stopped. Read faster, or ask for the answer without streaming.",
        detail={"buffered_tokens": buffered_tokens},
    )
