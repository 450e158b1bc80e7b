"""What comes back while a request runs: an ordered stream with exactly one terminal item.

    Started, then any of (TextDelta | ToolCallDelta | ToolRan | ChoiceFinished), then Completed or
    Broken

Law: nothing follows a terminal item, and no choice speaks after its `ChoiceFinished`.
"""

from typing import NamedTuple

from octant.core.failure import Failure
from octant.core.ids import RouteId
from octant.core.summary import RunSummary
from octant.core.tools import ToolAnswer
from octant.core.usage import FinishReason, Usage


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


class ToolRan(NamedTuple):
    """Octant ran a tool that the model asked for; the answer goes on after it."""

    name: str
    arguments: str
    answer: ToolAnswer


class Completed(NamedTuple):
    """Terminal: every choice has finished and the outcome is stored.

    `summary` is set on what leaves the request path, never by a provider.
    """

    usage: Usage
    summary: RunSummary | None = None


class Broken(NamedTuple):
    """Terminal: the request failed. What was sent before is partial; `summary` as in Completed."""

    failure: Failure
    usage: Usage
    summary: RunSummary | None = None


StreamItem = Started | TextDelta | ToolCallDelta | ToolRan | ChoiceFinished | Completed | Broken
Terminal = Completed | Broken
