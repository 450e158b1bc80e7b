"""Chat answers: items of one request as a `chat.completion` body or `chat.completion.chunk` events.

Law: one id and one creation time throughout; a choice's first chunk carries its role, its last one
its only finish reason. What is constant in a chunk is encoded once per request and spliced.
"""

from typing import Any, NamedTuple

from octant.core.ids import RouteId
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    PositionLogprobs,
    Started,
    StreamItem,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from octant.gateway.dialects.dialect import Answering, encode_json
from octant.gateway.dialects.openai_shapes import (
    failed_body,
    failed_event,
    fingerprint,
    report_beside,
    stream_end,
    usage_object,
)
from octant.gateway.sse import END, PREFIX

_ROLE = b'{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]'


def logprob_objects(positions: tuple[PositionLogprobs, ...]) -> list[dict[str, Any]]:
    """The entries of `logprobs.content`."""
    return [
        _token(position.chosen) | {"top_logprobs": [_token(other) for other in position.top]}
        for position in positions
    ]


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.utf8)}


def _opening(answering: Answering, kind: str, route: RouteId | None) -> dict[str, Any]:
    return {
        "id": answering.request_id.replace("req_", "chatcmpl-", 1),
        "object": kind,
        "created": answering.created_unix_s,
        "model": answering.question.model.name,
        "system_fingerprint": fingerprint(route),
    }


class _Frame(NamedTuple):
    """The constant bytes around a delta. `content` and `after_content` enclose its JSON text."""

    before: list[bytes]
    content: list[bytes]
    after_content: bytes
    after: bytes
    last: bytes


def _frame(answering: Answering, route: RouteId | None) -> _Frame:
    opening = encode_json(_opening(answering, "chat.completion.chunk", route))[:-1]
    tail = (b',"usage":null}' if answering.question.include_usage else b"}") + END
    before = [
        b'%s%s,"choices":[{"index":%d,"delta":' % (PREFIX, opening, choice)
        for choice in range(answering.question.sampling.n)
    ]
    return _Frame(
        before=before,
        content=[head + b'{"content":' for head in before],
        after_content=b'},"logprobs":null,"finish_reason":null}]' + tail,
        after=tail,
        last=opening + b',"choices":[]',
    )


class ChatStream:
    """One request's chunks. Call `events` in the order of the items, then `end` once."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._frame = _frame(answering, None)
        self._spoken: set[int] = set()

    def events(self, item: StreamItem) -> bytes:
        """The chunks of one item, empty when it shows nothing."""
        match item:
            case TextDelta():
                return self._text(item)
            case ToolCallDelta():
                return self._role(item.choice) + self._tool_call(item)
            case ChoiceFinished():
                return self._role(item.choice) + self._finished(item)
            case Started():
                self._frame = _frame(self._answering, item.route)
            case _:
                pass
        return b""

    def end(self, end: Completed) -> bytes:
        """The chunk without choices, where usage or report are wanted, and `[DONE]`."""
        return stream_end(self._answering, self._frame.last, end)

    def failure(self, end: Broken) -> bytes:
        """The error event; no `[DONE]` follows."""
        return failed_event(self._answering, end)

    def _text(self, item: TextDelta) -> bytes:
        frame, choice = self._frame, item.choice
        if item.logprobs:
            logprobs = {"content": logprob_objects(item.logprobs), "refusal": None}
            chunk = b'%s%s},"logprobs":%s,"finish_reason":null}]%s' % (
                frame.content[choice],
                encode_json(item.text),
                encode_json(logprobs),
                frame.after,
            )
        elif item.text:
            chunk = frame.content[choice] + encode_json(item.text) + frame.after_content
        else:
            return b""
        return chunk if choice in self._spoken else self._role(choice) + chunk

    def _role(self, choice: int) -> bytes:
        if choice in self._spoken:
            return b""
        self._spoken.add(choice)
        return self._frame.before[choice] + _ROLE + self._frame.after

    def _tool_call(self, item: ToolCallDelta) -> bytes:
        call: dict[str, Any] = {"index": item.call}
        if item.id is not None:
            call |= {"id": item.id, "type": "function"}
        name = {} if item.name is None else {"name": item.name}
        call["function"] = name | {"arguments": item.arguments}
        delta = encode_json({"tool_calls": [call]})
        return b'%s%s,"logprobs":null,"finish_reason":null}]%s' % (
            self._frame.before[item.choice],
            delta,
            self._frame.after,
        )

    def _finished(self, item: ChoiceFinished) -> bytes:
        return b'%s{},"logprobs":null,"finish_reason":"%s"}]%s' % (
            self._frame.before[item.choice],
            item.reason.value.encode(),
            self._frame.after,
        )


class _Choice:
    """What one choice has said so far."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.logprobs: list[dict[str, Any]] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.reason: str | None = None

    def call(self, item: ToolCallDelta) -> None:
        """Adds to the call of that index; its first delta brings id and name."""
        call = self.calls.setdefault(
            item.call,
            {"id": item.id, "type": "function", "function": {"name": item.name, "arguments": ""}},
        )
        call["function"]["arguments"] += item.arguments

    def message(self) -> dict[str, Any]:
        """The assistant's message; content is null when there are only calls."""
        text = "".join(self.text)
        said: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not self.calls else None,
            "refusal": None,
            "annotations": [],
        }
        if self.calls:
            said["tool_calls"] = [self.calls[index] for index in sorted(self.calls)]
        return said


class WholeChat:
    """One request's body."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._route: RouteId | None = None
        self._choices = [_Choice() for _ in range(answering.question.sampling.n)]

    def add(self, item: StreamItem) -> None:
        """Takes one item that is not terminal."""
        match item:
            case TextDelta():
                self._choices[item.choice].text.append(item.text)
                self._choices[item.choice].logprobs += logprob_objects(item.logprobs)
            case ToolCallDelta():
                self._choices[item.choice].call(item)
            case ChoiceFinished():
                self._choices[item.choice].reason = item.reason.value
            case Started():
                self._route = item.route
            case _:
                pass

    def body(self, end: Completed) -> bytes:
        """The `chat.completion` object."""
        opening = _opening(self._answering, "chat.completion", self._route)
        choices = [self._choice(index, said) for index, said in enumerate(self._choices)]
        said = {"choices": choices, "usage": usage_object(end.usage)}
        return encode_json(opening | said | report_beside(self._answering, end.summary))

    def failure(self, end: Broken) -> bytes:
        """The error's body."""
        return failed_body(self._answering, end)

    def _choice(self, index: int, said: _Choice) -> dict[str, Any]:
        wanted = self._answering.question.sampling.top_logprobs is not None
        return {
            "index": index,
            "message": said.message(),
            "logprobs": {"content": said.logprobs, "refusal": None} if wanted else None,
            "finish_reason": said.reason,
        }
