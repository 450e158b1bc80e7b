"""A turn: own calls stay inside, all else concerns the caller, what was said is kept whole."""

from octant.core.content import Message, Role, TextPart, ToolCall
from octant.core.stream import ChoiceFinished, StreamItem, TextDelta, ToolCallDelta
from octant.core.usage import FinishReason
from octant.orchestration.turn import Turn

SAID: tuple[StreamItem, ...] = (
    TextDelta(0, "Let me ", (1, 2)),
    TextDelta(0, "see.", (3,)),
    ToolCallDelta(0, 0, "call_1", "calculator", ""),
    ToolCallDelta(0, 0, None, None, '{"expression": '),
    ToolCallDelta(0, 0, None, None, '"1+1"}'),
    ToolCallDelta(0, 1, "call_2", "open_door", "{}"),
    ChoiceFinished(0, FinishReason.TOOL_CALLS),
)


def gathered(choices: int = 1, own: frozenset[str] = frozenset({"calculator"})) -> Turn:
    return Turn(choices, own.__contains__)


def test_a_call_of_an_own_tool_does_not_concern_the_caller() -> None:
    turn = gathered()
    assert [turn.take(item) for item in SAID] == [True, True, False, False, False, True, True]


def test_proposed_calls_are_numbered_from_zero_whatever_is_called_besides() -> None:
    turn = gathered()
    shown = [turn.shown(item) for item in SAID if turn.take(item)]
    assert shown == [*SAID[:2], ToolCallDelta(0, 0, "call_2", "open_door", "{}"), SAID[-1]]
    assert [
        call.id for message in turn.messages(unanswered=False) for call in message.tool_calls
    ] == ["call_2"]


def test_calls_are_put_together_from_their_deltas() -> None:
    turn = gathered()
    for item in SAID:
        turn.take(item)
    own = ToolCall(id="call_1", name="calculator", arguments='{"expression": "1+1"}')
    foreign = ToolCall(id="call_2", name="open_door", arguments="{}")
    assert list(turn.own_calls) == [own]
    assert turn.proposes
    assert turn.messages() == (
        Message(
            role=Role.ASSISTANT,
            parts=(TextPart(text="Let me see."),),
            tool_calls=(own, foreign),
        ),
    )


def test_without_own_tools_every_call_is_a_proposal() -> None:
    turn = gathered(own=frozenset())
    assert all(turn.take(item) for item in SAID)
    assert not turn.own_calls and turn.proposes


def test_choices_are_kept_apart() -> None:
    turn = gathered(2)
    for choice, text in ((0, "a"), (1, "b"), (0, "c")):
        turn.take(TextDelta(choice, text, (1,)))
    assert [turn.text(choice) for choice in range(2)] == ["ac", "b"]
    assert [message.text for message in turn.messages()] == ["ac", "b"]
