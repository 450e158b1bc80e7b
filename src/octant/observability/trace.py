"""Trace: the events of one request, folded into spans (OB1).

Law: the fold is total and deterministic. Any prefix of a request's events gives a trace, the same
events give the same spans and ids, and the spans below the request, and those below a step, tile it
without a gap: each event that ends a stage closes the time since the one before; a refusal closes
the stage that refused. Spans hold no prompt or answer text.

    chat MODEL
      admission, governance, session, context     one after the other
      step N                                      one model call
        route
        attempt N
          queue, prefill, decode                  per choice
      tool_authorization, tool NAME               between two steps
      validation, response
"""

import hashlib
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from octant.core.events import (
    AnyEvent,
    RequestEvent,
    RequestReceived,
    RequestSettled,
)
from octant.core.ids import RequestId, SpanId, TraceId
from octant.core.outcome import Outcome
from octant.observability.root_attributes import root_attributes
from octant.observability.span import Interval, Span
from octant.observability.tiling import tile


class Trace(NamedTuple):
    """All spans of one request, the root first, each followed by those below it, in order of time.

    `start_unix_ns` is wall-clock time; spans count nanoseconds from `start_ns`.
    """

    trace_id: TraceId
    request_id: RequestId
    start_unix_ns: int
    start_ns: int
    complete: bool
    spans: tuple[Span, ...]

    @property
    def root(self) -> Span:
        """The span of the whole request."""
        return self.spans[0]


def fold(events: Sequence[AnyEvent], outcome: Outcome | None = None) -> Trace:
    """The trace of one request. `outcome` stands in for a settling event that was not kept.

    Events may come in any order and are sorted by time. Raises ValueError unless exactly one
    `RequestReceived` is among them and all belong to its request.
    """
    received = _reception(events)
    ordered = sorted(events, key=attrgetter("at_ns"))
    settled = next((e for e in ordered if isinstance(e, RequestSettled)), None)
    if settled is not None:
        outcome = settled.outcome
    end_ns = _end_ns(received, ordered, settled, outcome)
    attributes = root_attributes(received, ordered, outcome)
    root = Interval(
        path="",
        name=f"{attributes['gen_ai.operation.name']} {received.model}",
        stage=None,
        start_ns=received.at_ns,
        end_ns=end_ns,
        attributes=attributes,
        failure=None if outcome is None else outcome.failure,
        children=tile(received.at_ns, ordered, end_ns, outcome),
    )
    return Trace(
        trace_id=received.trace_id,
        request_id=received.request_id,
        start_unix_ns=received.at_unix_ns,
        start_ns=received.at_ns,
        complete=outcome is not None,
        spans=tuple(_spans(received, root, "", received.parent_span_id)),
    )


def span_id(trace: TraceId, request: RequestId, path: str) -> SpanId:
    """16 hexadecimal digits, a pure function of where the span stands."""
    return SpanId(hashlib.sha256(f"{trace}/{request}/{path}".encode()).hexdigest()[:16])


def _reception(events: Sequence[AnyEvent]) -> RequestReceived:
    receptions = [event for event in events if isinstance(event, RequestReceived)]
    if len(receptions) != 1:
        raise ValueError(f"a trace needs exactly one request_received, got {len(receptions)}")
    for event in events:
        if not isinstance(event, RequestEvent) or event.request_id != receptions[0].request_id:
            raise ValueError(f"an event of something else is among them: {type(event).__name__}")
    return receptions[0]


def _end_ns(
    received: RequestReceived,
    ordered: Sequence[AnyEvent],
    settled: RequestSettled | None,
    outcome: Outcome | None,
) -> int:
    last_ns = max(event.at_ns for event in ordered)
    if settled is not None or outcome is None:
        return last_ns
    return max(last_ns, received.at_ns + outcome.duration_ns)


def _spans(
    received: RequestReceived, interval: Interval, path: str, parent: SpanId | None
) -> Iterator[Span]:
    own = span_id(received.trace_id, received.request_id, path)
    yield _span(received.trace_id, own, parent, interval)
    for child in interval.children:
        below = f"{path}/{child.path}" if path else child.path
        yield from _spans(received, child, below, own)


def _span(trace: TraceId, own: SpanId, parent: SpanId | None, interval: Interval) -> Span:
    failure = interval.failure
    attributes = interval.attributes
    if failure is not None:
        attributes = attributes | {
            "error.type": failure.kind.value,
            "octant.failure.class": failure.rule.failure_class.value,
            "octant.failure.retry": failure.rule.retry.value,
            "octant.failure.stage": failure.stage.value,
        }
    return Span(
        trace_id=trace,
        span_id=own,
        parent_span_id=parent,
        name=interval.name,
        stage=interval.stage,
        start_ns=interval.start_ns,
        end_ns=interval.end_ns,
        attributes=attributes,
        events=interval.events,
        error=None if failure is None else failure.message,
    )
