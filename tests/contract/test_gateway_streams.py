"""Streams over real connections: order, failures, keep-alives, disconnects, slow readers."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from octant.core.envelope import RequestEnvelope
from octant.core.failure import FailureKind
from octant.core.stream import StreamItem, TextDelta, ToolRan
from octant.gateway.settings import GatewaySettings
from tests.support.gateway import HELLO, STARTED, Gateway, Script, broken, running_gateway, says
from tests.support.run_summaries import ANSWER

SETTINGS = GatewaySettings(
    keep_alive_interval_ms=40, idle_timeout_ms=60_000, slow_reader_timeout_ms=60_000
)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running_gateway(SETTINGS) as running:
        yield running


def waits_after(*items: StreamItem) -> Script:
    """A script that yields `items` and then nothing, for ever."""

    async def script(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        for item in items:
            yield item
        await asyncio.Event().wait()

    return script


def data_of(text: str) -> list[str]:
    lines = [line for line in text.split("\n") if line]
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def kind_recorded(gateway: Gateway) -> FailureKind:
    """What the path settles the last request as, unless it reached its own end."""
    return gateway.path.hangups[-1].failure.kind


class Connection:
    """A bare connection that sends one chat request."""

    def __init__(self, gateway: Gateway, **fields: Any) -> None:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]} | fields
        data = json.dumps(body).encode()
        self._gateway = gateway
        self._request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {gateway.key}\r\ncontent-length: {len(data)}\r\n\r\n"
        ).encode() + data

    async def __aenter__(self) -> "Connection":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._gateway.port)
        self.writer.write(self._request)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()


async def test_a_stream_from_start_to_done(gateway: Gateway) -> None:
    response = await gateway.chat(stream=True)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert "content-length" not in response.headers
    *chunks, done = data_of(response.text)
    assert done == "[DONE]"
    assert [json.loads(chunk)["choices"][0]["delta"].get("content") for chunk in chunks] == [
        "",
        "Hel",
        "lo",
        None,
    ]


async def test_a_failure_in_the_middle_is_an_error_event_without_done(gateway: Gateway) -> None:
    gateway.path.script = says(*HELLO[:4], broken(FailureKind.ENGINE_LOST, "The engine died."))
    response = await gateway.chat(stream=True)
    assert response.status_code == 200
    events = data_of(response.text)
    assert "[DONE]" not in events
    assert json.loads(events[-1]) == {
        "error": {
            "message": "The engine died.",
            "type": "server_error",
            "param": None,
            "code": "engine_lost",
            "octant": {
                "class": "execution",
                "stage": "decode",
                "retry": "other_route",
                "request_id": response.headers["x-request-id"],
            },
        },
        "octant": {"partial": True, "completion_tokens": 3},
    }
    assert "error" not in events[-2]


async def test_a_defect_in_the_middle_is_an_error_event_and_recorded_as_one(
    gateway: Gateway,
) -> None:
    async def defect(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        yield STARTED
        yield TextDelta(0, "a", (1,))
        raise ValueError("secret detail")

    gateway.path.script = defect
    events = data_of((await gateway.chat(stream=True)).text)
    assert json.loads(events[-2])["choices"][0]["delta"] == {"content": "a"}
    assert json.loads(events[-1])["error"]["code"] == "internal_error"
    assert "secret" not in events[-1]
    assert kind_recorded(gateway) is FailureKind.INTERNAL_ERROR


@pytest.mark.parametrize("items", [(), (STARTED,), HELLO[:2]])
async def test_a_quiet_stream_is_kept_alive_at_every_stage(
    gateway: Gateway, items: tuple[StreamItem, ...]
) -> None:
    gateway.path.script = waits_after(*items)
    async with Connection(gateway, stream=True) as connection:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        for _ in range(2):
            await connection.reader.readuntil(b": keep-alive\n\n")
    await gateway.path.left()
    assert gateway.path.unfinished == 1


async def test_keep_alives_come_before_the_clients_own_timeout_strikes() -> None:
    settings = msgspec.structs.replace(SETTINGS, keep_alive_interval_ms=60_000)
    async with running_gateway(settings) as gateway:
        gateway.path.script = waits_after(STARTED)
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        headers = {"authorization": f"Bearer {gateway.key}", "x-stainless-read-timeout": "0.2"}
        url = "/v1/chat/completions"
        async with gateway.http.stream("POST", url, json=body, headers=headers) as response:
            first = await anext(response.aiter_lines())
        assert first == ": keep-alive"
        await gateway.path.left()


@pytest.mark.parametrize("items", [(), (STARTED,)])
@pytest.mark.parametrize(("interval_ms", "status"), [(60_000, 503), (40, 200)])
async def test_the_status_is_open_until_the_first_delta_or_the_first_keep_alive(
    items: tuple[StreamItem, ...], interval_ms: int, status: int
) -> None:
    async def fails_late(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        for item in items:
            yield item
        await asyncio.sleep(0.2)
        yield broken(FailureKind.OVERLOADED)

    settings = msgspec.structs.replace(SETTINGS, keep_alive_interval_ms=interval_ms)
    async with running_gateway(settings) as gateway:
        gateway.path.script = fails_late
        response = await gateway.chat(stream=True)
    assert response.status_code == status
    last = response.text.rpartition("data: ")[2]
    assert json.loads(last)["error"]["code"] == "overloaded"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("items", [(), (STARTED,), (STARTED, TextDelta(0, "a", (1,)))])
async def test_a_disconnect_ends_the_work_at_every_stage(
    gateway: Gateway, stream: bool, items: tuple[StreamItem, ...]
) -> None:
    gateway.path.script = waits_after(*items)
    async with Connection(gateway, stream=stream):
        await gateway.path.entered()
    await gateway.path.left()
    assert gateway.path.unfinished == 1
    assert kind_recorded(gateway) is FailureKind.CANCELLED
    assert gateway.path.inside == 0
    async with asyncio.timeout(10):
        await gateway.drain.wait_empty()


async def test_a_disconnect_between_deltas_ends_a_busy_stream(gateway: Gateway) -> None:
    async def endless(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        yield STARTED
        while True:
            yield TextDelta(0, "a", (1,))
            await asyncio.sleep(0)

    gateway.path.script = endless
    async with Connection(gateway, stream=True) as connection:
        await connection.reader.readuntil(b'"content":"a"')
    await gateway.path.left()
    assert gateway.path.unfinished == 1


async def test_a_slow_reader_holds_the_generator_back_and_is_cut_off() -> None:
    produced = 0
    piece = "x" * 10_000

    async def endless(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        nonlocal produced
        yield STARTED
        while True:
            produced += 1
            yield TextDelta(0, piece, (1,))

    settings = msgspec.structs.replace(SETTINGS, slow_reader_timeout_ms=200)
    async with running_gateway(settings) as gateway:
        gateway.path.script = endless
        async with Connection(gateway, stream=True):
            await gateway.path.left()
            # What the kernel's buffers and the transport's 64 KiB hold, and no more.
            assert produced * len(piece) < 64 * 1024 * 1024
    assert gateway.path.unfinished == 1
    assert kind_recorded(gateway) is FailureKind.CANCELLED
    assert "did not read" in gateway.path.hangups[-1].failure.message


async def test_an_idle_engine_ends_the_stream_with_an_error() -> None:
    settings = msgspec.structs.replace(SETTINGS, idle_timeout_ms=60)
    async with running_gateway(settings) as gateway:
        gateway.path.script = waits_after(*HELLO[:2])
        response = await gateway.chat(stream=True)
    events = data_of(response.text)
    assert json.loads(events[-1])["error"]["code"] == "engine_stalled"
    assert gateway.path.unfinished == 1
    assert kind_recorded(gateway) is FailureKind.ENGINE_STALLED


@pytest.mark.parametrize("waiting", [(STARTED,), (STARTED, TextDelta(0, "The prompt.", ()))])
async def test_a_request_in_the_queue_or_in_prefill_is_not_idle(
    waiting: tuple[StreamItem, ...],
) -> None:
    async def slow_to_start(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        for item in waiting:
            yield item
        await asyncio.sleep(0.3)
        for item in HELLO[1:]:
            yield item

    settings = msgspec.structs.replace(SETTINGS, idle_timeout_ms=60)
    async with running_gateway(settings) as gateway:
        gateway.path.script = slow_to_start
        response = await gateway.chat(stream=True)
    assert data_of(response.text)[-1] == "[DONE]"


async def test_a_model_call_after_a_tool_may_wait_as_the_first_one() -> None:
    async def slow_to_go_on(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        for item in (*HELLO[:2], ToolRan("clock", "{}", ANSWER)):
            yield item
        await asyncio.sleep(0.3)
        for item in HELLO[2:]:
            yield item

    settings = msgspec.structs.replace(SETTINGS, idle_timeout_ms=60)
    async with running_gateway(settings) as gateway:
        gateway.path.script = slow_to_go_on
        response = await gateway.chat(stream=True)
    assert data_of(response.text)[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_outlives_its_deadline_is_ended(stream: bool) -> None:
    settings = msgspec.structs.replace(SETTINGS, overdue_grace_ms=1)
    async with running_gateway(settings) as gateway:
        gateway.path.script = waits_after()
        response = await gateway.chat(stream=stream, octant={"deadline_ms": 30})
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"
    assert gateway.path.unfinished == 1
    assert kind_recorded(gateway) is FailureKind.DEADLINE_EXCEEDED


async def test_sixty_four_streams_at_once_stay_apart(gateway: Gateway) -> None:
    async def echo(envelope: RequestEnvelope) -> AsyncIterator[StreamItem]:
        yield STARTED
        for _ in range(5):
            yield TextDelta(0, f"<{envelope.cache_salt}>", (1,))
            await asyncio.sleep(0)
        for item in HELLO[4:]:
            yield item

    gateway.path.script = echo
    asked = [gateway.chat(stream=True, octant={"cache_salt": f"{number}"}) for number in range(64)]
    for number, response in enumerate(await asyncio.gather(*asked)):
        chunks = [json.loads(event) for event in data_of(response.text)[:-1]]
        said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert said == f"<{number}>" * 5
        assert len({chunk["id"] for chunk in chunks}) == 1
