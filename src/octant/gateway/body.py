"""Body: reads what a caller sends, bounded in bytes and in time.

Law: never more than the bound is held, whatever `content-length` says, and a slow sender is cut
off. Runs only after authentication.
"""

import asyncio
from typing import NamedTuple, NoReturn

from starlette.types import Receive

from octant.core.failure import Failed, FailureKind
from octant.gateway.failures import refuse
from octant.gateway.reply import CLOSE
from octant.gateway.routing import Call
from octant.gateway.settings import GatewaySettings


class ClientGone(Exception):
    """The caller closed the connection; nobody is there to read an answer."""


class Declared(NamedTuple):
    """What the headers say about the body, as sent."""

    content_type: bytes | None
    content_encoding: bytes | None
    content_length: bytes | None


# Refusals after which more of the body may still be on its way.
_UNREAD = (FailureKind.REQUEST_TOO_LARGE, FailureKind.REQUEST_TIMEOUT)


async def body_of(call: Call, settings: GatewaySettings) -> bytes:
    """The whole body of a call; one that is refused half read ends its connection.

    Raises Failed: UNSUPPORTED_MEDIA_TYPE, REQUEST_TOO_LARGE or REQUEST_TIMEOUT; raises ClientGone.
    """
    sent = call.head.headers
    declared = Declared(
        sent.get(b"content-type"), sent.get(b"content-encoding"), sent.get(b"content-length")
    )
    try:
        return await read_body(call.receive, declared, settings)
    except Failed as error:
        if error.failure.kind in _UNREAD:
            call.reply.extra.append(CLOSE)
        if error.failure.kind is FailureKind.REQUEST_TOO_LARGE:
            await discard_body(call.receive, settings)
        raise


async def read_body(receive: Receive, declared: Declared, settings: GatewaySettings) -> bytes:
    """The whole body.

    Raises Failed: UNSUPPORTED_MEDIA_TYPE, REQUEST_TOO_LARGE or REQUEST_TIMEOUT; raises ClientGone.
    """
    _check_declared(declared, settings.max_body_bytes)
    try:
        async with asyncio.timeout(settings.body_read_timeout_ms / 1000):
            return await _read(receive, settings.max_body_bytes)
    except TimeoutError:
        refuse(
            FailureKind.REQUEST_TIMEOUT,
            f"The body did not arrive within {settings.body_read_timeout_ms} ms. "
            "Send it faster, or send less.",
        )


async def discard_body(receive: Receive, settings: GatewaySettings) -> None:
    """Reads on for a moment without keeping anything, so that a refusal can be read.

    A client that is still sending when the connection closes loses the answer (RFC 9112, 9.6).
    """
    left = settings.max_body_bytes
    try:
        async with asyncio.timeout(settings.discard_ms / 1000):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _check_declared(declared: Declared, limit: int) -> None:
    media_type = (declared.content_type or b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        given = media_type[:100].decode("latin-1") or "none"
        refuse(
            FailureKind.UNSUPPORTED_MEDIA_TYPE,
            f"The content-type must be application/json, not {given}. Set the header.",
        )
    if declared.content_encoding not in (None, b"identity"):
        refuse(
            FailureKind.UNSUPPORTED_MEDIA_TYPE,
            "Compressed bodies are not taken. Leave `content-encoding` out.",
        )
    # The HTTP parser has refused lengths that are not numbers.
    if declared.content_length and int(declared.content_length) > limit:
        _refuse_size(limit)


async def _read(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            _refuse_size(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _refuse_size(limit: int) -> NoReturn:
    refuse(
        FailureKind.REQUEST_TOO_LARGE,
        f"The body is larger than {limit} bytes. Shorten the input.",
    )
