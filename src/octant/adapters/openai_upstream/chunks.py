"""Chunks: the events of one upstream answer as StreamItems. Pure.

Law: an answer is complete only when every choice that was asked for has finished and the stream has
said [DONE]; tool calls come out as they were sent, none is made up or completed here. Usage is the
upstream's own where it can be true, else estimated from the text and marked so.
"""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from octant.adapters.openai_upstream import failures
from octant.core.failure import Failed, Failure
from octant.core.ids import RouteId
from octant.core.stage import Stage
from octant.core.stream import (
    ChoiceFinished,
    Completed,
    PositionLogprobs,
    StreamItem,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from octant.core.usage import FinishReason, Usage

MAX_TOOL_CALLS = 128
BYTES_PER_TOKEN = 4
_DONE = b"[DONE]"
# Upstreams name tokens by their text alone.
_NO_ID = -1
_REASONS = {reason.value: reason for reason in FinishReason}

_Count = Annotated[int, Meta(ge=0)]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: _Count = 0
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[Annotated[int, Meta(ge=0, le=255)]] | None = None
    top_logprobs: list["_Logprob"] = []


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct):
    """`text` is of completions, `delta` of chat completions. Logprobs of completions stay raw."""

    index: _Count = 0
    delta: _Delta = msgspec.field(default_factory=_Delta)
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _CachedTokens(msgspec.Struct):
    cached_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: _CachedTokens | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Chunk)


class AnswerBounds(NamedTuple):
    """What the request allows: `choices` answers within `max_context`; the prompt's likely size."""

    choices: int
    max_context: int
    prompt_tokens: int


class Read(NamedTuple):
    """What some events came to; nothing comes after a failure."""

    items: list[StreamItem]
    failure: Failure | None = None


class ChunkReader:
    """Reads one answer; give it the data of every event in order."""

    def __init__(self, route: RouteId, bounds: AnswerBounds) -> None:
        self.done = False
        self._route = route
        self._bounds = bounds
        self._finished: set[int] = set()
        self._calls: dict[tuple[int, int], int] = {}
        self._stated: Usage | None = None
        self._said_bytes = 0

    @property
    def usage(self) -> Usage:
        """What has been used so far; nothing as long as nothing was said."""
        if self._stated is not None:
            return self._stated
        if not self._said_bytes and not self._finished:
            return Usage()
        return Usage(
            prompt_tokens=self._bounds.prompt_tokens,
            completion_tokens=-(-self._said_bytes // BYTES_PER_TOKEN),
            estimated=True,
        )

    def feed_all(self, events: Sequence[bytes]) -> "Read":
        """The items of events that arrived together, up to the end or to what is wrong with them.
        Text that follows text of the same choice is one item.
        """
        items: list[StreamItem] = []
        for data in events:
            try:
                for item in self.feed(data):
                    _append(items, item)
            except Failed as error:
                return Read(items, error.failure)
            if self.done:
                break
        return Read(items)

    def feed(self, data: bytes) -> list[StreamItem]:
        """The items of one event; the last one of all is `Completed`.

        Raises Failed(UPSTREAM_FAILURE) for what is no chunk, Failed(STREAM_TRUNCATED) for an end
        before every choice has finished, or what an error in place of a chunk amounts to.
        """
        if data == _DONE:
            return [self._complete()]
        try:
            chunk = _DECODER.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._garbage("an event that is no chunk") from error
        if chunk.error is not None:
            raise Failed(failures.in_band(self._route, chunk.error))
        if chunk.usage is not None:
            self._state(chunk.usage)
        return [item for choice in chunk.choices for item in self._choice(choice)]

    def _complete(self) -> Completed:
        missing = self._bounds.choices - len(self._finished)
        if missing:
            what = f"it said [DONE] with {missing} of {self._bounds.choices} choices open"
            raise Failed(failures.truncated(self._route, what))
        self.done = True
        return Completed(self.usage)

    def _choice(self, choice: _Choice) -> list[StreamItem]:
        index = choice.index
        if index >= self._bounds.choices:
            raise self._garbage("a choice that was not asked for")
        items: list[StreamItem] = []
        text = (choice.text or "") + (choice.delta.content or "") + (choice.delta.refusal or "")
        calls = choice.delta.tool_calls or []
        if index in self._finished:
            if text or calls or choice.finish_reason:
                raise self._garbage("more of a choice that had finished")
            return items
        if text:
            self._said_bytes += len(text.encode())
            items.append(TextDelta(index, text, (), _positions(choice.logprobs)))
        items.extend(self._tool_call(index, call) for call in calls)
        if choice.finish_reason is not None:
            self._finished.add(index)
            items.append(ChoiceFinished(index, self._reason(choice.finish_reason)))
        return items

    def _tool_call(self, choice: int, sent: _ToolCall) -> ToolCallDelta:
        arguments = sent.function.arguments or ""
        self._said_bytes += len(arguments.encode())
        known = self._calls.get((choice, sent.index))
        if known is not None:
            return ToolCallDelta(choice, known, None, None, arguments)
        if not sent.id or not sent.function.name:
            raise self._garbage("a tool call without an id or a name")
        if len(self._calls) >= MAX_TOOL_CALLS:
            raise self._garbage(f"more than {MAX_TOOL_CALLS} tool calls")
        number = sum(of_choice == choice for of_choice, _ in self._calls)
        self._calls[choice, sent.index] = number
        return ToolCallDelta(choice, number, sent.id, sent.function.name, arguments)

    def _reason(self, said: str) -> FinishReason:
        reason = _REASONS.get(said)
        if reason is not None:
            return reason
        if said == "content_filter":
            raise Failed(failures.withheld(self._route))
        raise self._garbage("a reason to finish that is not known")

    def _state(self, said: _Usage) -> None:
        """Believed as far as it can be true; a bill never rests on what cannot."""
        most = self._bounds.max_context
        possible = said.prompt_tokens <= most
        if not possible or said.completion_tokens > most * self._bounds.choices:
            return
        details = said.prompt_tokens_details
        cached = (details.cached_tokens if details is not None else None) or 0
        self._stated = Usage(
            prompt_tokens=said.prompt_tokens,
            cached_tokens=min(cached, said.prompt_tokens),
            completion_tokens=said.completion_tokens,
        )

    def _garbage(self, what: str) -> Failed:
        return Failed(failures.failed(self._route, f"sent {what}", stage=Stage.DECODE))


def _append(items: list[StreamItem], item: StreamItem) -> None:
    last = items[-1] if items else None
    if isinstance(last, TextDelta) and isinstance(item, TextDelta) and last.choice == item.choice:
        logprobs = last.logprobs + item.logprobs
        items[-1] = TextDelta(item.choice, last.text + item.text, (), logprobs)
    else:
        items.append(item)


def _positions(sent: _Logprobs | None) -> tuple[PositionLogprobs, ...]:
    content = (sent.content if sent is not None else None) or []
    return tuple(
        PositionLogprobs(_logprob(position), tuple(map(_logprob, position.top_logprobs)))
        for position in content
    )


def _logprob(sent: _Logprob) -> TokenLogprob:
    utf8 = bytes(sent.bytes) if sent.bytes is not None else sent.token.encode()
    return TokenLogprob(_NO_ID, sent.token, utf8, sent.logprob)
