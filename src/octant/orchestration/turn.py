"""Turn: what one model call said, gathered while it is passed on.

Law: a call of one of Octant's own tools never reaches the caller as a proposal; everything else
does. What is gathered is the model's own text, placeholders in place: it is what the model is shown
next and what a session keeps.
"""

from collections.abc import Callable, Sequence

from octant.core.content import Message, Role, TextPart, ToolCall
from octant.core.stream import StreamItem, TextDelta, ToolCallDelta


class Turn:
    """One call of the model, `choices` answers wide."""

    def __init__(self, choices: int, owned: Callable[[str], bool]) -> None:
        self._owned = owned
        self._texts: list[list[str]] = [[] for _ in range(choices)]
        self._calls: list[dict[int, ToolCall]] = [{} for _ in range(choices)]

    def take(self, item: StreamItem) -> bool:
        """Gathers one item that is not terminal; whether it concerns the caller."""
        match item:
            case TextDelta():
                self._texts[item.choice].append(item.text)
            case ToolCallDelta():
                return not self._gather(item)
            case _:
                pass
        return True

    def shown(self, item: StreamItem) -> StreamItem:
        """The item as the caller sees it: proposed calls are numbered without those between them
        that are Octant's own. Clients take the numbers for places in a list."""
        if not isinstance(item, ToolCallDelta):
            return item
        calls = self._calls[item.choice].items()
        hidden = sum(place < item.call and self._owned(call.name) for place, call in calls)
        return item._replace(call=item.call - hidden) if hidden else item

    @property
    def own_calls(self) -> Sequence[ToolCall]:
        """Calls of Octant's tools in the first answer, in order; only one answer may have them."""
        return [call for call in self._calls[0].values() if self._owned(call.name)]

    @property
    def proposes(self) -> bool:
        """Whether the caller is asked to run a tool of its own."""
        return any(self.proposes_in(choice) for choice in range(len(self._calls)))

    def proposes_in(self, choice: int) -> bool:
        """Whether one answer does."""
        return any(not self._owned(call.name) for call in self._calls[choice].values())

    def text(self, choice: int) -> str:
        """What was said so far."""
        return "".join(self._texts[choice])

    def messages(self, *, unanswered: bool = True) -> tuple[Message, ...]:
        """Every answer as an assistant message, in the order of the choices.

        With `unanswered` False the calls of Octant's own tools, which were not run, are left out: a
        conversation goes on only where every call in it has its result.
        """
        return tuple(
            Message(
                role=Role.ASSISTANT,
                parts=(TextPart(text=text),) if (text := self.text(choice)) else (),
                tool_calls=tuple(
                    call for call in calls.values() if unanswered or not self._owned(call.name)
                ),
            )
            for choice, calls in enumerate(self._calls)
        )

    def _gather(self, item: ToolCallDelta) -> bool:
        """Whether the call is one of ours. Its name comes with the first of its deltas."""
        calls = self._calls[item.choice]
        known = calls.get(item.call)
        if known is None:
            known = ToolCall(id=item.id or "", name=item.name or "", arguments="")
        calls[item.call] = ToolCall(
            id=known.id, name=known.name, arguments=known.arguments + item.arguments
        )
        return self._owned(known.name)
