"""ToolCallParser: tool calls written in a model's text, as tool calls of the stream.

    <tool_call> {"name": "...", "arguments": {...}} </tool_call>          (format "hermes")

Law: the result depends on the text alone, not on how it was cut. Arguments are the model's own
JSON text, passed on while it is written and only as long as it is valid. What turns out to be no
call goes out as the text that it is; a call is never completed or repaired here. White space
around calls is dropped.
"""

import json
from collections.abc import Callable, Generator, Iterator
from enum import Enum, auto

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.core.stream import ChoiceFinished, PositionLogprobs, TextDelta, ToolCallDelta
from octant.core.usage import FinishReason
from octant.serving.json_scanner import JsonScanner, Mark, Marked
from octant.serving.stops import StopFinder

HERMES = "hermes"
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"

ParsedItem = TextDelta | ToolCallDelta | ChoiceFinished


class ToolCallParser:
    """Parses one choice; give it every TextDelta of the choice and its ChoiceFinished.

    Tokens and log-probabilities travel with the next text that goes out; those of a call's text go
    nowhere, for there is no text to attach them to.
    """

    def __init__(
        self, format: str, call_ids: Callable[[], str], *, whole_calls: bool = False
    ) -> None:
        """With `whole_calls` a call goes out in one piece once it is complete, for answers that
        are not streamed: nothing is then seen of a call that breaks off.

        Raises Failed(UNSUPPORTED_MODEL) for a format that is not known.
        """
        if format != HERMES:
            raise Failed(
                Failure(
                    kind=FailureKind.UNSUPPORTED_MODEL,
                    stage=Stage.LOAD,
                    message=f'The tool-call format "{format}" is not known; known is "{HERMES}".',
                )
            )
        self._call_ids = call_ids
        self._whole_calls = whole_calls
        self._opening = StopFinder((_OPEN,))
        self._call: _Call | None = None
        self._announced = 0
        self._completed = 0
        self._blank = ""
        self._spoken = False
        self._tokens: tuple[int, ...] = ()
        self._logprobs: tuple[PositionLogprobs, ...] = ()

    def feed(self, item: TextDelta | ChoiceFinished) -> list[ParsedItem]:
        """What the item sets free, in order."""
        if isinstance(item, ChoiceFinished):
            return [*self._finish(item.choice, item.reason), self._finished(item)]
        self._tokens += item.tokens
        self._logprobs += item.logprobs
        return list(self._read(item.choice, item.text))

    def check_integrity(self) -> None:
        """Raises AssertionError when calls or held text do not add up."""
        assert self._completed <= self._announced, "a call was completed that was never announced"
        assert self._blank == "" or not self._spoken, "white space is held back amid text"
        self._opening.check_integrity()

    def _read(self, choice: int, text: str) -> Iterator[ParsedItem]:
        while text:
            if self._call is None:
                found = self._opening.feed(text)
                yield from self._say(choice, found.text)
                text = found.rest
                if found.stop is not None:
                    self._call = _Call(self._announced)
            else:
                text = yield from self._read_call(choice, self._call, text)

    def _read_call(self, choice: int, call: "_Call", text: str) -> Generator[ParsedItem, None, str]:
        """Returns the text behind the call, or from where it stopped being one."""
        count = call.read(text)
        if call.state is _State.COMPLETE:
            yield from self._complete(choice, call)
            return text[count:]
        if not self._whole_calls:
            yield from self._progress(choice, call)
        if call.state is _State.BROKEN:
            yield from self._give_back(choice, call)
        return text[count:]

    def _progress(self, choice: int, call: "_Call") -> Iterator[ParsedItem]:
        if call.name is None:
            return
        fragment = call.unsent_arguments()
        if not fragment:
            return
        if call.index == self._announced:
            self._announced += 1
            yield ToolCallDelta(choice, call.index, self._call_ids(), call.name, fragment)
        else:
            yield ToolCallDelta(choice, call.index, None, None, fragment)

    def _complete(self, choice: int, call: "_Call") -> Iterator[ParsedItem]:
        yield from self._progress(choice, call)
        self._call = None
        self._completed += 1
        self._blank, self._spoken = "", False
        self._tokens, self._logprobs = (), ()

    def _give_back(self, choice: int, call: "_Call") -> Iterator[ParsedItem]:
        self._call = None
        yield from self._say(choice, _OPEN + call.text)

    def _say(self, choice: int, text: str) -> Iterator[ParsedItem]:
        """Text outside of calls. White space waits for what follows it."""
        if not self._spoken:
            text = self._blank + text
            self._spoken = bool(text) and not text.isspace()
            self._blank = "" if self._spoken else text
        if text and self._spoken:
            yield self._with_tokens(choice, text)

    def _with_tokens(self, choice: int, text: str) -> TextDelta:
        delta = TextDelta(choice, text, self._tokens, self._logprobs)
        self._tokens, self._logprobs = (), ()
        return delta

    def _finish(self, choice: int, reason: FinishReason) -> Iterator[ParsedItem]:
        call = self._call
        if call is None:
            yield from self._say(choice, self._opening.flush())
        elif call.state is _State.CLOSING and reason is FinishReason.STOP:
            yield from self._complete(choice, call)
        elif call.index == self._announced or reason is FinishReason.STOP:
            yield from self._give_back(choice, call)
        if self._announced == 0 and (self._blank or self._tokens or self._logprobs):
            yield self._with_tokens(choice, self._blank)

    def _finished(self, item: ChoiceFinished) -> ChoiceFinished:
        if self._completed and item.reason is FinishReason.STOP:
            return item._replace(reason=FinishReason.TOOL_CALLS)
        return item


