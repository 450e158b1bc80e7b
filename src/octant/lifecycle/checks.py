"""Checks: how a reply is judged, one class per kind, one function for all of them.

Law: a check looks at what a client sees (content and tool calls), never at raw model text. Equality
of values is JSON's: numbers by value, true is not 1, the order of keys does not matter.
"""

import json
import re
from typing import Any, NamedTuple, assert_never, cast

import msgspec

_CITATION_MARK = re.compile(r"\[\d+\]")


class CalledTool(NamedTuple):
    """A proposed call; `arguments` is JSON text as the model wrote it."""

    name: str
    arguments: str


class Reply(NamedTuple):
    """What a model answered."""

    content: str
    tool_calls: tuple[CalledTool, ...] = ()


class Exact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="exact"):
    """The content is `text`, apart from white space around it."""

    text: str


class Json(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="json"):
    """The content is JSON and equals `value`."""

    value: Any


class ToolCall(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="tool_call"
):
    """Exactly one call, of `name`, with arguments equal to `arguments`."""

    name: str
    arguments: dict[str, Any]


class Cited(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="cited"):
    """Says one of `any_of` and ends with `citation`, the only mark in it."""

    any_of: tuple[str, ...]
    citation: str


class Contains(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="contains"
):
    """Says every text of `all`, whatever the case."""

    all: tuple[str, ...]


class Refusal(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="refusal"
):
    """Says one of `any_of`, calls no tool and cites nothing."""

    any_of: tuple[str, ...]


Check = Exact | Json | ToolCall | Cited | Contains | Refusal


def passes(check: Check, reply: Reply) -> bool:
    """Whether the reply satisfies the check."""
    match check:
        case Exact():
            return reply.content.strip() == check.text.strip()
        case Json():
            return _equals_json(reply.content, check.value)
        case ToolCall():
            return _calls(check, reply)
        case Cited():
            marks = _CITATION_MARK.findall(reply.content)
            ends = reply.content.rstrip().endswith(check.citation)
            return ends and marks == [check.citation] and _says_any(check.any_of, reply)
        case Contains():
            return all(_says(text, reply) for text in check.all)
        case Refusal():
            silent = not reply.tool_calls and not _CITATION_MARK.search(reply.content)
            return silent and _says_any(check.any_of, reply)
        case _:
            assert_never(check)


def _calls(check: ToolCall, reply: Reply) -> bool:
    if len(reply.tool_calls) != 1:
        return False
    (call,) = reply.tool_calls
    return call.name == check.name and _equals_json(call.arguments, check.arguments)


def _says(text: str, reply: Reply) -> bool:
    return text.lower() in reply.content.lower()


def _says_any(texts: tuple[str, ...], reply: Reply) -> bool:
    return any(_says(text, reply) for text in texts)


def _equals_json(text: str, value: Any) -> bool:
    try:
        return _same(json.loads(text), value)
    except ValueError:
        return False


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        ours, theirs = cast("dict[str, Any]", left), cast("dict[str, Any]", right)
        return ours.keys() == theirs.keys() and all(_same(ours[k], theirs[k]) for k in ours)
    if isinstance(left, list) and isinstance(right, list):
        ours_listed, theirs_listed = cast("list[Any]", left), cast("list[Any]", right)
        return len(ours_listed) == len(theirs_listed) and all(
            map(_same, ours_listed, theirs_listed)
        )
    return left == right
