"""Exchange: one request's items to one caller, whole or streamed, until either side ends it.

    path.run(envelope, hangup) -> answer -> reply     beside it: is the caller there, is it reading?

Law: whatever ends an exchange (answer, failure, disconnect, slow reader, overdue) the path's
generator is closed before the exchange returns, and told why when the gateway ends it. Status 200
is sent with the first bytes, so a failure before them is an ordinary error; after them a failure is
one error event without `[DONE]`. A slow reader holds back the generator: nothing is buffered here
beyond one item.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple, Never, NoReturn

from starlette.types import Receive

from octant.core.envelope import RequestEnvelope
from octant.core.failure import DEFECT, Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.core.stream import Broken, Completed, Started, StreamItem, TextDelta, ToolRan
from octant.core.units import NS_PER_MS, s_from_ns
from octant.core.usage import Usage
from octant.gateway.body import ClientGone
from octant.gateway.dialects.dialect import StreamAnswer, WholeAnswer
from octant.gateway.reply import Reply
from octant.gateway.services import GatewayServices
from octant.gateway.sse import KEEP_ALIVE
from octant.orchestration.hangup import Hangup

_log = logging.getLogger(__name__)

_TICKS_PER_LIMIT = 4


class SlowReader(Exception):
    """The caller holds the connection open and does not read."""


class Answered(NamedTuple):
    """A whole answer; `failure` is set where it is one."""

    body: bytes
    failure: Failure | None = None


class Exchange:
    """What both kinds of answer need; one per request."""

    def __init__(self, services: GatewayServices, envelope: RequestEnvelope) -> None:
        self._clock = services.clock
        self._settings = services.settings
        self._request_id = envelope.request_id
        self._hangup = Hangup()
        self._path = services.path.run(envelope, self._hangup)
        grace_ns = services.settings.overdue_grace_ms * NS_PER_MS
        self._overdue_ns = envelope.deadline.at_ns + grace_ns

    async def whole(self, receive: Receive, answer: WholeAnswer) -> "Answered":
        """The whole answer, also when it is a failure. Raises ClientGone."""
        try:
            return await _first_of(self._collect(answer), _left(receive), self._overdue())
        except Failed as error:
            return _failed(answer, Broken(error.failure, Usage()))

    async def _collect(self, answer: WholeAnswer) -> "Answered":
        async with self._items() as items:
            async for item in items:
                if isinstance(item, Broken):
                    return _failed(answer, item)
                if isinstance(item, Completed):
                    return Answered(answer.body(item))
                answer.add(item)
        raise Failed(_NO_END)

    async def _overdue(self) -> Never:
        """The path ends requests at their deadline; this ends one that outlived it."""
        await self._clock.sleep(max(0, self._overdue_ns - self._clock.monotonic_ns()))
        self._hang_up(_OVERDUE)

    @asynccontextmanager
    async def _items(self) -> AsyncGenerator[AsyncGenerator[StreamItem, None], None]:
        """The path's items until the scope is left; a defect met inside becomes Failed(DEFECT)."""
        async with aclosing(self._path) as items:
            try:
                yield items
            except Failed:
                raise
            except Exception:
                # A defect of ours must be answered, recorded as one, and named in the log.
                _log.exception("request %s met a defect in the gateway", self._request_id)
                self._hang_up(DEFECT)

    def _hang_up(self, failure: Failure) -> NoReturn:
        """Ends the request; what the caller is told is also what is recorded. Raises Failed."""
        self._hangup.failure = failure
        raise Failed(failure)


