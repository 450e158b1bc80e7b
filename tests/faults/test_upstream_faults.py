"""Upstreams that fail: whatever they do, one terminal item, never a false end, no invented call."""

from collections.abc import Sequence
from typing import Any

import pytest

from octant.core.failure import FailureKind
from octant.core.sampling import Sampling
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    StreamItem,
    TextDelta,
    ToolCallDelta,
)
from octant.core.units import NS_PER_MS, NS_PER_S
from octant.core.usage import FinishReason, Usage
from tests.support.faulty_upstream import (
    ANSWER,
    HEAD,
    Asked,
    Reply,
    delta,
    event,
    framed,
    status,
    streamed,
    usage,
)
from tests.support.upstreams import spare, work

K = FailureKind
CALL = (
    delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '": 1}'}}]),
    delta(finish="tool_calls"),
    usage(5, 9),
    "[DONE]",
)


def whole(events: Sequence[Any]) -> bytes:
    """The answer as it is on the wire, each event a chunk of its own."""
    pieces = [event(data) for data in events]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return HEAD + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize("events", [ANSWER, CALL], ids=["text", "tool call"])
async def test_an_answer_cut_at_any_byte_is_never_complete(events: Sequence[Any]) -> None:
    wire = whole(events)
    # [DONE] is what makes an answer complete; all that follows it is framing.
    last = wire.index(b"data: [DONE]\n\n") + len(b"data: [DONE]\n\n")
    cut = 0

    def reply(_: Asked) -> Reply:
        return Reply([wire[:cut]] if cut else [])

    async with spare(reply) as made:
        for cut in range(last):
            items = await made.ask(work(attempt=cut + 1))
            broken = items[-1]
            assert isinstance(broken, Broken), cut
            assert broken.failure.kind in (K.STREAM_TRUNCATED, K.UPSTREAM_FAILURE), cut
            _nothing_is_made_up(items[:-1], events)
        assert made.provider.load().running == 0
        for cut in range(last, len(wire) + 1):
            assert isinstance((await made.ask(work(attempt=cut + 1)))[-1], Completed)


def _nothing_is_made_up(items: Sequence[StreamItem], events: Sequence[Any]) -> None:
    """What came out is a beginning of what was sent."""
    text = "".join(item.text for item in items if isinstance(item, TextDelta))
    assert "Hello wörld".startswith(text)
    calls = [item for item in items if isinstance(item, ToolCallDelta)]
    assert [call.arguments for call in calls] == ['{"a', '": 1}'][: len(calls)]
    if events is CALL and len(calls) < 2:
        assert not any(isinstance(item, ChoiceFinished) for item in items)


async def test_an_answer_without_framing_that_ends_early_is_not_complete_either() -> None:
    # Without a length or chunks the end of the connection is the end of the body.
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    for count in range(len(ANSWER)):
        body = b"".join(event(data) for data in ANSWER[:count])
        async with spare(Reply([head + body])) as made:
            assert (await made.failure(work())).kind is K.STREAM_TRUNCATED


@pytest.mark.parametrize(
    ("reply", "kind", "retry_ns"),
    [
        (status(400, {"error": {"code": "context_length_exceeded"}}), K.CONTEXT_LENGTH_EXCEEDED, 0),
        (status(400, {"error": {"code": "invalid_value"}}), K.UPSTREAM_REFUSED, 0),
        (status(422, {"detail": "no"}), K.UPSTREAM_REFUSED, 0),
        (status(401), K.UPSTREAM_FAILURE, 0),
        (status(403), K.UPSTREAM_FAILURE, 0),
        (status(404, {"error": {"code": "model_not_found"}}), K.UPSTREAM_FAILURE, 0),
        (status(408), K.UPSTREAM_FAILURE, 0),
        (status(429, retry_after="3"), K.UPSTREAM_BUSY, 3 * NS_PER_S),
        (status(429, retry_after_ms="250", retry_after="1"), K.UPSTREAM_BUSY, 250 * NS_PER_MS),
        (status(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), K.UPSTREAM_BUSY, 0),
        (status(503, retry_after="1e9"), K.UPSTREAM_BUSY, 3_600 * NS_PER_S),
        (status(503, retry_after="-1"), K.UPSTREAM_BUSY, 0),
        (status(503, retry_after="nan"), K.UPSTREAM_BUSY, 0),
        (status(500), K.UPSTREAM_FAILURE, 0),
        (status(502), K.UPSTREAM_FAILURE, 0),
        (status(302, location="http://elsewhere/"), K.UPSTREAM_FAILURE, 0),
        (status(204), K.UPSTREAM_FAILURE, 0),
        (status(200, {"choices": []}), K.UPSTREAM_FAILURE, 0),
        (Reply([b"SSH-2.0-OpenSSH_9.2\r\n"]), K.UPSTREAM_FAILURE, 0),
        (Reply([]), K.UPSTREAM_FAILURE, 0),
        (Reply([HEAD + b"zz\r\n"]), K.UPSTREAM_FAILURE, 0),
    ],
)
async def test_what_a_status_means(reply: Reply, kind: FailureKind, retry_ns: int) -> None:
    async with spare(reply) as made:
        failure = await made.failure(work())
    assert failure.kind is kind
    assert (failure.retry_after_ns or 0) == retry_ns


