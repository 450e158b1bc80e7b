"""Reply: the one way out of the application, for whole answers, refusals and streams.

Law: a response starts at most once, and every response carries the ids of its request.
"""

from collections.abc import Callable, Sequence

from starlette.types import Send

from octant.core.failure import Failure
from octant.gateway.failures import Header, error_body, error_headers
from octant.gateway.headers import Head

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"
CLOSE: Header = (b"connection", b"close")


class Reply:
    """One response. `extra` and what `late` gives when it starts are added to whatever is sent,
    and the `ids` of the request."""

    def __init__(self, send: Send, head: Head) -> None:
        self._send = send
        self._request_id = head.request_id
        self.ids: list[Header] = [
            (b"x-request-id", head.request_id.encode()),
            (b"x-octant-trace-id", head.trace_id.encode()),
        ]
        self.extra: list[Header] = []
        self.late: Callable[[], list[Header]] = list
        self.started = False

    async def whole(
        self, status: int, content_type: bytes, body: bytes, more: Sequence[Header] = ()
    ) -> None:
        """A complete response."""
        length = (b"content-length", b"%d" % len(body))
        await self._start(status, [(b"content-type", content_type), length, *more])
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def failure(
        self, failure: Failure, more: Sequence[Header] = (), body: bytes | None = None
    ) -> None:
        """A failure's status and headers, with `body` or else a refusal in OpenAI's shape."""
        sent = [*error_headers(failure), *more]
        shown = error_body(failure, self._request_id) if body is None else body
        await self.whole(failure.rule.status, JSON, shown, sent)

    async def start_stream(self) -> None:
        """The head of a stream of events; status 200 is decided from here on."""
        await self._start(
            200,
            [
                (b"content-type", EVENT_STREAM),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),
            ],
        )

    async def chunk(self, data: bytes) -> None:
        """More of a stream; returns when the transport takes more."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end_stream(self) -> None:
        """The end of a stream."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, status: int, headers: list[Header]) -> None:
        assert not self.started, "a response starts once"
        self.started = True
        sent = headers + self.ids + self.extra + self.late()
        await self._send({"type": "http.response.start", "status": status, "headers": sent})
