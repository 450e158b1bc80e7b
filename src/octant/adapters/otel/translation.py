"""Translation: spans of the port to those of the OpenTelemetry SDK, ids and times as they are.

Law: nothing is minted here. A span keeps the trace's own ids, so exporting a trace twice gives the
same spans.
"""

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from octant.adapters.otel.settings import OtlpSettings
from octant.ports import telemetry
from octant.ports.telemetry import ExportedSpan

_KINDS = {
    telemetry.SpanKind.SERVER: SpanKind.SERVER,
    telemetry.SpanKind.CLIENT: SpanKind.CLIENT,
    telemetry.SpanKind.INTERNAL: SpanKind.INTERNAL,
}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Translator:
    """Spans of one service."""

    def __init__(self, settings: OtlpSettings) -> None:
        self._resource = Resource(
            {
                "service.name": settings.service_name,
                "service.version": settings.service_version,
            }
        )
        self._scope = InstrumentationScope("octant", settings.service_version, settings.schema_url)

    def translated(self, span: ExportedSpan) -> ReadableSpan:
        """One finished span."""
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=(
                None
                if span.parent_span_id is None
                else _context(span.trace_id, span.parent_span_id)
            ),
            resource=self._resource,
            attributes=span.attributes,
            events=tuple(
                Event(event.name, event.attributes, event.at_unix_ns) for event in span.events
            ),
            kind=_KINDS[span.kind],
            instrumentation_scope=self._scope,
            status=Status(StatusCode.UNSET)
            if span.error is None
            else Status(StatusCode.ERROR, span.error),
            start_time=span.start_unix_ns,
            end_time=span.end_unix_ns,
        )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=_SAMPLED)
