"""Span: one stretch of a request, in the shape that OpenTelemetry exports."""

from typing import NamedTuple

from octant.core.failure import Failure
from octant.core.ids import SpanId, TraceId
from octant.ports.telemetry import AttributeValue

Attributes = dict[str, AttributeValue]


class SpanEvent(NamedTuple):
    """Something that happened at one instant of a span."""

    name: str
    at_ns: int
    attributes: Attributes


class Span(NamedTuple):
    """Instants are monotonic; `stage` is None for spans that group others.

    `error` is the failure's message; its kind is in the attribute `error.type`.
    """

    trace_id: TraceId
    span_id: SpanId
    parent_span_id: SpanId | None
    name: str
    stage: str | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: tuple[SpanEvent, ...] = ()
    error: str | None = None

    @property
    def duration_ns(self) -> int:
        """Never negative."""
        return self.end_ns - self.start_ns


class Interval(NamedTuple):
    """A span before it has its ids: `path` names its place in the trace and is unique there.

    `closed` is False where the end is only the latest instant known.
    """

    path: str
    name: str
    stage: str | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    failure: Failure | None = None
    events: tuple[SpanEvent, ...] = ()
    children: "tuple[Interval, ...]" = ()
    closed: bool = True
