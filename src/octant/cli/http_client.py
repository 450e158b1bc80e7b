"""HTTP client: requests to an Octant server over one kept connection.

Law: one exchange at a time; body bytes are handed on as they arrive, before the exchange ends, so
a stream costs no queue and no task switch per piece. A connection that failed is not used again.
Foreign exceptions end here and become `Failed`.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

import httptools

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

CONNECT_TIMEOUT_S = 5.0
MAX_BODY_BYTES = 64 * 1024 * 1024

OnBody = Callable[[bytes], None]


class Answer(NamedTuple):
    """Status, headers (names in lower case) and, unless it was handed on, the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's JSON value. Raises Failed(UPSTREAM_FAILURE) when it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            start = self.body[:80].decode(errors="replace")
            raise unavailable(
                f"The server answered {self.status} with something that is not JSON: {start!r}. "
                "Check that the address is that of an Octant server."
            ) from error


class HttpConnection(asyncio.Protocol):
    """One connection to one server; `exchange` sends a request and waits for its answer."""

    def __init__(self, address: SplitResult) -> None:
        self._host = address.netloc.rpartition("@")[2]
        self._prefix = address.path.rstrip("/")
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._done: asyncio.Future[None] | None = None
        self._on_body: OnBody | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    @property
    def closed(self) -> bool:
        """Whether another exchange is impossible."""
        return self._transport is None or self._transport.is_closing()

    async def exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        on_body: OnBody | None = None,
    ) -> Answer:
        """Sends and waits for the end of the answer; with `on_body` a 2xx body goes there.

        Raises Failed(UPSTREAM_FAILURE) when the connection breaks before the answer is complete.
        """
        assert self._done is None, "one exchange at a time"
        if self._transport is None or self.closed:
            raise unavailable(f"The connection to {self._host} is closed. Is the server running?")
        self._on_body, self._headers, self._body = on_body, {}, bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(self._head(method, path, headers, body) + body)
        try:
            await self._done
            return Answer(self._parser.get_status_code(), self._headers, bytes(self._body))
        finally:
            self._done = None

    def close(self) -> None:
        """Cuts the connection; an exchange in progress fails."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with every piece that arrives."""
        if self._done is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"{self._host} does not speak HTTP: {error}.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio when the connection is gone, for whatever reason."""
        cause = f" ({exc})" if exc is not None else ""
        self._fail(f"{self._host} closed the connection before its answer was complete{cause}.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Called by the parser with body bytes, chunk framing removed."""
        if self._on_body is not None and 200 <= self._parser.get_status_code() < 300:
            self._on_body(body)
        elif len(self._body) + len(body) > MAX_BODY_BYTES:
            self._fail(f"{self._host} answered with more than {MAX_BODY_BYTES} bytes.")
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser at the end of the answer."""
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _head(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _fail(self, message: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(unavailable(message + " Try again."))
        self.close()


async def connect(url: str) -> HttpConnection:
    """A connection to `http://host:port` or `https://...`. Raises Failed when nobody answers."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise Failed(
            Failure(
                kind=FailureKind.INVALID_VALUE,
                stage=Stage.BOUNDARY,
                message=f"`{url}` is not the address of a server. Write http://HOST:PORT.",
                param="--url",
            )
        )
    port = address.port or (443 if address.scheme == "https" else 80)
    encrypted = ssl.create_default_context() if address.scheme == "https" else None
    loop = asyncio.get_running_loop()
    opening = loop.create_connection(
        lambda: HttpConnection(address), address.hostname, port, ssl=encrypted
    )
    try:
        _, connection = await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        raise unavailable(
            f"No server answers at {url} ({error or 'timed out'}). Start one with `octant serve`, "
            "or name another with --url."
        ) from error
    return connection


def unavailable(message: str) -> Failed:
    """The failure of a server that cannot be used."""
    return Failed(Failure(kind=FailureKind.UPSTREAM_FAILURE, stage=Stage.BOUNDARY, message=message))