class _State(Enum):
    JSON = auto()
    CLOSING = auto()
    COMPLETE = auto()
    BROKEN = auto()


class _Call:
    """The text between the tags so far, and what is known of the call."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.text = ""
        self.state = _State.JSON
        self.name: str | None = None
        self._scanner = JsonScanner()
        self._key = ""
        self._start = 0
        self._unsent: int | None = None
        self._end: int | None = None
        self._closed = 0

    def read(self, text: str) -> int:
        """How many letters belong to the call; all of them while it is neither done nor broken."""
        before = len(self.text)
        self.text += text
        for position in range(before, len(self.text)):
            try:
                self._step(self.text[position], position)
            except ValueError:
                self.state = _State.BROKEN
                self.text = self.text[:position]
                return position - before
            if self.state is _State.COMPLETE:
                return position + 1 - before
        return len(text)

    def unsent_arguments(self) -> str:
        """The part of the arguments' text that was not returned before."""
        if self._unsent is None:
            return ""
        fragment = self.text[self._unsent : self._end]
        self._unsent += len(fragment)
        return fragment

    def _step(self, letter: str, position: int) -> None:
        if self.state is _State.CLOSING:
            self._close(letter)
            return
        marked = self._scanner.step(letter)
        if marked is not None and marked.depth == 1:
            self._note(marked.mark, position)
        elif marked == Marked(Mark.VALUE_OPENED, 0) and letter != "{":
            raise ValueError("a call is an object")
        if self._scanner.done:
            if self.name is None or self._unsent is None:
                raise ValueError("a call has a name and arguments")
            self.state = _State.CLOSING

    def _close(self, letter: str) -> None:
        if self._closed == 0 and letter.isspace():
            return
        if letter != _CLOSE[self._closed]:
            raise ValueError("text follows the call")
        self._closed += 1
        if self._closed == len(_CLOSE):
            self.state = _State.COMPLETE

    def _note(self, mark: Mark, position: int) -> None:
        match mark:
            case Mark.KEY_OPENED:
                self._start = position
            case Mark.KEY_CLOSED:
                self._key = json.loads(self.text[self._start : position + 1])
            case Mark.VALUE_OPENED:
                self._start = position
                self._open_value(position)
            case Mark.VALUE_CLOSED:
                self._close_value(position)

    def _open_value(self, position: int) -> None:
        letter = self.text[position]
        if self._key == "arguments":
            if self._unsent is not None or letter != "{":
                raise ValueError("the arguments are one object")
            self._unsent = position
        elif self._key == "name" and (self.name is not None or letter != '"'):
            raise ValueError("the name is one string")

    def _close_value(self, position: int) -> None:
        if self._key == "arguments":
            self._end = position + 1
        elif self._key == "name":
            self.name = json.loads(self.text[self._start : position + 1])
            # Half a surrogate pair can be spelled in JSON and is no text.
            if not self.name or not self.name.isprintable():
                raise ValueError("the name is empty or not text")
