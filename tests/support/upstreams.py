"""The upstream adapter against a server that a test plays, with a work to send it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from octant.adapters.openai_upstream.provider import UpstreamProvider
from octant.adapters.openai_upstream.session import open_session
from octant.adapters.openai_upstream.settings import UpstreamSettings
from octant.adapters.system.clock import SystemClock
from octant.core.events import AnyEvent
from octant.core.failure import Failure
from octant.core.ids import RequestId, RouteId, SpanId, TenantId, TraceId
from octant.core.limits import Profile
from octant.core.sampling import Sampling
from octant.core.stream import Broken, Completed, StreamItem
from octant.core.units import NS_PER_MS, NS_PER_S
from octant.core.work import ModelWork
from tests.support.envelopes import chat
from tests.support.faulty_upstream import Asked, FaultyUpstream, Reply

CLOCK = SystemClock()
ROUTE = RouteId("spare")


class Events(list[AnyEvent]):
    """An event sink that keeps everything."""

    def emit(self, event: AnyEvent) -> None:
        self.append(event)


class Spare(NamedTuple):
    """A provider and the server behind it."""

    provider: UpstreamProvider
    server: FaultyUpstream
    events: Events

    async def ask(self, asked: ModelWork) -> list[StreamItem]:
        """All items; there is one terminal item, and it is the last."""
        async with self.provider.generate(asked) as items:
            got = [item async for item in items]
        assert [isinstance(item, Completed | Broken) for item in got] == [False] * (
            len(got) - 1
        ) + [True]
        self.provider.check_integrity()
        return got

    async def failure(self, asked: ModelWork) -> Failure:
        """What a work ends with that has to fail."""
        broken = (await self.ask(asked))[-1]
        assert isinstance(broken, Broken), broken
        return broken.failure


async def until(holds: Callable[[], bool]) -> None:
    """Lets everything else run until `holds`."""
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")


def work(seconds: float = 30, attempt: int = 1, **changes: Any) -> ModelWork:
    """One user message with so much time."""
    now_ns = CLOCK.monotonic_ns()
    ordinary = ModelWork(
        request_id=RequestId("req_1"),
        attempt=attempt,
        tenant=TenantId("acme"),
        profile=Profile.INTERACTIVE,
        cache_salt="",
        input=chat("Hello"),
        prompt_tokens=(),
        sampling=Sampling(),
        seed=1,
        received_ns=now_ns,
        deadline_ns=now_ns + int(seconds * NS_PER_S),
        trace_id=TraceId("0" * 31 + "1"),
        span_id=SpanId("0" * 15 + "2"),
    )
    return msgspec.structs.replace(ordinary, **changes)


@asynccontextmanager
async def spare(
    reply: Callable[[Asked], Reply] | Reply, **changes: Any
) -> AsyncGenerator[Spare, None]:
    """A ready provider; limits are short, so that tests which reach them are."""
    answers = reply if callable(reply) else (lambda _: reply)
    events = Events()
    async with FaultyUpstream(answers).running() as server, open_session("test") as session:
        settings = UpstreamSettings(
            route=ROUTE,
            base_url=server.url,
            model="their-model",
            max_context=1_000,
            check_ns=50 * NS_PER_MS,
        )._replace(**changes)
        provider = UpstreamProvider(settings, session, CLOCK, events)
        watching = asyncio.create_task(provider.watch())
        try:
            await until(lambda: bool(events))
            yield Spare(provider, server, events)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
