"""Hostile bytes over real connections: each gets its refusal, and the server serves on."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from octant.core.envelope import RequestEnvelope
from octant.core.stream import StreamItem
from octant.gateway.settings import GatewaySettings
from tests.support.gateway import HELLO, Gateway, Script, running_gateway

LIMIT = 20_000
SETTINGS = GatewaySettings(
    max_body_bytes=LIMIT,
    max_header_bytes=4_000,
    body_read_timeout_ms=100,
    header_read_timeout_ms=100,
    discard_ms=200,
)
MESSAGE = b'{"role":"user","content":"Hi"}'


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway that must still answer an ordinary request after each test."""
    async with running_gateway(SETTINGS) as running:
        yield running
        assert (await running.chat()).status_code == 200


async def exchange(gateway: Gateway, *pieces: bytes) -> bytes:
    """What comes back on a connection that sends `pieces` and then waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        received = b""
        # A server that closes on bytes it never read resets the connection.
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(10):
                while piece := await reader.read(1 << 16):
                    received += piece
        return received
    finally:
        writer.close()


def head(gateway: Gateway, *lines: str) -> bytes:
    fixed = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"authorization: Bearer {gateway.key}",
    )
    return "\r\n".join((*fixed, *lines, "", "")).encode()


def status_and_code(response: bytes) -> tuple[int, str]:
    start, _, body = response.partition(b"\r\n\r\n")
    assert b"\r\nx-request-id: req_" in start
    return int(start.split(b" ")[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"\x00\xff\xfe", 400, "invalid_json"),
        (b'{"model":"tiny","messages":[{"content":"\xc3\x28"}]}', 400, "invalid_json"),
        (b'{"model":"tiny","messages":[{"role":"user","content":"\\ud800"}]}', 400, "invalid_json"),
        (b'{"model":"tiny","messages":[%s],"temperature":NaN}' % MESSAGE, 400, "invalid_json"),
        (b'{"model":"tiny","messages":[%s],"temperature":1e999}' % MESSAGE, 400, "invalid_value"),
        (b'{"messages":[%s],"seed":%s}' % (MESSAGE, b"9" * 400), 400, "invalid_value"),
        (b'{"model":"tiny","messages":[]}', 400, "invalid_value"),
        (b"[" * 10_000, 400, "invalid_value"),
        (b'{"a":' * 3_000, 400, "invalid_value"),
        (b'{"messages":%s%s}' % (b"[" * 5_000, b"]" * 5_000), 400, "invalid_value"),
        (b'{"metadata":%s1%s}' % (b'{"a":' * 100, b"}" * 100), 400, "invalid_value"),
        (b"x" * (LIMIT + 1), 413, "request_too_large"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
async def test_bad_bodies(gateway: Gateway, body: bytes, status: int, code: str) -> None:
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    url = "/v1/chat/completions"
    response = await gateway.http.post(url, content=body, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert gateway.path.envelopes == []


async def test_the_largest_body_is_taken(gateway: Gateway) -> None:
    frame = len(json.dumps({"model": "tiny", "messages": [{"role": "user", "content": ""}]}))
    padded = "x" * (LIMIT - frame - 10)
    response = await gateway.chat(messages=[{"role": "user", "content": padded}])
    assert response.status_code == 200


async def test_a_chunked_body_beyond_the_bound(gateway: Gateway) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(LIMIT // 1_000 + 5):
            yield b"x" * 1_000

    response = await gateway.http.post(
        "/v1/chat/completions",
        content=pieces(),
        headers={"authorization": f"Bearer {gateway.key}", "content-type": "application/json"},
    )
    assert response.status_code == 413
    assert response.headers["connection"] == "close"


async def test_an_endless_chunked_body_is_cut_off(gateway: Gateway) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head(gateway, "transfer-encoding: chunked"))
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(30):
            while True:
                writer.write(b"3e8\r\n" + b"x" * 1_000 + b"\r\n")
                await writer.drain()
    writer.close()
    assert gateway.path.envelopes == []


async def test_a_body_shorter_than_declared_times_out(gateway: Gateway) -> None:
    response = await exchange(gateway, head(gateway, "content-length: 50"), b"{")
    assert status_and_code(response) == (408, "request_timeout")
    assert b"connection: close" in response


async def test_a_body_sent_drop_by_drop_times_out(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head(gateway, "content-length: 5000"))

    async def drip() -> None:
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(10):
        response = await reader.readuntil(b"}}}")
    dripping.cancel()
    writer.close()
    assert status_and_code(response) == (408, "request_timeout")


async def test_a_body_longer_than_declared_is_no_second_request(gateway: Gateway) -> None:
    body = b'{"model":"tiny","messages":[%s]}' % MESSAGE
    sent = head(gateway, f"content-length: {len(body)}") + body
    response = await exchange(gateway, sent + b"GARBAGE\r\n\r\n")
    assert not response or response.startswith(b"HTTP/1.1 ")
    assert len(gateway.path.envelopes) <= 1


async def test_two_ways_to_say_the_length_are_refused(gateway: Gateway) -> None:
    lines = ("content-length: 5", "transfer-encoding: chunked")
    response = await exchange(gateway, head(gateway, *lines), b"0\r\n\r\n")
    assert status_and_code(response) == (400, "invalid_value")
    assert gateway.path.envelopes == []


async def test_what_is_not_http_is_answered_in_json(gateway: Gateway) -> None:
    assert status_and_code(await exchange(gateway, b"\x16\x03\x01\x00\xa5")) == (
        400,
        "invalid_value",
    )


async def test_a_huge_head_is_refused(gateway: Gateway) -> None:
    response = await exchange(
        gateway, head(gateway, "x-filler: " + "x" * 5_000, "content-length: 2")
    )
    assert status_and_code(response) == (413, "request_too_large")


async def test_a_header_without_an_end_is_refused_at_the_bound(gateway: Gateway) -> None:
    fresh = b"GET / HTTP/1.1\r\nx-filler: " + b"x" * 5_000
    assert status_and_code(await exchange(gateway, fresh)) == (413, "request_too_large")


async def test_many_small_headers_are_refused(gateway: Gateway) -> None:
    response = await exchange(gateway, head(gateway, *(f"x-{i}: y" for i in range(1_000))))
    assert status_and_code(response) == (413, "request_too_large")


@pytest.mark.parametrize("piece", [b"POST /v1/chat", b"\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_never_ends_times_out(gateway: Gateway, piece: bytes) -> None:
    assert status_and_code(await exchange(gateway, piece)) == (408, "request_timeout")


async def test_a_connection_that_sends_nothing_is_closed_without_a_word(gateway: Gateway) -> None:
    assert await exchange(gateway) == b""


async def test_one_connection_too_many_is_refused_until_another_closes() -> None:
    settings = msgspec.structs.replace(SETTINGS, max_connections=1, header_read_timeout_ms=1_000)
    async with running_gateway(settings) as gateway:
        _, first = await asyncio.open_connection("127.0.0.1", gateway.port)
        response = await exchange(gateway)
        assert status_and_code(response) == (503, "overloaded")
        assert b"\r\nretry-after: 1\r\n" in response
        assert b"\r\nconnection: close\r\n" in response
        first.close()
        async with asyncio.timeout(10):
            # One that is taken on and sends nothing is closed without an answer.
            while await exchange(gateway):
                continue


def answers_in(seconds: float) -> Script:
    """A script that says hello after a while."""

    async def script(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        yield HELLO[0]
        yield HELLO[1]
        await asyncio.sleep(seconds)
        for item in HELLO[2:]:
            yield item

    return script


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "stray",
    [
        b"\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n",
        b"GET / HTTP/1.1\r\nx-filler: " + b"x" * 5_000,
        b"\x16\x03\x01\x00\xa5",
    ],
    ids=["line break", "partial head", "huge head", "no HTTP"],
)
async def test_nothing_sent_during_an_answer_gets_into_it(
    gateway: Gateway, stray: bytes, stream: bool
) -> None:
    """The answer outlasts the time for a head, ends properly, and the connection closes then."""
    gateway.path.script = answers_in(0.3)
    message = {"role": "user", "content": "Hi"}
    body = json.dumps({"model": "tiny", "messages": [message], "stream": stream}).encode()
    request = head(gateway, f"content-length: {len(body)}") + body
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request)
    await gateway.path.entered()
    writer.write(stray)
    async with asyncio.timeout(10):
        response = await reader.readuntil(b"0\r\n\r\n" if stream else b"}}}")
    writer.close()
    assert response.startswith(b"HTTP/1.1 200")
    assert response.count(b"HTTP/1.1") == 1
    assert b"[DONE]" in response or not stream


async def test_what_cannot_be_read_during_an_answer_closes_the_connection_after_it(
    gateway: Gateway,
) -> None:
    gateway.path.script = answers_in(0.1)
    body = b'{"model":"tiny","messages":[%s]}' % MESSAGE
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head(gateway, f"content-length: {len(body)}") + body)
    await gateway.path.entered()
    writer.write(b"GET / HTTP/1.1\r\nx: " + b"x" * 5_000)
    async with asyncio.timeout(10):
        await reader.readuntil(b"}}}")
        writer.write(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_a_body_that_is_no_http_is_refused_at_once(gateway: Gateway) -> None:
    response = await exchange(gateway, head(gateway, "transfer-encoding: chunked") + b"zz\r\n")
    assert status_and_code(response) == (400, "invalid_value")


async def test_a_connection_can_be_used_again_after_its_head_was_timed(gateway: Gateway) -> None:
    request = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for _ in range(2):
        writer.write(request)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.15)
    writer.close()


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_other_media_are_refused(gateway: Gateway, media: str) -> None:
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": media}
    response = await gateway.http.post("/v1/chat/completions", content=b"{}", headers=headers)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_media_type"


async def test_closing_while_the_body_is_read_leaves_nothing_behind(gateway: Gateway) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head(gateway, "content-length: 500") + b'{"model"')
    await writer.drain()
    while not gateway.drain.inside:  # noqa: ASYNC110 - there is nothing to wait for but the count
        await asyncio.sleep(0.001)
    writer.close()
    async with asyncio.timeout(10):
        await gateway.drain.wait_empty()
    assert gateway.path.envelopes == []
