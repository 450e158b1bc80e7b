"""Instant upstream: an OpenAI-compatible server that answers at once, from a process of its own.

    line out: {"url"}

Law: it costs next to nothing, so that what is measured in front of it is not measured with it: one
answer, made once, whatever is asked.
"""

import asyncio
import json
import sys
from typing import Any, cast

import httptools

ANSWER_TOKENS = 16
_WORD = " word"
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
_USAGE = {"prompt_tokens": 32, "completion_tokens": ANSWER_TOKENS, "total_tokens": 48}


class InstantUpstream(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with every piece that arrives."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser at the end of each request."""
        assert self._transport is not None
        streamed = b'"stream":true' in self._body or b'"stream": true' in self._body
        listing = self._parser.get_method() == b"GET"
        self._transport.write(_LISTING if listing else _STREAMED if streamed else _WHOLE)
        self._body = b""


def _answer(kind: bytes, body: bytes) -> bytes:
    return _HEAD % (kind, len(body)) + body


def _chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "instant"}
    return b"data: " + json.dumps(frame | {"choices": choices} | more).encode() + b"\n\n"


def _stream() -> bytes:
    said: list[dict[str, Any]] = [{"index": 0, "delta": {"content": _WORD}, "finish_reason": None}]
    end: list[dict[str, Any]] = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    parts = [_chunk(said)] * ANSWER_TOKENS + [_chunk(end), _chunk([], usage=_USAGE)]
    return b"".join(parts) + b"data: [DONE]\n\n"


def _whole() -> bytes:
    message = {"role": "assistant", "content": _WORD * ANSWER_TOKENS}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()


_STREAMED = _answer(b"text/event-stream", _stream())
_WHOLE = _answer(b"application/json", _whole())
_LISTING = _answer(b"application/json", b'{"object":"list","data":[]}')


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(InstantUpstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
