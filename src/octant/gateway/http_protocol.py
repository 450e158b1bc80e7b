"""HTTP protocol: uvicorn's, with the bounds it lacks on connections, heads and refused bodies.

Law: connections are counted, one that has not sent a complete head in time is closed, a head never
grows past its bound, and bytes that arrive after a refusal are counted. What is refused here gets
the JSON shape and an id like every other error, but never in the middle of another answer. Give the
class to uvicorn as `http=`.
"""

import asyncio
import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from octant.core import ids
from octant.core.events import RequestRefused
from octant.core.failure import Failure, FailureKind
from octant.core.stage import Stage
from octant.core.units import NS_PER_S
from octant.gateway.failures import error_body, error_headers
from octant.gateway.settings import GatewaySettings
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.sink import EventSink

_log = logging.getLogger(__name__)

_FULL_RETRY_NS = NS_PER_S


class HeadTooLarge(Exception):
    """Stops the parser; the refusal is sent, or the connection closes after its answer."""


class BoundedHttp(HttpToolsProtocol):
    """One connection. Subclasses made by `bounded_http` carry what it needs from outside."""

    bounds: GatewaySettings
    entropy: Entropy
    clock: Clock
    events: EventSink

    _head_bytes = 0
    _unparsed_bytes = 0
    _discarded_bytes = 0
    _reading_body = False
    _silent = True
    _deaf = False
    _head_timer: asyncio.TimerHandle | None = None

    # As uvicorn declares it; asyncio's own signature names the base of Transport.
    def connection_made(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        transport: asyncio.Transport,
    ) -> None:
        """Refuses the connection when too many are open; its first head is timed from here."""
        super().connection_made(transport)
        if len(self.connections) > self.bounds.max_connections:
            self._refuse(
                FailureKind.OVERLOADED,
                f"All {self.bounds.max_connections} connections of this server are in use. "
                "Reuse connections, or try again shortly.",
                _FULL_RETRY_NS,
            )
        else:
            self._arm()

    def data_received(self, data: bytes) -> None:
        """Arms the timer with the first byte of a head, whatever that byte is."""
        self._silent = False
        if self._deaf:
            return
        if not (self._reading_body or self._answering):
            self._arm()
        self._unparsed_bytes += len(data)
        super().data_received(data)
        # The parser tells of a header once it is whole, and keeps it until then.
        if self._unparsed_bytes > self.bounds.max_header_bytes:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head_bytes = self._discarded_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Counts the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts a header."""
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head has arrived in time."""
        self._unparsed_bytes = 0
        self._disarm()
        self._reading_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Counts what arrives after the answer; the rest of a refused body is not read forever."""
        self._unparsed_bytes = 0
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > self.bounds.max_body_bytes:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next byte belongs to another head."""
        self._unparsed_bytes = 0
        self._reading_body = False
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is timed any more."""
        self._disarm()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Called for bytes that are not HTTP; the connection is closed afterwards."""
        self._refuse(
            FailureKind.INVALID_VALUE,
            "The bytes received are not a valid HTTP/1.1 request. Check the client.",
        )

    def _count(self, size: int) -> None:
        self._unparsed_bytes -= size
        self._head_bytes += size
        if self._head_bytes > self.bounds.max_header_bytes:
            self._refuse_head()
            raise HeadTooLarge

    @property
    def _answering(self) -> bool:
        """Whether an answer is under way or owed, so that a refusal would be taken for it."""
        cycle = self.cycle
        if not cycle or cycle.response_complete:
            return False
        return bool(cycle.response_started or not cycle.more_body or self.pipeline)

    def _arm(self) -> None:
        if self._head_timer is None:
            seconds = self.bounds.header_read_timeout_ms / 1000
            self._head_timer = self.loop.call_later(seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._silent:
            # Nothing was asked, so nothing is answered.
            self.transport.close()
        else:
            self._refuse(
                FailureKind.REQUEST_TIMEOUT,
                "The request line and headers did not arrive within "
                f"{self.bounds.header_read_timeout_ms} ms. Send them faster.",
            )

    def _refuse_head(self) -> None:
        self._refuse(
            FailureKind.REQUEST_TOO_LARGE,
            f"The request line and headers are larger than {self.bounds.max_header_bytes} bytes. "
            "Send fewer or shorter headers.",
        )

    def _refuse(self, kind: FailureKind, message: str, retry_after_ns: int | None = None) -> None:
        if self.transport.is_closing():
            return
        if self._answering:
            # Nothing more is heard, and the connection closes after the answer.
            self._deaf, self.cycle.keep_alive = True, False
            return
        failure = Failure(
            kind=kind, stage=Stage.BOUNDARY, message=message, retry_after_ns=retry_after_ns
        )
        request_id = ids.request_id(self.entropy.bytes(ids.ID_ENTROPY_BYTES))
        _log.info("request %s refused: %s", request_id, kind.value)
        self.events.emit(RequestRefused(at_ns=self.clock.monotonic_ns(), failure=failure))
        body = error_body(failure, request_id)
        headers = [
            (b"x-request-id", request_id.encode()),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *error_headers(failure),
        ]
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %d \r\n%s\r\n%s" % (failure.rule.status, head, body))
        self.transport.close()

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def bounded_http(
    settings: GatewaySettings, entropy: Entropy, clock: Clock, events: EventSink
) -> type[BoundedHttp]:
    """The protocol class with the bounds of `settings`; what it refuses is told to `events`."""
    carried = {"bounds": settings, "entropy": entropy, "clock": clock, "events": events}
    return type("BoundedHttp", (BoundedHttp,), carried)
