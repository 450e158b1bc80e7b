"""Answer: what a provider's items become before a caller sees them.

    items of a provider -> the prompt echoed, where asked -> tool calls parsed out of the text

Law: order is kept, nothing is held back longer than its own recognition needs, the prompt is echoed
once however many attempts there are, and the terminal item passes through untouched.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

from octant.core.content import ChatInput, ToolChoice
from octant.core.envelope import RequestEnvelope
from octant.core.stream import Broken, ChoiceFinished, Started, StreamItem, TextDelta
from octant.core.work import PromptPackage
from octant.orchestration.routes import ServedModel
from octant.serving.tool_calls import ToolCallParser


async def shape(
    items: AsyncIterator[StreamItem],
    envelope: RequestEnvelope,
    model: ServedModel,
    package: PromptPackage,
    call_ids: Callable[[], str],
) -> AsyncGenerator[StreamItem, None]:
    """The items in the form in which they leave Octant."""
    parsers = _parsers(envelope, model, call_ids)
    echoes = _echoes(envelope, package)
    async for item in items:
        if isinstance(item, Started | Broken):
            yield item
        else:
            # Only now: an attempt that fails before any output may still be followed by another.
            for echo in echoes:
                yield echo
            for shaped in _shaped(item, parsers):
                yield shaped


def _shaped(item: StreamItem, parsers: list[ToolCallParser]) -> Sequence[StreamItem]:
    if parsers and isinstance(item, TextDelta | ChoiceFinished):
        return parsers[item.choice].feed(item)
    return (item,)


def _parsers(
    envelope: RequestEnvelope, model: ServedModel, call_ids: Callable[[], str]
) -> list[ToolCallParser]:
    """One parser for each choice, or none when no tool can be called."""
    chat = envelope.input
    if not isinstance(chat, ChatInput) or not chat.tools or model.tool_format is None:
        return []
    if chat.tool_choice is ToolChoice.NONE:
        return []
    whole_calls = not envelope.stream
    return [
        ToolCallParser(model.tool_format, call_ids, whole_calls=whole_calls)
        for _ in range(envelope.sampling.n)
    ]


def _echoes(envelope: RequestEnvelope, package: PromptPackage) -> Iterator[TextDelta]:
    if package.echo_text is not None:
        for choice in range(envelope.sampling.n):
            yield TextDelta(choice, package.echo_text, ())
