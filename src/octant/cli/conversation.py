"""Conversation: what was said so far, and one streamed answer after the other.

Law: a turn becomes part of the conversation only when its answer is complete; a stopped or failed
one leaves no trace in what the model sees next.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from octant.cli.session import Session, failure_of
from octant.cli.sse import SseReader
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.observability.printable import PrintableStream

Show = Callable[[str], None]


class ChatAnswer(NamedTuple):
    """One complete answer with what it took."""

    content: str
    finish_reason: str | None
    tool_calls: list[dict[str, Any]]
    usage: dict[str, Any]
    request_id: str | None


class _Incoming:
    """Folds the chunks of one streamed answer."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._events = SseReader()
        self._printable = PrintableStream()
        self._parts: list[str] = []
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] = {}
        self.tool_calls: dict[int, dict[str, Any]] = {}
        self.failure: Failure | None = None
        self.done = False

    @property
    def content(self) -> str:
        return "".join(self._parts)

    def feed(self, data: bytes) -> None:
        for event in self._events.feed(data):
            if event == b"[DONE]":
                self.done = True
                self._show(self._printable.close())
            else:
                self._take(json.loads(event))

    def _take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            self.failure = failure_of(chunk["error"])
            return
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk["choices"]:
            delta = choice["delta"]
            text = delta.get("content") or ""
            self._parts.append(text)
            self._show(self._printable.feed(text))
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            for call in delta.get("tool_calls") or ():
                self._take_call(call)

    def _take_call(self, call: dict[str, Any]) -> None:
        function = call.get("function", {})
        known = self.tool_calls.setdefault(call["index"], {"name": "", "arguments": ""})
        known["name"] += function.get("name") or ""
        known["arguments"] += function.get("arguments") or ""


class Conversation:
    """Messages between one person and one model. `options` go into every request."""

    def __init__(self, model: str, system: str | None, options: Mapping[str, Any]) -> None:
        self.model = model
        self._opening = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._opening)
        self._options = dict(options)

    def reset(self) -> None:
        """Back to the system message alone."""
        self._messages = list(self._opening)

    async def ask(self, session: Session, text: str, show: Show) -> ChatAnswer:
        """Sends `text`; `show` gets printable pieces of the answer. Raises Failed."""
        asked = [*self._messages, {"role": "user", "content": text}]
        body = {
            "model": self.model,
            "messages": asked,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._options,
        }
        incoming = _Incoming(show)
        answer = await session.post("/v1/chat/completions", body, incoming.feed)
        if incoming.failure is not None:
            raise Failed(incoming.failure)
        if not incoming.done:
            raise Failed(_truncated())
        self._messages = [*asked, {"role": "assistant", "content": incoming.content}]
        return ChatAnswer(
            content=incoming.content,
            finish_reason=incoming.finish_reason,
            tool_calls=list(incoming.tool_calls.values()),
            usage=incoming.usage,
            request_id=answer.headers.get("x-request-id"),
        )


def _truncated() -> Failure:
    return Failure(
        kind=FailureKind.STREAM_TRUNCATED,
        stage=Stage.RESPONSE,
        message="The answer broke off before its end. Ask again; `octant trace list` on the "
        "server tells why.",
    )