async def test_the_words_of_an_upstream_are_not_repeated() -> None:
    secret = "your prompt was: my card is 4111"
    body = {"error": {"message": secret, "code": secret, "type": secret, "param": secret}}
    for reply in (status(400, body), status(500, body), streamed(body)):
        async with spare(reply, api_key="sk-secret") as made:
            failure = await made.failure(work())
        assert secret not in f"{failure.message}{failure.detail}"
        assert "sk-secret" not in f"{failure.message}{failure.detail}"


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (["{not json"], K.UPSTREAM_FAILURE),
        (["\udcff".encode("utf-8", "surrogatepass").decode("latin-1")], K.UPSTREAM_FAILURE),
        ([[1, 2]], K.UPSTREAM_FAILURE),
        ([{"choices": "none"}], K.UPSTREAM_FAILURE),
        ([{"choices": [{"index": -1, "delta": {}}]}], K.UPSTREAM_FAILURE),
        ([delta("x", index=1)], K.UPSTREAM_FAILURE),
        ([delta(finish="stop"), delta("more")], K.UPSTREAM_FAILURE),
        ([delta(finish="because")], K.UPSTREAM_FAILURE),
        ([delta(finish="content_filter")], K.UPSTREAM_REFUSED),
        ([delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}])], K.UPSTREAM_FAILURE),
        ([delta("x"), "[DONE]"], K.STREAM_TRUNCATED),
        (["[DONE]"], K.STREAM_TRUNCATED),
        ([], K.STREAM_TRUNCATED),
        ([delta("x"), {"error": {"code": "rate_limit_exceeded"}}], K.UPSTREAM_BUSY),
        ([{"error": {"code": "context_length_exceeded"}}], K.CONTEXT_LENGTH_EXCEEDED),
        ([{"error": {"code": 500}}], K.UPSTREAM_FAILURE),
        ([{"error": "broken"}], K.UPSTREAM_FAILURE),
        ([usage(-1, 3)], K.UPSTREAM_FAILURE),
    ],
)
async def test_events_that_are_no_chunks(events: Sequence[Any], kind: FailureKind) -> None:
    async with spare(streamed(*events)) as made:
        assert (await made.failure(work())).kind is kind


async def test_all_choices_have_to_finish() -> None:
    one_of_two = streamed(delta("a"), delta(finish="stop"), "[DONE]")
    async with spare(one_of_two) as made:
        failure = await made.failure(work(sampling=Sampling(n=2)))
    assert failure.kind is K.STREAM_TRUNCATED


async def test_repeated_and_unknown_fields_change_nothing() -> None:
    chunk = delta("Hi", reasoning="hm") | {"object": "x", "provider": {"deep": [1]}}
    reply = streamed(chunk, delta(finish="stop"), usage(1, 1), usage(1, 2), "[DONE]", "junk")
    async with spare(reply) as made:
        items = await made.ask(work())
    assert items[1:] == [
        TextDelta(0, "Hi", ()),
        ChoiceFinished(0, FinishReason.STOP),
        Completed(Usage(prompt_tokens=1, completion_tokens=2)),
    ]


async def test_a_server_that_sends_single_bytes_is_silent() -> None:
    slow = Reply([HEAD, b"ffff\r\n", *[b"x"] * 1_000], hang=True, pace_s=0.005)
    async with spare(slow, idle_ns=50 * NS_PER_MS) as made:
        failure = await made.failure(work())
    assert failure.kind is K.STREAM_TRUNCATED
    assert "no line for 0.05 s" in failure.message


async def test_comments_are_signs_of_life() -> None:
    comment = b": still there\n\n"
    pieces = [b"%x\r\n%s\r\n" % (len(comment), comment)] * 30
    reply = Reply([HEAD, *pieces, framed(b"".join(map(event, ANSWER)))], pace_s=0.01)
    async with spare(reply, idle_ns=200 * NS_PER_MS) as made:
        assert isinstance((await made.ask(work()))[-1], Completed)


async def test_a_head_that_never_comes_leaves_half_of_the_time_to_another_route() -> None:
    async with spare(Reply([], hang=True)) as made:
        failure = await made.failure(work(seconds=0.2))
    assert failure.kind is K.UPSTREAM_FAILURE
    _, told, limit = failure.message.partition("did not begin to answer within ")
    assert told
    assert 0 < float(limit.removesuffix(" s.")) <= 0.1


async def test_the_deadline_ends_an_answer_that_goes_on() -> None:
    piece = event(delta("x"))
    endless = Reply([HEAD, *[b"%x\r\n%s\r\n" % (len(piece), piece)] * 1_000], pace_s=0.005)
    async with spare(endless) as made:
        items = await made.ask(work(seconds=0.3))
    broken = items[-1]
    assert isinstance(broken, Broken)
    assert broken.failure.kind is K.DEADLINE_EXCEEDED
    assert broken.usage.estimated
    assert broken.usage.completion_tokens > 0


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    async with spare(streamed(*ANSWER)) as made:
        assert (await made.failure(work(seconds=-1))).kind is K.DEADLINE_EXCEEDED
        assert made.server.asked == []


@pytest.mark.parametrize(
    "body",
    [b"data: " + b"x" * (2 << 20), b"data: x\n" * (1 << 18), event(delta("x")) * 40_000],
    ids=["a line without end", "an event without end", "an answer without end"],
)
async def test_what_has_no_end_is_cut_off(body: bytes) -> None:
    async with spare(Reply([HEAD + framed(body)]), max_answer_bytes=1_500_000) as made:
        failure = await made.failure(work())
    assert failure.kind is K.UPSTREAM_FAILURE
    assert "bytes" in failure.message
