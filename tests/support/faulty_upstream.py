"""An upstream that misbehaves: a plain TCP server that says exactly what a test wants said.

It reads one request, answers with given bytes in given pieces, and closes or stays silent. Nothing
of Octant is in it, so what the adapter makes of broken answers is tested against real sockets.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LIST = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Reply(NamedTuple):
    """What is answered. `hang` leaves the connection open afterwards, `pace_s` parts the pieces."""

    pieces: Sequence[bytes]
    hang: bool = False
    pace_s: float = 0.0


class Asked(NamedTuple):
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: dict[str, Any]


class FaultyUpstream:
    """Answers each request with what `reply` says; requests for the list of models succeed."""

    def __init__(self, reply: Callable[[Asked], Reply]) -> None:
        self.reply = reply
        self.asked: list[Asked] = []
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """Connections that have not been closed."""
        return len(self._serving)

    @property
    def url(self) -> str:
        """The base URL."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}/v1"

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["FaultyUpstream", None]:
        """Listens until the scope is left."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def start(self, url: str = "http://127.0.0.1:0") -> None:
        """Listens, on the port of an earlier URL if one is given."""
        port = urlsplit(url).port
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)

    async def stop(self) -> None:
        """Closes everything; further connections are refused."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (asked := await _request(reader)) is not None:
                if asked.line.startswith("GET"):
                    writer.write(LIST)
                    continue
                self.asked.append(asked)
                reply = self.reply(asked)
                for piece in reply.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(reply.pace_s)
                if reply.hang:
                    await reader.read()
                if not b"".join(reply.pieces).endswith(b"0\r\n\r\n"):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *fields = head.decode().strip().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(line, headers, json.loads(body) if body else {})


def event(data: Any) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


def delta(
    text: str | None = None, *, index: int = 0, finish: str | None = None, **more: Any
) -> Any:
    """A chunk of a chat completion."""
    said = ({"content": text} if text is not None else {}) | more
    return {"choices": [{"index": index, "delta": said, "finish_reason": finish}]}


def usage(prompt: int, completion: int) -> Any:
    """The chunk with the counts."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"choices": [], "usage": counts}


def framed(body: bytes) -> bytes:
    """A body as one HTTP chunk and the end."""
    chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    return chunk + b"0\r\n\r\n"


def streamed(*events: Any) -> Reply:
    """A whole answer with these events."""
    return Reply([HEAD + framed(b"".join(event(data) for data in events))])


def status(code: int, body: Any = None, **headers: str) -> Reply:
    """An answer without a stream."""
    payload = json.dumps(body).encode() if body is not None else b""
    fields = {"content-type": "application/json", "content-length": str(len(payload))} | headers
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    head = "\r\n".join([f"HTTP/1.1 {code} Because", *lines, "", ""])
    return Reply([head.encode() + payload])


ANSWER = (
    delta("", role="assistant"),
    delta("Hello"),
    delta(" wörld"),
    delta(finish="stop"),
    usage(7, 3),
    "[DONE]",
)
