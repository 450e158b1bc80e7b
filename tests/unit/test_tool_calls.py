"""Tool calls in a model's text: found, streamed, and never invented."""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import count, pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from octant.core.failure import Failed, FailureKind
from octant.core.stream import (
    ChoiceFinished,
    PositionLogprobs,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from octant.core.usage import FinishReason
from octant.serving.json_scanner import MAX_DEPTH, JsonScanner
from octant.serving.tool_calls import HERMES, ParsedItem, ToolCallParser

STOP, LENGTH, TOOL_CALLS = FinishReason.STOP, FinishReason.LENGTH, FinishReason.TOOL_CALLS
WEATHER = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>'


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"call_{next(numbers)}"


class Answer(NamedTuple):
    """What a client makes of a stream."""

    text: str
    calls: list[tuple[str, str, str]]
    reason: FinishReason


def accumulated(items: Iterable[ParsedItem]) -> Answer:
    """As openai-python does it: id and name from the first delta of an index, arguments joined."""
    text = ""
    calls: dict[int, list[str]] = {}
    for item in items:
        match item:
            case TextDelta():
                text += item.text
            case ToolCallDelta(call=index) if index not in calls:
                assert item.id is not None
                assert item.name is not None
                calls[index] = [item.id, item.name, item.arguments]
            case ToolCallDelta():
                assert item.id is item.name is None
                calls[item.call][2] += item.arguments
            case ChoiceFinished():
                assert list(calls) == list(range(len(calls)))
                return Answer(text, [(a, b, c) for a, b, c in calls.values()], item.reason)
    raise AssertionError("no end")


def items_of(
    pieces: Sequence[str], reason: FinishReason = STOP, **options: Any
) -> list[ParsedItem]:
    parser = ToolCallParser(HERMES, ids(), **options)
    items: list[ParsedItem] = []
    for piece in pieces:
        items += parser.feed(TextDelta(0, piece, (7,)))
        parser.check_integrity()
    items += parser.feed(ChoiceFinished(0, reason))
    parser.check_integrity()
    return items


def parsed(text: str, reason: FinishReason = STOP, **options: Any) -> Answer:
    """The whole text at once and letter by letter, which must agree."""
    whole = accumulated(items_of([text], reason, **options))
    assert accumulated(items_of(list(text), reason, **options)) == whole
    return whole


def test_text_without_calls_passes_unchanged() -> None:
    for text in ("", "Hello.", "  \n", "\n a <tool", "a < b <tool_calls> </tool_call>", "x\n\n"):
        assert parsed(text) == Answer(text, [], STOP)


def test_a_call_is_taken_out_of_the_text() -> None:
    arguments = '{"city": "Bern"}'
    assert parsed(WEATHER) == Answer("", [("call_1", "get_weather", arguments)], TOOL_CALLS)


def test_text_before_between_and_after_calls_stays_and_white_space_around_them_goes() -> None:
    one = '<tool_call>{"name":"a","arguments":{}}</tool_call>'
    answer = parsed(f"\n\nLet me see. {one}\n{one}\n\nand{one} \n")
    assert answer.text == "\n\nLet me see. \n\nand"
    assert [name for _, name, _ in answer.calls] == ["a", "a", "a"]
    assert [call for call, _, _ in answer.calls] == ["call_1", "call_2", "call_3"]
    assert parsed(f" \n{one}").text == ""


def test_arguments_are_passed_on_exactly_while_they_are_written() -> None:
    arguments = '{ "a" :[1,2.50e+3 , null],"b":"\\u00fc \\"</tool_call>\\" }" }'
    text = f'<tool_call> {{"arguments": {arguments} , "name": "f", "id": -0.5}}</tool_call>'
    assert parsed(text).calls == [("call_1", "f", arguments)]
    text = f'<tool_call>{{"name":"f","arguments":{arguments}}}</tool_call>'
    deltas = [item for item in items_of(list(text)) if isinstance(item, ToolCallDelta)]
    assert deltas[0] == ToolCallDelta(0, 0, "call_1", "f", "{")
    assert [delta.arguments for delta in deltas] == list(arguments)


def test_a_name_is_read_as_json() -> None:
    assert parsed('<tool_call>{"n\\u0061me":"\\u00fc","arguments":{}}</tool_call>').calls == [
        ("call_1", "ü", "{}")
    ]


def test_a_call_that_ends_without_its_tag_is_complete_if_the_model_stopped() -> None:
    cut = WEATHER[: WEATHER.index("\n</tool_call>") + 4]
    assert parsed(cut).reason is TOOL_CALLS
    assert len(parsed(cut).calls) == 1
    assert parsed(cut, LENGTH).reason is LENGTH


def test_a_call_that_the_length_limit_cuts_is_left_unfinished() -> None:
    answer = parsed(WEATHER[:52], LENGTH)
    assert answer == Answer("", [("call_1", "get_weather", '{"c')], LENGTH)
    assert parsed(WEATHER[:30], LENGTH) == Answer(WEATHER[:30], [], LENGTH)


BROKEN = [
    "<tool_call>get_weather</tool_call>",
    "<tool_call></tool_call>",
    "<tool_call>[]</tool_call>",
    '<tool_call>{"name": "f"}</tool_call>',
    '<tool_call>{"arguments": {}}</tool_call>',
    '<tool_call>{"name": "", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "\\ud800", "arguments": {}}</tool_call>',
    '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": "{}"}</tool_call>',
    '<tool_call>{"name": "f", "arguments": null}</tool_call>',
    '<tool_call>{"name": "f", "name": "g", "arguments": {}}</tool_call>',
    "<tool_call>{'name': 'f', 'arguments': {}}</tool_call>",
    '<tool_call>{"name": "f", }',
    "<tool_call>{",
    "<tool_call>",
]


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_call_is_given_back_as_text(text: str) -> None:
    assert parsed(text) == Answer(text, [], STOP)
    assert parsed(f"a\n{text}", LENGTH) == Answer(f"a\n{text}", [], LENGTH)


BROKEN_LATE = [
    '<tool_call>{"name": "f", "arguments": {bad}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {"a": 01}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {}} and so on',
    '<tool_call>{"name": "f", "arguments": {}, "arguments": {}}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {"a": "' + "\n" + '"}}</tool_call>',
]


@pytest.mark.parametrize("text", BROKEN_LATE)
def test_a_call_that_breaks_off_while_streamed_is_not_completed(text: str) -> None:
    answer = parsed(text)
    assert answer.text == text
    assert answer.reason is STOP
    assert parsed(text, whole_calls=True) == Answer(text, [], STOP)


def test_whole_calls_come_in_one_piece() -> None:
    items = items_of(list(WEATHER), whole_calls=True)
    call = ToolCallDelta(0, 0, "call_1", "get_weather", '{"city": "Bern"}')
    assert items == [call, ChoiceFinished(0, TOOL_CALLS)]
    cut = WEATHER[:52]
    assert parsed(cut, LENGTH, whole_calls=True) == Answer(cut, [], LENGTH)


def test_a_broken_call_does_not_hide_the_next() -> None:
    assert parsed(f"<tool_call>\n{WEATHER}").calls[0][1] == "get_weather"
    assert parsed(f"<tool_call>oh {WEATHER}").text == "<tool_call>oh "


def test_a_finished_choice_keeps_its_stop_and_other_reasons() -> None:
    parser = ToolCallParser(HERMES, ids())
    parser.feed(TextDelta(2, WEATHER, ()))
    finished = ChoiceFinished(2, STOP, "User:")
    assert parser.feed(finished) == [ChoiceFinished(2, TOOL_CALLS, "User:")]


def test_tokens_and_logprobs_travel_with_text_and_not_with_calls() -> None:
    def logprob(token: int) -> tuple[PositionLogprobs, ...]:
        return (PositionLogprobs(TokenLogprob(token, "", b"", -1.0), ()),)

    parser = ToolCallParser(HERMES, ids())
    feed = [
        *parser.feed(TextDelta(0, "a", (1,), logprob(1))),
        *parser.feed(TextDelta(0, "", (2,), logprob(2))),
        *parser.feed(TextDelta(0, "<tool", (3,), logprob(3))),
        *parser.feed(TextDelta(0, "s>", (4,), logprob(4))),
        *parser.feed(TextDelta(0, WEATHER, (5,), logprob(5))),
        *parser.feed(TextDelta(0, "b", (6,), logprob(6))),
    ]
    texts = [item for item in feed if isinstance(item, TextDelta)]
    assert texts == [
        TextDelta(0, "a", (1,), logprob(1)),
        TextDelta(0, "<tools>", (2, 3, 4), logprob(2) + logprob(3) + logprob(4)),
        TextDelta(0, "b", (6,), logprob(6)),
    ]


def test_tokens_without_text_come_with_the_end() -> None:
    parser = ToolCallParser(HERMES, ids())
    assert parser.feed(TextDelta(0, "", (9,))) == []
    end = ChoiceFinished(0, LENGTH)
    assert parser.feed(end) == [TextDelta(0, "", (9,)), end]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(Failed) as caught:
        ToolCallParser("xml", ids())
    assert caught.value.failure.kind is FailureKind.UNSUPPORTED_MODEL


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.tuples(
    st.text("abc_é", min_size=1),
    st.dictionaries(st.text(), JSON, max_size=3),
    st.booleans(),
    st.sampled_from([None, 1]),
)
SCRAPS = st.sampled_from(
    [
        "<tool_call>",
        "</tool_call>",
        "<tool",
        "\n",
        '{"name": "f", ',
        '"arguments": {',
        "}",
        "hi",
        WEATHER,
    ]
)
CUTS = st.lists(st.integers(0, 200), max_size=20)


def cut(text: str, cuts: list[int]) -> list[str]:
    places = sorted([0, len(text), *(min(place, len(text)) for place in cuts)])
    return [text[start:end] for start, end in pairwise(places)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.text("ab <\n", max_size=8), CALLS), max_size=3), CUTS)
