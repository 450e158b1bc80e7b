"""UpstreamProvider: an OpenAI-compatible server as a Provider.

Law: each work is answered by exactly one terminal item and holds one connection, which it gives
back or cuts however it ends. At most so many are sent at once as the upstream takes; further ones
wait here in order. A server that cannot be reached takes no work until it lists its models again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import aiohttp

from octant.adapters.openai_upstream import failures, wire
from octant.adapters.openai_upstream.chunks import BYTES_PER_TOKEN, AnswerBounds, ChunkReader
from octant.adapters.openai_upstream.exchange import Unreachable, credentials, exchange, is_there
from octant.adapters.openai_upstream.settings import UpstreamSettings
from octant.core.events import EngineStateChanged
from octant.core.failure import Failed
from octant.core.limits import Profile
from octant.core.route import DeploymentState, RouteLoad
from octant.core.stream import Broken, Started, StreamItem
from octant.core.units import s_from_ns
from octant.core.work import ModelWork
from octant.ports.clock import Clock
from octant.ports.provider import ProviderFacts
from octant.ports.sink import EventSink

ENGINE = "openai_upstream"
_log = logging.getLogger(__name__)


class UpstreamProvider:
    """Implements ports.provider.Provider. Belongs to one event loop; `watch` has to run on it."""

    def __init__(
        self,
        settings: UpstreamSettings,
        session: aiohttp.ClientSession,
        clock: Clock,
        events: EventSink,
    ) -> None:
        self._settings = settings
        self._session = session
        self._clock = clock
        self._events = events
        self._state = DeploymentState.LOADING
        self._reason = ""
        self._suspected = asyncio.Event()
        self._checked = asyncio.Event()
        self._places = asyncio.Semaphore(settings.max_connections)
        self._running = 0
        self._waiting = 0
        self._waiting_tokens = dict.fromkeys(Profile, 0)

    def facts(self) -> ProviderFacts:
        """What is known of it without asking: its name for the model, not what computes it."""
        return ProviderFacts(
            artifact_digest="",
            engine=ENGINE,
            engine_version="",
            weight_precision="",
            kv_precision="",
            max_context=self._settings.max_context,
            flags={"model": self._settings.model},
        )

    def load(self) -> RouteLoad:
        """What this server has sent it; what others do there is not known."""
        ready = self._state is DeploymentState.READY
        return RouteLoad(
            state=self._state,
            reason=self._reason,
            running=self._running,
            waiting=self._waiting,
            waiting_tokens_by_profile={
                profile: tokens for profile, tokens in self._waiting_tokens.items() if tokens
            },
            retry_after_ns=None if ready else self._settings.check_ns,
        )

    @asynccontextmanager
    async def generate(self, work: ModelWork) -> AsyncGenerator[AsyncIterator[StreamItem], None]:
        """Sends the work; leaving the context early cuts the connection."""
        async with aclosing(self._answer(work)) as items:
            yield items

    async def watch(self) -> None:
        """Asks at the start and whenever the server could not be reached; runs until cancelled."""
        while True:
            problem = await self._problem()
            self._checked.set()
            if problem is not None:
                self._move(DeploymentState.FAILED, problem)
                await asyncio.sleep(s_from_ns(self._settings.check_ns))
                continue
            self._suspected.clear()
            self._move(DeploymentState.READY, "")
            await self._suspected.wait()

    async def checked(self) -> None:
        """Returns when the first check is over, whatever it found."""
        await self._checked.wait()

    def check_integrity(self) -> None:
        """Raises AssertionError when the counts of works contradict each other."""
        assert 0 <= self._running <= self._settings.max_connections
        assert all(tokens >= 0 for tokens in self._waiting_tokens.values())
        assert bool(self._waiting) == any(self._waiting_tokens.values())

    async def _answer(self, work: ModelWork) -> AsyncGenerator[StreamItem, None]:
        prompt_tokens = wire.prompt_bytes(work) // BYTES_PER_TOKEN + 1
        bounds = AnswerBounds(work.sampling.n, self._settings.max_context, prompt_tokens)
        reader = ChunkReader(self._settings.route, bounds)
        try:
            async with (
                self._place(work, prompt_tokens),
                aclosing(self._items(work, reader, prompt_tokens)) as items,
            ):
                async for item in items:
                    yield item
        except Unreachable as error:
            self._suspect()
            yield Broken(error.failure, reader.usage)
        except Failed as error:
            yield Broken(error.failure, reader.usage)

    async def _items(
        self, work: ModelWork, reader: ChunkReader, prompt_tokens: int
    ) -> AsyncGenerator[StreamItem, None]:
        settings = self._settings
        request = wire.request_of(work, settings.model)
        headers = self._headers(work)
        async with exchange(
            self._session, settings, self._clock, request, headers, work.deadline_ns
        ) as answer:
            started = False
            async with aclosing(answer.events()) as events:
                async for together in events:
                    items, failure = reader.feed_all(together)
                    # A head proves little: servers say that they are busy in the first event, too.
                    if not started and (items or failure is None):
                        started = True
                        yield Started(settings.route, work.attempt, prompt_tokens)
                    if reader.done:
                        await answer.finish()
                    for item in items:
                        yield item
                    if failure is not None:
                        raise Failed(failure)
                    if reader.done:
                        return
            raise Failed(failures.truncated(settings.route, "it ended without [DONE]"))

    @asynccontextmanager
    async def _place(self, work: ModelWork, prompt_tokens: int) -> AsyncGenerator[None, None]:
        """One of the requests that the upstream is sent at once. Raises Failed when none is free in
        the time that the head of an answer may take.
        """
        settings = self._settings
        left_ns = work.deadline_ns - self._clock.monotonic_ns()
        limit_ns = max(min(settings.first_byte_ns, left_ns // 2), 0)
        self._waiting += 1
        self._waiting_tokens[work.profile] += prompt_tokens
        try:
            async with asyncio.timeout(s_from_ns(limit_ns)):
                await self._places.acquire()
        except TimeoutError as error:
            raise Failed(failures.crowded(settings.route, settings.max_connections)) from error
        finally:
            self._waiting -= 1
            self._waiting_tokens[work.profile] -= prompt_tokens
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._places.release()

    async def _problem(self) -> str | None:
        try:
            return await is_there(self._session, self._settings)
        # A defect of a check costs this route until the next one, not the server.
        except Exception:
            _log.exception("checking upstream %s met a defect", self._settings.route)
            return "it could not be checked"

    def _headers(self, work: ModelWork) -> dict[str, str]:
        """Who asks is not told; by these ids both sides find the same request in their records."""
        left_ns = work.deadline_ns - self._clock.monotonic_ns()
        headers = credentials(self._settings) | {
            "x-request-id": work.request_id,
            "x-client-request-id": work.request_id,
            "x-octant-attempt": str(work.attempt),
            "x-octant-deadline-ms": str(max(int(1_000 * s_from_ns(left_ns)), 1)),
        }
        if work.trace_id and work.span_id:
            headers["traceparent"] = f"00-{work.trace_id}-{work.span_id}-01"
        return headers

    def _suspect(self) -> None:
        self._move(DeploymentState.FAILED, "it cannot be reached")
        self._suspected.set()

    def _move(self, state: DeploymentState, reason: str) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        self._state, self._reason = state, reason
        self._events.emit(
            EngineStateChanged(
                at_ns=self._clock.monotonic_ns(),
                route=self._settings.route,
                state=state,
                reason=reason,
            )
        )
