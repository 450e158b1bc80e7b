"""Answer: what a provider's items become before a caller sees them. Pure.

    items of one attempt -> the prompt echoed, where asked -> tool calls parsed out of the text

Law: order is kept, nothing is held back longer than its own recognition needs, and the terminal
item passes through untouched. The prompt is echoed with the first output, so that an attempt which
another one follows has echoed nothing.
"""

from collections.abc import Callable, Sequence

from octant.core.content import ChatInput, ToolChoice
from octant.core.envelope import RequestEnvelope
from octant.core.stream import Broken, ChoiceFinished, Started, StreamItem, TextDelta
from octant.serving.tool_calls import ToolCallParser


class AnswerShape:
    """Shapes the items of one attempt.

    `tool_format` None means that the provider parses tool calls itself, or that its release knows
    none.
    """

    def __init__(
        self,
        envelope: RequestEnvelope,
        tool_format: str | None,
        echo_text: str | None,
        call_ids: Callable[[], str],
    ) -> None:
        self._parsers = _parsers(envelope, tool_format, call_ids)
        choices = range(envelope.sampling.n) if echo_text is not None else ()
        self._echoes = tuple(TextDelta(choice, echo_text or "", ()) for choice in choices)

    def feed(self, item: StreamItem) -> Sequence[StreamItem]:
        """The item in the form in which it leaves Octant."""
        if isinstance(item, Started | Broken):
            return (item,)
        echoes, self._echoes = self._echoes, ()
        return (*echoes, *self._shaped(item))

    def _shaped(self, item: StreamItem) -> Sequence[StreamItem]:
        if self._parsers and isinstance(item, TextDelta | ChoiceFinished):
            return self._parsers[item.choice].feed(item)
        return (item,)


def _parsers(
    envelope: RequestEnvelope, tool_format: str | None, call_ids: Callable[[], str]
) -> list[ToolCallParser]:
    """One parser for each choice, or none when no tool can be called."""
    chat = envelope.input
    if not isinstance(chat, ChatInput) or not chat.tools or tool_format is None:
        return []
    if chat.tool_choice is ToolChoice.NONE:
        return []
    whole_calls = not envelope.stream
    return [
        ToolCallParser(tool_format, call_ids, whole_calls=whole_calls)
        for _ in range(envelope.sampling.n)
    ]
