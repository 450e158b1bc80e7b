"""What comes back while a request runs: an ordered stream with exactly one terminal item.

    Started, then any of (TextDelta | ToolCallDelta | ChoiceFinished), then Completed or Broken

Law: nothing follows a terminal item, and no choice speaks after its `ChoiceFinished`.
"""

from enum import StrEnum
from typing import NamedTuple

from octant.core.failure import Failure
from octant.core.ids import RouteId
from octant.core.record import Record


class FinishReason(StrEnum):
    """Why a choice ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


class TokenLogprob(NamedTuple):
    """A token and its natural log-probability; `text` may be part of a character."""

    token: int
    text: str
    utf8: bytes
    logprob: float


class PositionLogprobs(NamedTuple):
    """The chosen token of one position and the most likely ones there, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


class Started(NamedTuple):
    """The engine has taken the request on; sent before any delta."""

    route: RouteId
    attempt: int
    prompt_tokens: int


class TextDelta(NamedTuple):
    """More text of one choice. `tokens` counts those covered; text may lag behind them."""

    choice: int
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[PositionLogprobs, ...] = ()


class ToolCallDelta(NamedTuple):
    """More of one tool call. `id` and `name` come once, in the first delta of their `call`."""

    choice: int
    call: int
    id: str | None
    name: str | None
    arguments: str


class ChoiceFinished(NamedTuple):
    """A choice has ended. `stop` is the stop string or token id that ended it, if one did."""

    choice: int
    reason: FinishReason
    stop: str | int | None = None


class Usage(Record, frozen=True, kw_only=True):
    """Token counts of one request, all choices together; `cached` is part of `prompt`."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class Completed(NamedTuple):
    """Terminal: every choice has finished and the outcome is stored."""

    usage: Usage


class Broken(NamedTuple):
    """Terminal: the request failed. What was sent before is partial."""

    failure: Failure
    usage: Usage


StreamItem = Started | TextDelta | ToolCallDelta | ChoiceFinished | Completed | Broken
Terminal = Completed | Broken
