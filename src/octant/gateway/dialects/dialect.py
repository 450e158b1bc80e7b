"""What every dialect offers: reading a body, and writing an answer whole or as a stream.

bytes -> Question -> (RequestEnvelope, made by the gateway)
StreamItem... -> StreamAnswer | WholeAnswer -> bytes
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

import octant
from octant.core.content import Input
from octant.core.envelope import Api
from octant.core.ids import RequestId, RouteId
from octant.core.limits import Profile
from octant.core.record import Record
from octant.core.sampling import Sampling
from octant.core.stream import StreamItem
from octant.core.usage import Usage
from octant.gateway.fields import Table
from octant.gateway.settings import GatewaySettings

encode_json = msgspec.json.Encoder().encode


Defaults = Callable[[str], Sampling]
"""The sampling of a model, by its public name, where a caller says nothing."""


def no_defaults(model: str) -> Sampling:
    """OpenAI's own defaults, whatever the model."""
    return Sampling()


class Question(Record, frozen=True, kw_only=True):
    """What a body asks for. `include_usage` shapes the answer only."""

    input: Input
    sampling: Sampling
    model: str
    capabilities: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    profile: Profile | None = None
    deadline_ms: int | None = None
    cache_salt: str | None = None
    budget_tokens: int | None = None


class Answering(Record, frozen=True, kw_only=True):
    """The constant part of an answer. `created_unix_s` is the same in every chunk."""

    request_id: RequestId
    created_unix_s: int
    question: Question


class WholeAnswer(Protocol):
    """Collects items into one body."""

    def add(self, item: StreamItem) -> None:
        """Takes one item that is not terminal."""
        ...

    def body(self, usage: Usage) -> bytes:
        """The JSON body, once every choice has finished."""
        ...


class StreamAnswer(Protocol):
    """Writes items as server-sent events."""

    def events(self, item: StreamItem) -> bytes:
        """The events of one item that is not terminal; empty when it shows nothing."""
        ...

    def end(self, usage: Usage) -> bytes:
        """What follows the last choice: usage where wanted, and `[DONE]`."""
        ...


class Dialect(Protocol):
    """One API."""

    @property
    def api(self) -> Api: ...

    @property
    def fields(self) -> Table:
        """Every field of the body and what becomes of it."""
        ...

    def read(
        self, body: bytes, settings: GatewaySettings, defaults: Defaults = no_defaults
    ) -> Question:
        """Raises Failed with the field, its bound and the fix."""
        ...

    def whole(self, answering: Answering) -> WholeAnswer: ...

    def stream(self, answering: Answering) -> StreamAnswer: ...


def fingerprint(route: RouteId | None) -> str:
    """`system_fingerprint`: changes when another route or another release of Octant answers."""
    return "fp_" + hashlib.sha256(f"{octant.__version__}/{route or ''}".encode()).hexdigest()[:12]


def usage_object(usage: Usage) -> Mapping[str, object]:
    """`usage` as chat completions and completions both write it."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
