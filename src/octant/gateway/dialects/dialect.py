"""What every dialect offers: reading a body, and writing an answer whole or as a stream.

bytes -> Question -> (RequestEnvelope, made by the gateway)
StreamItem... -> StreamAnswer | WholeAnswer -> bytes
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from octant.core.content import Input
from octant.core.envelope import (
    Api,
    ContextPolicy,
    ModelConstraints,
    OutputContract,
    RiskClass,
    SessionUse,
    ToolGrant,
    TraceSettings,
)
from octant.core.ids import RequestId, TraceId
from octant.core.limits import Profile, RunBudget
from octant.core.record import Record
from octant.core.sampling import Sampling
from octant.core.stream import Broken, Completed, StreamItem
from octant.gateway.fields import Table
from octant.gateway.settings import GatewaySettings

encode_json = msgspec.json.Encoder().encode


Defaults = Callable[[str], Sampling]
"""The sampling of a model, by its public name, where a caller says nothing."""


def no_defaults(model: str) -> Sampling:
    """OpenAI's own defaults, whatever the model."""
    return Sampling()


class Terms(Record, frozen=True, kw_only=True):
    """On what terms a request is to be run: all that no API but Octant's own has a field for."""

    profile: Profile | None = None
    deadline_ms: int | None = None
    cache_salt: str | None = None
    budget: RunBudget = RunBudget()
    session: SessionUse | None = None
    context: ContextPolicy = ContextPolicy()
    tools: ToolGrant = ToolGrant()
    output: OutputContract | None = None
    risk: RiskClass = RiskClass.LOW
    trace: TraceSettings = TraceSettings()


IN_OCTANT = "octant."
NO_TERMS = Terms()
"""What applies where a caller says nothing."""


class Question(Record, frozen=True, kw_only=True):
    """What a body asks for. `include_usage`, `include_report` and `metadata` shape the answer only.

    `include_report` is set where the caller used Octant's own fields and so knows them.
    """

    input: Input
    sampling: Sampling
    model: ModelConstraints
    terms: Terms = NO_TERMS
    stream: bool = False
    include_usage: bool = False
    include_report: bool = False
    metadata: dict[str, str] = {}


class Answering(Record, frozen=True, kw_only=True):
    """The constant part of an answer. `created_unix_s` is the same in every chunk."""

    request_id: RequestId
    trace_id: TraceId
    created_unix_s: int
    question: Question


class WholeAnswer(Protocol):
    """Collects items into one body."""

    def add(self, item: StreamItem) -> None:
        """Takes one item that is not terminal."""
        ...

    def body(self, end: Completed) -> bytes:
        """The JSON body, once every choice has finished."""
        ...

    def failure(self, end: Broken) -> bytes:
        """The JSON body of an answer that failed; never raises."""
        ...


class StreamAnswer(Protocol):
    """Writes items as server-sent events."""

    def events(self, item: StreamItem) -> bytes:
        """The events of one item that is not terminal; empty when it shows nothing."""
        ...

    def end(self, end: Completed) -> bytes:
        """What follows the last choice."""
        ...

    def failure(self, end: Broken) -> bytes:
        """The one event that ends a stream which failed; never raises."""
        ...


class Dialect(Protocol):
    """One API."""

    @property
    def api(self) -> Api: ...

    @property
    def fields(self) -> Table:
        """Every field of the body and what becomes of it."""
        ...

    @property
    def extras_at(self) -> str:
        """What stands before the name of an extra field: `octant.` or nothing."""
        ...

    def read(
        self, body: bytes, settings: GatewaySettings, defaults: Defaults = no_defaults
    ) -> Question:
        """Raises Failed with the field, its bound and the fix."""
        ...

    def whole(self, answering: Answering) -> WholeAnswer: ...

    def stream(self, answering: Answering) -> StreamAnswer: ...
