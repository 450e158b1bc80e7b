"""Arguments of tools: valid JSON stays valid, whatever is taken out of it and put back."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from octant.core.content import ChatInput, Message, Role, ToolCall
from octant.governance.governor import Governor
from octant.governance.json_text import JsonUnits, meaning, rewrite_json
from tests.support.envelopes import envelope
from tests.support.policies import built_in

BUILT_IN = Governor(built_in())
texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        (
            "card 4111 1111 1111 1111.",
            'a "quoted" DE89370400440532013000 \\ back',
            "<CARD_1> and <LITERAL_2>",
            "4111\u200b1111 1111\u00a01111",
            "536-90-4399\n5555555555554444",
        )
    ),
)
values = st.recursive(
    st.one_of(texts, st.booleans(), st.none(), st.integers(-9, 999)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def screened(arguments: str) -> tuple[str, str]:
    """The arguments as a model sees them, and as they are restored."""
    message = Message(
        role=Role.ASSISTANT, tool_calls=(ToolCall(id="c", name="t", arguments=arguments),)
    )
    result = BUILT_IN.screen(envelope(input=ChatInput(messages=(message,))), {})
    assert isinstance(result.envelope.input, ChatInput)
    shown = result.envelope.input.messages[0].tool_calls[0].arguments
    result.vault.check_integrity()
    return shown, result.vault.restore_json(shown)


@settings(max_examples=150, deadline=None)
@given(values, st.booleans())
def test_valid_json_stays_valid_and_comes_back(value: Any, ascii_only: bool) -> None:
    arguments = json.dumps({"value": value}, ensure_ascii=ascii_only)
    shown, restored = screened(arguments)
    json.loads(shown)
    assert "4111" not in shown
    assert "DE89" not in shown
    assert _plain(json.loads(restored)) == _plain(json.loads(arguments))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='\\u0041nx"{}é41 ', max_size=40), st.lists(st.integers(0, 6), max_size=12))
@example("\\u\\", [])
def test_json_is_split_alike_in_any_parts(text: str, sizes: list[int]) -> None:
    whole = JsonUnits()
    expected = [*whole.feed(text), *whole.flush()]
    parts = JsonUnits()
    units: list[str] = []
    place = 0
    for size in sizes:
        units += parts.feed(text[place : place + size])
        place += size
    units += [*parts.feed(text[place:]), *parts.flush()]
    assert units == expected
    assert "".join(units) == text
    assert all(len(meaning(unit)) == 1 for unit in units)


@given(st.text(max_size=40))
def test_without_edits_json_is_left_alone(text: str) -> None:
    assert rewrite_json(text, lambda _: ()) == text


def _plain(value: Any) -> str:
    """Values are restored without their disguises, and in their first spelling."""
    text = json.dumps(value, ensure_ascii=False)
    for hidden in ("\u200b", "\u00a0", " "):
        text = text.replace(hidden, "")
    return text