class StreamExchange(Exchange):
    """An answer as events."""

    def __init__(
        self,
        services: GatewayServices,
        envelope: RequestEnvelope,
        reply: Reply,
        keep_alive_ns: int,
    ) -> None:
        super().__init__(services, envelope)
        self._reply = reply
        self._keep_alive_ns = keep_alive_ns
        self._slow_ns = self._settings.slow_reader_timeout_ms * NS_PER_MS
        self._idle_ns = self._settings.idle_timeout_ms * NS_PER_MS
        self._turn = asyncio.Lock()
        self._write_ns = self._clock.monotonic_ns()
        self._spoke_ns: int | None = None

    async def run(self, receive: Receive, answer: StreamAnswer) -> Broken | None:
        """Sends the stream; what breaks it before the first byte is returned and not sent.

        Raises ClientGone and SlowReader.
        """
        try:
            broken = await _first_of(self._pump(answer), _left(receive), self._tend())
        except Failed as error:
            broken = Broken(error.failure, Usage())
        if broken is not None:
            if not self._reply.started:
                return broken
            await self._bounded(self._write(answer.failure(broken)))
        await self._bounded(self._reply.end_stream())
        return None

    async def _pump(self, answer: StreamAnswer) -> Broken | None:
        """The failure that ended the path, where one did."""
        async with self._items() as items:
            async for item in items:
                self._heard(item)
                if isinstance(item, Broken):
                    return item
                if isinstance(item, Completed):
                    await self._write(answer.end(item))
                    return None
                data = answer.events(item)
                if data:
                    await self._write(data)
        raise Failed(_NO_END)

    def _heard(self, item: StreamItem) -> None:
        """After a tool has run, the next model call may wait as the first one did."""
        if isinstance(item, ToolRan):
            self._spoke_ns = None
        elif self._spoke_ns is not None or _is_generated(item):
            self._spoke_ns = self._clock.monotonic_ns()

    async def _write(self, data: bytes) -> None:
        async with self._turn:
            self._write_ns = self._clock.monotonic_ns()
            if not self._reply.started:
                await self._reply.start_stream()
            await self._reply.chunk(data)

    async def _tend(self) -> Never:
        """Keeps a quiet stream alive and ends one that nobody reads or nothing comes on."""
        tick_ns = min(self._keep_alive_ns, self._slow_ns, self._idle_ns) // _TICKS_PER_LIMIT
        while True:
            await self._clock.sleep(max(tick_ns, NS_PER_MS))
            now_ns = self._clock.monotonic_ns()
            if now_ns >= self._overdue_ns:
                self._hang_up(_OVERDUE)
            if self._turn.locked():
                if now_ns - self._write_ns >= self._slow_ns:
                    self._cut_off()
            else:
                await self._tend_quiet(now_ns)

    async def _tend_quiet(self, now_ns: int) -> None:
        # Before the model speaks it may queue or read a long prompt: only the deadline counts.
        if self._spoke_ns is not None and now_ns - self._spoke_ns >= self._idle_ns:
            self._hang_up(_idle(self._settings.idle_timeout_ms))
        if now_ns - self._write_ns >= self._keep_alive_ns:
            await self._bounded(self._write(KEEP_ALIVE))

    async def _bounded(self, write: Coroutine[Any, Any, None]) -> None:
        """A write that `_tend` cannot watch. Raises SlowReader."""
        try:
            async with asyncio.timeout(s_from_ns(self._slow_ns)):
                await write
        except TimeoutError:
            self._cut_off()

    def _cut_off(self) -> NoReturn:
        """Ends the request of a caller to whom nothing can be said any more. Raises SlowReader."""
        self._hangup.failure = _slow_reader(self._settings.slow_reader_timeout_ms)
        raise SlowReader


async def _first_of(work: Coroutine[Any, Any, Any], *guards: Coroutine[Any, Any, Never]) -> Any:
    """The result of `work`, or the exception of the guard that ends it; all have ended then."""
    working = asyncio.create_task(work)
    watching = [asyncio.create_task(guard) for guard in guards]
    try:
        await asyncio.wait([working, *watching], return_when=asyncio.FIRST_COMPLETED)
        # A finished answer is worth more than the reason to stop that came with it.
        ended = working if working.done() else next(task for task in watching if task.done())
        return ended.result()
    finally:
        tasks = [working, *watching]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _left(receive: Receive) -> Never:
    """Raises ClientGone when the caller closes the connection."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone


def _is_generated(item: StreamItem) -> bool:
    """Whether the model has spoken; an echo of the prompt covers no tokens and comes before."""
    return bool(item.tokens) if isinstance(item, TextDelta) else not isinstance(item, Started)


def _failed(answer: WholeAnswer, end: Broken) -> Answered:
    return Answered(answer.failure(end), end.failure)


def _idle(limit_ms: int) -> Failure:
    return Failure(
        kind=FailureKind.ENGINE_STALLED,
        stage=Stage.RESPONSE,
        message=f"Nothing was generated for {limit_ms} ms. The answer is partial; try again.",
    )


def _slow_reader(limit_ms: int) -> Failure:
    return Failure(
        kind=FailureKind.CANCELLED,
        stage=Stage.RESPONSE,
        message=f"The caller did not read its stream for {limit_ms} ms, so it was cut off. "
        "Read faster, or ask for the answer without streaming.",
    )


_OVERDUE = Failure(
    kind=FailureKind.DEADLINE_EXCEEDED,
    stage=Stage.RESPONSE,
    message="The request outlived its deadline and was stopped. Allow more time or ask for less.",
)
_NO_END = Failure(
    kind=FailureKind.STREAM_TRUNCATED,
    stage=Stage.RESPONSE,
    message="The answer ended without saying whether it is complete; treat it as partial.",
)
