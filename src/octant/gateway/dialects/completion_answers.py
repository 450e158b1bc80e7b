"""Completion answers: items of one request as `text_completion` objects, whole or streamed.

Law: one id and one creation time throughout, one finish reason per choice; text offsets count
characters from the start of a choice's text, and all tokens of one character have its offset.
"""

import codecs
from typing import Any

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


class LogprobLists:
    """The parallel lists of `logprobs`; offsets run on over all that one choice has said."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset: int | None = None

    def add(
        self, text: str, positions: tuple[PositionLogprobs, ...]
    ) -> dict[str, list[Any] | None]:
        """The lists of further positions, which came together with `text`."""
        offset = _dropped(text, positions) if self._offset is None else self._offset
        lists: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for position in positions:
            chosen = position.chosen
            lists["tokens"].append(_name(chosen))
            lists["token_logprobs"].append(chosen.logprob)
            lists["top_logprobs"].append(_by_name(position))
            lists["text_offset"].append(max(offset, 0))
            offset += len(self._decoder.decode(chosen.utf8))
        self._offset = offset
        return lists | ({} if self._top else {"top_logprobs": None})


def _dropped(text: str, positions: tuple[PositionLogprobs, ...]) -> int:
    """Where the first token begins: -1 when its leading space was dropped, else 0."""
    spelled = b"".join(position.chosen.utf8 for position in positions).decode(errors="replace")
    return -1 if spelled.startswith(" ") and not spelled.startswith(text) else 0


def _by_name(position: PositionLogprobs) -> dict[str, float]:
    # The chosen token last: where two tokens read alike, its own probability stands.
    ranked: tuple[TokenLogprob, ...] = (*position.top, position.chosen)
    return {_name(token): token.logprob for token in ranked}


def _name(token: TokenLogprob) -> str:
    """Its text, or as at OpenAI `bytes:\\xNN...` for a part of a character."""
    try:
        return token.utf8.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.utf8)


def _opening(answering: Answering, route: RouteId | None) -> dict[str, Any]:
    return {
        "id": answering.request_id.replace("req_", "cmpl-", 1),
        "object": "text_completion",
        "created": answering.created_unix_s,
        "model": answering.question.model.name,
        "system_fingerprint": fingerprint(route),
    }


def _lists(answering: Answering) -> list[LogprobLists] | None:
    sampling = answering.question.sampling
    if sampling.top_logprobs is None:
        return None
    return [LogprobLists(sampling.top_logprobs) for _ in range(sampling.n)]


class CompletionStream:
    """One request's chunks. Call `events` in the order of the items, then `end` once."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._lists = _lists(answering)
        self._tail = (b',"usage":null}' if answering.question.include_usage else b"}") + END
        self._text_tail = b',"logprobs":null,"finish_reason":null}]' + self._tail
        self._open(None)

    def events(self, item: StreamItem) -> bytes:
        """The chunks of one item, empty when it shows nothing."""
        match item:
            case TextDelta():
                return self._text(item)
            case ChoiceFinished():
                return b'%s"","logprobs":null,"finish_reason":"%s"}]%s' % (
                    self._before[item.choice],
                    item.reason.value.encode(),
                    self._tail,
                )
            case Started():
                self._open(item.route)
            case _:
                pass
        return b""

    def end(self, end: Completed) -> bytes:
        """The chunk without choices, where usage or report are wanted, and `[DONE]`."""
        return stream_end(self._answering, self._opening + b',"choices":[]', end)

    def failure(self, end: Broken) -> bytes:
        """The error event; no `[DONE]` follows."""
        return failed_event(self._answering, end)

    def _open(self, route: RouteId | None) -> None:
        self._opening = encode_json(_opening(self._answering, route))[:-1]
        self._before = [
            b'%s%s,"choices":[{"index":%d,"text":' % (PREFIX, self._opening, choice)
            for choice in range(self._answering.question.sampling.n)
        ]

    def _text(self, item: TextDelta) -> bytes:
        before = self._before[item.choice]
        if self._lists is not None and item.logprobs:
            return b'%s%s,"logprobs":%s,"finish_reason":null}]%s' % (
                before,
                encode_json(item.text),
                encode_json(self._lists[item.choice].add(item.text, item.logprobs)),
                self._tail,
            )
        return before + encode_json(item.text) + self._text_tail if item.text else b""


class WholeCompletion:
    """One request's body."""

    def __init__(self, answering: Answering) -> None:
        choices = range(answering.question.sampling.n)
        self._answering = answering
        self._route: RouteId | None = None
        self._texts: list[list[str]] = [[] for _ in choices]
        self._positions: list[list[PositionLogprobs]] = [[] for _ in choices]
        self._reasons: list[str | None] = [None for _ in choices]

    def add(self, item: StreamItem) -> None:
        """Takes one item that is not terminal."""
        match item:
            case TextDelta():
                self._texts[item.choice].append(item.text)
                self._positions[item.choice] += item.logprobs
            case ChoiceFinished():
                self._reasons[item.choice] = item.reason.value
            case Started():
                self._route = item.route
            case _:
                pass

    def body(self, end: Completed) -> bytes:
        """The `text_completion` object."""
        lists = _lists(self._answering)
        choices: list[dict[str, Any]] = []
        for choice, pieces in enumerate(self._texts):
            text, positions = "".join(pieces), tuple(self._positions[choice])
            choices.append(
                {
                    "index": choice,
                    "text": text,
                    "logprobs": lists[choice].add(text, positions) if lists else None,
                    "finish_reason": self._reasons[choice],
                }
            )
        opening = _opening(self._answering, self._route)
        said = {"choices": choices, "usage": usage_object(end.usage)}
        return encode_json(opening | said | report_beside(self._answering, end.summary))

    def failure(self, end: Broken) -> bytes:
        """The error's body."""
        return failed_body(self._answering, end)
