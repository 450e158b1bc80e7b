"""Telemetry: settled requests on their way to a collector. Adapter: `adapters/otel/exporter.py`.

Law: best effort. Handing over returns at once and never fails; what is lost is counted, so that
loss is visible (OB8). Nothing mandatory travels this way.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from octant.core.events import AnyEvent
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import Outcome

AttributeValue = str | int | float | bool | tuple[str, ...]


class SettledTrace(NamedTuple):
    """All there is to say about one request, as it was stored; `events` end with its settling."""

    events: Sequence[AnyEvent]
    outcome: Outcome
    manifest: ExecutionManifest | None


class SpanKind(StrEnum):
    """OpenTelemetry's words for who a span stands between."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


class ExportedEvent(NamedTuple):
    """An instant of a span."""

    name: str
    at_unix_ns: int
    attributes: Mapping[str, AttributeValue]


class ExportedSpan(NamedTuple):
    """A span as OpenTelemetry has it. Ids are hexadecimal; `error` is the text of a failed one."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: SpanKind
    start_unix_ns: int
    end_unix_ns: int
    attributes: Mapping[str, AttributeValue]
    events: tuple[ExportedEvent, ...] = ()
    error: str | None = None


class TelemetryTotals(NamedTuple):
    """Traces since the start: those that a collector took, and those lost, by reason."""

    sent: int
    lost: Mapping[str, int]


class TraceSink(Protocol):
    """Takes settled requests."""

    def offer(self, settled: SettledTrace) -> None:
        """Takes the trace on, leaves it out of the sample, or counts it as lost; at once."""
        ...

    def totals(self) -> TelemetryTotals:
        """Counts so far."""
        ...
