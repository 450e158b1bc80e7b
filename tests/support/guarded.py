"""Answers pushed through a stream guard, piece by piece."""

from collections.abc import Sequence

from octant.core.stream import ChoiceFinished, StreamItem, TextDelta, ToolCallDelta
from octant.core.usage import FinishReason
from octant.governance.stream_guard import StreamGuard

FINISHED = ChoiceFinished(0, FinishReason.STOP)


def fed(guard: StreamGuard, pieces: Sequence[str], *, as_call: bool = False) -> list[StreamItem]:
    """What comes out for these pieces and the end of the choice; integrity holds throughout."""
    items: list[StreamItem] = []
    for number, piece in enumerate(pieces):
        if as_call:
            first = number == 0
            name = "tool" if first else None
            item: StreamItem = ToolCallDelta(0, 0, "call_1" if first else None, name, piece)
        else:
            item = TextDelta(0, piece, (number,))
        items.extend(guard.feed(item))
        guard.check_integrity()
    items.extend(guard.feed(FINISHED))
    return items


def text_of(items: Sequence[StreamItem]) -> str:
    """Content and arguments, joined."""
    parts = [item.text for item in items if isinstance(item, TextDelta)]
    parts += [item.arguments for item in items if isinstance(item, ToolCallDelta)]
    return "".join(parts)
