"""The wording of msgspec's errors, which `gateway/json_input.py` translates, class by class."""

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from octant.core.failure import Failed, FailureKind
from octant.gateway.fields import table, taken
from octant.gateway.json_input import check_nesting, decode_body


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    number: Annotated[float, Meta(ge=0, le=1)] = 0


class Tagged(msgspec.Struct, tag_field="kind", tag="a"):
    pass


class Other(msgspec.Struct, tag_field="kind", tag="c"):
    pass


class Body(msgspec.Struct):
    name: str
    inner: Inner | None = None
    items: list[int | str] | None = None
    tagged: list[Tagged | Other] | None = None
    count: Annotated[int, Meta(le=9)] = 0
    word: Annotated[str, Meta(pattern="^x+$")] = "x"
    few: Annotated[list[int], Meta(max_length=2)] | None = None
    by_name: dict[str, Annotated[int, Meta(ge=0)]] | None = None


FIELDS = table(*(taken(name, "Note.") for name in Body.__struct_fields__))


@pytest.mark.parametrize(
    ("body", "kind", "param", "says"),
    [
        (b"", FailureKind.INVALID_JSON, None, "could not parse"),
        (b"{", FailureKind.INVALID_JSON, None, "could not parse"),
        (b'{"name":"a"} trailing', FailureKind.INVALID_JSON, None, "could not parse"),
        (b"[]", FailureKind.INVALID_TYPE, None, "must be a JSON object"),
        (b"null", FailureKind.INVALID_TYPE, None, "must be a JSON object"),
        (b"{}", FailureKind.MISSING_PARAMETER, "name", "'name'"),
        (b'{"name":null}', FailureKind.INVALID_TYPE, "name", "expected a string, but got null"),
        (b'{"name":"a","items":[1,[]]}', FailureKind.INVALID_TYPE, "items[1]", "an integer or a"),
        (b'{"name":"a","count":10}', FailureKind.INVALID_VALUE, "count", "an integer <= 9"),
        (b'{"name":"a","count":%s}' % (b"9" * 400), FailureKind.INVALID_VALUE, "count", "<= 9"),
        (b'{"name":"a","count":1.5}', FailureKind.INVALID_TYPE, "count", "got a number"),
        (b'{"name":"a","count":true}', FailureKind.INVALID_TYPE, "count", "got a boolean"),
        (b'{"name":"a","word":"y"}', FailureKind.INVALID_VALUE, "word", "matching regex"),
        (b'{"name":"a","few":[1,2,3]}', FailureKind.INVALID_VALUE, "few", "of length <= 2"),
        (b'{"name":"a","by_name":{"k":-1}}', FailureKind.INVALID_VALUE, "by_name", ">= 0"),
        (b'{"name":"a","inner":{"number":2}}', FailureKind.INVALID_VALUE, "inner.number", "<= 1"),
        (b'{"name":"a","inner":{"number":1e999}}', FailureKind.INVALID_VALUE, "inner.number", ""),
        (b'{"name":"a","inner":{"x":2}}', FailureKind.UNKNOWN_PARAMETER, "inner.x", "'inner.x'"),
        (b'{"name":"a","tagged":[{"kind":"b"}]}', FailureKind.INVALID_VALUE, "tagged[0].kind", ""),
        (b'{"name":"a","tagged":[{}]}', FailureKind.MISSING_PARAMETER, "tagged[0].kind", "Missing"),
        (b'{"name":"a","other":1}', FailureKind.UNKNOWN_PARAMETER, "other", "Unrecognized"),
        (b'{"name":NaN}', FailureKind.INVALID_JSON, None, "could not parse"),
        (b'{"name":"\xff"}', FailureKind.INVALID_JSON, None, "UTF-8 at byte 9"),
        (b'{"name":"\xed\xa0\x80"}', FailureKind.INVALID_JSON, None, "UTF-8"),
        (b'{"name":"\\ud800"}', FailureKind.INVALID_JSON, None, "could not parse"),
        (b'{"name":"\\udc00\\ud800"}', FailureKind.INVALID_JSON, None, "could not parse"),
        (b'\xef\xbb\xbf{"name":"a"}', FailureKind.INVALID_JSON, None, "could not parse"),
    ],
)  # fmt: skip
def test_every_error_is_classified(
    body: bytes, kind: FailureKind, param: str | None, says: str
) -> None:
    with pytest.raises(Failed) as raised:
        decode_body(body, Body, FIELDS, 64)
    failure = raised.value.failure
    assert (failure.kind, failure.param) == (kind, param)
    assert says in failure.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"a","%s":1}',
        b'{"name":"a","inner":{"%s":1}}',
        b'{"name":"a","tagged":[{"kind":"%s"}]}',
    ],
)
def test_what_a_caller_sent_is_quoted_briefly(body: bytes) -> None:
    with pytest.raises(Failed) as raised:
        decode_body(body % (b"x" * 100_000), Body, FIELDS, 64)
    failure = raised.value.failure
    assert len(failure.message) < 400
    assert len(failure.param or "") < 400


@pytest.mark.parametrize("edge", range(-3, 4))
@pytest.mark.parametrize(
    ("before", "after", "depth"),
    [
        (b"[", b"[[[]]]", 4),
        (b'["', b'[[["[[]', 3),
        (b'["\\\\\\"', b'[[["{}[', 2),
        (b'["', b'","' + b" " * 65_536 + b'[[[","[[', 1),
    ],
)
def test_nesting_is_counted_across_the_blocks_of_a_long_body(
    edge: int, before: bytes, after: bytes, depth: int
) -> None:
    body = before + b" " * (65_536 + edge - len(before)) + after
    check_nesting(body, depth)
    with pytest.raises(Failed):
        check_nesting(body, depth - 1)


def test_the_last_of_duplicate_keys_counts() -> None:
    assert decode_body(b'{"name":"a","name":"b"}', Body, FIELDS, 64).name == "b"


def test_control_characters_and_nul_are_text() -> None:
    assert decode_body(rb'{"name":"\u0000\u001b"}', Body, FIELDS, 64).name == "\x00\x1b"