def test_calls_survive_writing_and_reading(
    turns: list[tuple[str, tuple[str, dict[str, Any], bool, int | None]]], cuts: list[int]
) -> None:
    text, expected, spoken = "", [], ""
    for said, (name, arguments, ascii_only, indent) in turns:
        body = json.dumps(arguments, ensure_ascii=ascii_only, indent=indent)
        text += (
            f'{said}<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {body}}}\n</tool_call>'
        )
        expected.append((name, body))
        spoken += "" if said.isspace() else said
    for options in ({}, {"whole_calls": True}):
        answer = accumulated(items_of(cut(text, cuts), **options))
        assert [(name, body) for _, name, body in answer.calls] == expected
        assert answer.text == spoken
        assert answer.reason is (TOOL_CALLS if turns else STOP)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(SCRAPS, max_size=8).map("".join),
    CUTS,
    st.sampled_from([STOP, LENGTH]),
    st.booleans(),
)
@example('<tool_call>{"name": "f", "arguments": {' + "hi", [], STOP, False)
def test_the_cuts_change_nothing(
    text: str, cuts: list[int], reason: FinishReason, whole: bool
) -> None:
    pieces = accumulated(items_of(cut(text, cuts), reason, whole_calls=whole))
    assert pieces == accumulated(items_of([text], reason, whole_calls=whole))


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from([None, 2]), st.integers(0, 30), st.characters())
def test_the_scanner_accepts_json_and_nothing_else(
    value: Any, indent: int | None, place: int, letter: str
) -> None:
    text = json.dumps([value], indent=indent)
    assert scanned(text)
    spoiled = text[:place] + letter + text[place:]
    assert scanned(spoiled) == is_json(spoiled)


def scanned(text: str) -> bool:
    scanner = JsonScanner()
    try:
        for letter in text:
            scanner.step(letter)
    except ValueError:
        return False
    return scanner.done


def is_json(text: str) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


def test_the_scanner_bounds_nesting() -> None:
    assert scanned("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert not scanned("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
