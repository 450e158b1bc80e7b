"""Bodies are bounded in size, time and depth before anything looks into them."""

import asyncio
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from octant.core.failure import Failed, FailureKind
from octant.gateway.body import ClientGone, Declared, discard_body, read_body
from octant.gateway.json_input import check_nesting
from octant.gateway.settings import GatewaySettings

SETTINGS = GatewaySettings(max_body_bytes=10, body_read_timeout_ms=20, discard_ms=20)
JSON = Declared(b"application/json", None, None)


def sends(*chunks: bytes, complete: bool = True, then_gone: bool = False) -> Receive:
    """A sender of `chunks`; an incomplete one is silent afterwards, or leaves."""
    messages: list[Message] = [
        {
            "type": "http.request",
            "body": chunk,
            "more_body": not complete or index < len(chunks) - 1,
        }
        for index, chunk in enumerate(chunks)
    ]

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        if not then_gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return receive


async def kind_of(receive: Receive, declared: Declared = JSON) -> FailureKind:
    with pytest.raises(Failed) as raised:
        await read_body(receive, declared, SETTINGS)
    return raised.value.failure.kind


async def test_chunks_are_joined_up_to_the_bound() -> None:
    assert await read_body(sends(b"01234", b"56789"), JSON, SETTINGS) == b"0123456789"


async def test_one_byte_more_is_too_large_however_it_is_declared() -> None:
    assert await kind_of(sends(b"01234", b"567890")) is FailureKind.REQUEST_TOO_LARGE
    lying = Declared(b"application/json", None, b"3")
    assert await kind_of(sends(b"0123456789a"), lying) is FailureKind.REQUEST_TOO_LARGE


async def test_a_declared_excess_is_refused_without_reading() -> None:
    declared = Declared(b"application/json", None, b"11")
    assert await kind_of(sends(complete=False), declared) is FailureKind.REQUEST_TOO_LARGE


async def test_a_silent_sender_is_timed_out() -> None:
    assert await kind_of(sends(b"{", complete=False)) is FailureKind.REQUEST_TIMEOUT


async def test_a_sender_who_leaves_is_gone() -> None:
    with pytest.raises(ClientGone):
        await read_body(sends(b"{", complete=False, then_gone=True), JSON, SETTINGS)


@pytest.mark.parametrize(
    "declared",
    [
        Declared(None, None, None),
        Declared(b"text/plain", None, None),
        Declared(b"multipart/form-data; boundary=x", None, None),
        Declared(b"application/json", b"gzip", None),
    ],
)
async def test_other_media_are_refused(declared: Declared) -> None:
    assert await kind_of(sends(b"{}"), declared) is FailureKind.UNSUPPORTED_MEDIA_TYPE


async def test_parameters_of_the_media_type_do_not_matter() -> None:
    declared = Declared(b"Application/JSON ; charset=utf-8", b"identity", b"2")
    assert await read_body(sends(b"{}"), declared, SETTINGS) == b"{}"


async def test_discarding_ends_by_size_by_time_and_with_the_body() -> None:
    await discard_body(sends(b"01234567890", b"more"), SETTINGS)
    await discard_body(sends(b"0", complete=False), SETTINGS)
    await discard_body(sends(b"0", b"1"), SETTINGS)


def depth(body: bytes) -> int:
    """The smallest limit that lets `body` pass."""
    for limit in range(200):
        try:
            check_nesting(body, limit)
        except Failed:
            continue
        return limit
    raise AssertionError("deeper than 200")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"1", 0),
        (b"[]", 1),
        (b'{"a":[1,{"b":[]}],"c":{}}', 4),
        (b'{"a":"[[[[[["}', 1),
        (rb'{"a":"\"[[["}', 1),
        (rb'{"a":"\\","b":[[]]}', 3),
        (rb'{"a":"\\\"[[[["}', 1),
        (b"[" * 100 + b"]" * 100, 100),
        (b'[{"a":' * 30 + b"1" + b"}]" * 30, 60),
    ],
)
def test_depth_counts_brackets_outside_strings(body: bytes, expected: int) -> None:
    assert depth(body) == expected


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 100_000, b"[]" * 10 + b"[" * 65],
)
def test_unbalanced_depth_is_refused_too(body: bytes) -> None:
    with pytest.raises(Failed) as raised:
        check_nesting(body, 64)
    assert "64 levels" in raised.value.failure.message


KEYS = st.text(st.sampled_from('{"\\'))
JSON_VALUES = st.recursive(
    st.none() | st.text(st.sampled_from('[]{}"\\a')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_depth_agrees_with_a_parser(value: object) -> None:

    assert depth(json.dumps(value).encode()) == _depth_of(value)


def _depth_of(value: object) -> int:
    inner: Iterable[object]
    if isinstance(value, list):
        inner = value
    elif isinstance(value, dict):
        inner = value.values()
    else:
        return 0
    return 1 + max((_depth_of(item) for item in inner), default=0)
