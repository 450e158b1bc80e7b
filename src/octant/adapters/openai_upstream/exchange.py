"""Exchange: one request to an upstream and the pieces of its answer, each within its time.

Law: a foreign exception ends here and becomes Failed. No wait is without a limit: the head has its
own, silence has one, and the deadline cuts both. A sender that sends single bytes is silent, too:
what counts is complete lines.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from octant.adapters.openai_upstream import failures
from octant.adapters.openai_upstream.settings import UpstreamSettings
from octant.adapters.openai_upstream.sse import OversizedEvent, SseReader
from octant.adapters.openai_upstream.wire import WireRequest
from octant.core.failure import Failed, Failure
from octant.core.stage import Stage
from octant.core.units import s_from_ns
from octant.ports.clock import Clock

_EVENT_STREAM = "text/event-stream"
_MAX_ERROR_BYTES = 1 << 16
# A connection is worth keeping, but not worth holding up an answer that is complete.
_END_WAIT_S = 0.05


class Unreachable(Failed):
    """Nobody answers at the address at all."""


class UpstreamAnswer:
    """An answer with status 200 that says it is a stream of events."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        settings: UpstreamSettings,
        clock: Clock,
        deadline_ns: int,
    ) -> None:
        self._response = response
        self._settings = settings
        self._clock = clock
        self._deadline_ns = deadline_ns

    async def events(self) -> AsyncGenerator[list[bytes], None]:
        """The data of the events that arrive together, until the answer ends.

        Raises Failed when it breaks off.
        """
        settings, reader = self._settings, SseReader()
        received = lines = 0
        alive_ns = self._clock.monotonic_ns()
        while piece := await self._piece(alive_ns + settings.idle_ns):
            received += len(piece)
            if received > settings.max_answer_bytes:
                raise self._failed(f"sent more than {settings.max_answer_bytes} bytes")
            try:
                together = list(reader.feed(piece))
            except OversizedEvent as error:
                raise self._failed(f"sent {error}") from error
            if together:
                yield together
            if reader.lines > lines:
                lines, alive_ns = reader.lines, self._clock.monotonic_ns()

    async def finish(self) -> None:
        """Reads what ends the answer, so that its connection can be used again."""
        try:
            async with asyncio.timeout(_END_WAIT_S):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, OSError):
            # Nothing is lost with it: the answer is complete, and a new connection can be made.
            self._response.close()

    async def _piece(self, until_ns: int) -> bytes:
        """What arrives next; empty at the end of the answer."""
        now_ns = self._clock.monotonic_ns()
        limit_ns = min(until_ns, self._deadline_ns)
        try:
            async with asyncio.timeout(s_from_ns(max(limit_ns - now_ns, 0))):
                return await self._response.content.readany()
        except TimeoutError as error:
            raise Failed(self._silent(until_ns)) from error
        except (aiohttp.ClientError, OSError) as error:
            what = "the connection was lost"
            raise Failed(failures.truncated(self._settings.route, what)) from error

    def _silent(self, until_ns: int) -> Failure:
        if self._deadline_ns <= until_ns:
            return failures.late(self._settings.route)
        seconds = s_from_ns(self._settings.idle_ns)
        return failures.truncated(self._settings.route, f"no line for {seconds:g} s")

    def _failed(self, what: str) -> Failed:
        return Failed(failures.failed(self._settings.route, what, stage=Stage.DECODE))


@asynccontextmanager
async def exchange(
    session: aiohttp.ClientSession,
    settings: UpstreamSettings,
    clock: Clock,
    request: WireRequest,
    headers: Mapping[str, str],
    deadline_ns: int,
) -> AsyncGenerator[UpstreamAnswer]:
    """Sends the request; leaving the context early cuts the connection, which cancels the work.

    Raises Failed for every answer that is no stream, Unreachable when there is none.
    """
    left_ns = deadline_ns - clock.monotonic_ns()
    if left_ns <= 0:
        raise Failed(failures.late(settings.route))
    limit_s = s_from_ns(min(settings.first_byte_ns, left_ns // 2))
    try:
        async with asyncio.timeout(limit_s):
            response = await session.post(
                settings.base_url + request.path,
                data=request.body,
                headers={"content-type": "application/json", "accept": _EVENT_STREAM, **headers},
                allow_redirects=False,
                timeout=_timeouts(settings),
            )
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise _unanswered(settings, error, limit_s) from error
    try:
        await _check(response, settings, limit_s)
        yield UpstreamAnswer(response, settings, clock, deadline_ns)
    finally:
        response.release()


async def is_there(session: aiohttp.ClientSession, settings: UpstreamSettings) -> str | None:
    """Asks for the list of models; None when the server is well, else what is wrong."""
    try:
        async with (
            asyncio.timeout(s_from_ns(settings.check_ns)),
            session.get(
                settings.base_url + "/models",
                headers=credentials(settings),
                allow_redirects=False,
                timeout=_timeouts(settings),
            ) as response,
        ):
            status = response.status
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        return f"it cannot be reached ({_kind(error)})"
    # A server without such a list is well; the key is tried by the first request.
    return f"it answers with status {status}" if status >= 500 else None


def credentials(settings: UpstreamSettings) -> dict[str, str]:
    """The header with the operator's key, if there is one."""
    return {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}


async def _check(
    response: aiohttp.ClientResponse, settings: UpstreamSettings, limit_s: float
) -> None:
    if response.status == 200:
        if response.content_type != _EVENT_STREAM:
            what = f"answered with {response.content_type[:64]} in place of {_EVENT_STREAM}"
            raise Failed(failures.failed(settings.route, what))
        return
    body = await _error_body(response, limit_s)
    raise Failed(failures.of_status(settings.route, response.status, response.headers, body))


async def _error_body(response: aiohttp.ClientResponse, limit_s: float) -> bytes:
    """As much as there is in time; the status says the most anyway."""
    body = b""
    try:
        async with asyncio.timeout(limit_s):
            while len(body) < _MAX_ERROR_BYTES and (piece := await response.content.readany()):
                body += piece
    except (TimeoutError, aiohttp.ClientError, OSError):
        return b""
    return body


def _unanswered(settings: UpstreamSettings, error: Exception, limit_s: float) -> Failed:
    connecting = aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError
    if isinstance(error, connecting):
        return Unreachable(failures.failed(settings.route, f"cannot be reached ({_kind(error)})"))
    if isinstance(error, TimeoutError):
        what = f"did not begin to answer within {limit_s:.3g} s"
        return Failed(failures.failed(settings.route, what))
    return Failed(failures.failed(settings.route, f"did not answer ({_kind(error)})"))


def _kind(error: Exception) -> str:
    """The name of the error alone: its text can hold addresses."""
    return type(error).__name__


def _timeouts(settings: UpstreamSettings) -> aiohttp.ClientTimeout:
    """Only connecting is left to aiohttp; it counts bytes where progress is meant."""
    return aiohttp.ClientTimeout(total=None, sock_connect=s_from_ns(settings.connect_ns))
