"""Trace: the events of one request, folded into spans (OB1).

Law: the fold is total and deterministic. Any prefix of a request's events gives a trace, the same
events give the same spans and ids, and the stages at the top tile the request without a gap: each
event that ends a stage closes the time since the one before; a refusal closes the stage that
refused. Spans hold no prompt or answer text.

    chat MODEL
      boundary, admission, context, route      one after the other
      attempt N
        queue, prefill, decode                 per choice
      validation, response
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from octant.core.events import (
    AnyEvent,
    AttemptFailed,
    AttemptStarted,
    ContextAssembled,
    PolicyDecided,
    RequestAdmitted,
    RequestEvent,
    RequestReceived,
    RequestSettled,
    RouteDecided,
)
from octant.core.failure import Failure
from octant.core.ids import RequestId, SpanId, TraceId
from octant.core.outcome import Outcome
from octant.core.stage import Stage
from octant.observability.attempt_spans import attempt_children
from octant.observability.root_attributes import root_attributes
from octant.observability.span import Attributes, Interval, Span


class Trace(NamedTuple):
    """All spans of one request, the root first, the others in order of their start.

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
    ordered = sorted(events, key=lambda event: event.at_ns)
    settled = next((e for e in ordered if isinstance(e, RequestSettled)), None)
    if settled is not None:
        outcome = settled.outcome
    end_ns = _end_ns(received, ordered, settled, outcome)
    intervals = _stages(received, ordered, end_ns, outcome)
    return Trace(
        trace_id=received.trace_id,
        request_id=received.request_id,
        start_unix_ns=received.at_unix_ns,
        start_ns=received.at_ns,
        complete=outcome is not None,
        spans=_spans(received, ordered, outcome, end_ns, intervals),
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


def _stages(
    received: RequestReceived, ordered: Sequence[AnyEvent], end_ns: int, outcome: Outcome | None
) -> list[Interval]:
    """The tiling of the request: every entry begins where the one before ended."""
    tiles: list[Interval] = []
    mark_ns = received.at_ns
    attempts = _attempt_ends(ordered, end_ns, outcome)
    for event in ordered:
        if isinstance(event, AttemptStarted):
            ended = attempts[event.attempt]
            until_ns = max(mark_ns, ended.at_ns)
            tiles.append(
                Interval(
                    path=f"attempt {event.attempt}",
                    name=f"attempt {event.attempt}",
                    stage=None,
                    start_ns=mark_ns,
                    end_ns=until_ns,
                    attributes={
                        "octant.attempt": event.attempt,
                        "octant.route.id": str(event.route),
                    },
                    failure=ended.failure,
                    children=attempt_children(event, ended.at_ns, ordered),
                )
            )
            mark_ns = until_ns
        elif (closed := _closed_stage(event)) is not None:
            path = f"{closed.stage}#{len(tiles)}"
            until_ns = max(mark_ns, event.at_ns)
            tiles.append(
                Interval(path, closed.stage, closed.stage, mark_ns, until_ns, closed.attributes)
            )
            mark_ns = until_ns
    if outcome is not None:
        tiles.append(_last_tile(outcome, mark_ns, max(mark_ns, end_ns), begun=bool(attempts)))
    return tiles


def _last_tile(outcome: Outcome, start_ns: int, end_ns: int, *, begun: bool) -> Interval:
    """Settling; for a request that no attempt was begun for, the stage that refused it."""
    refused = None if begun else outcome.failure
    stage = (Stage.RESPONSE if refused is None else refused.stage).value
    path = stage if refused is None else f"{stage}#refused"
    return Interval(path, stage, stage, start_ns, end_ns, {}, refused)


class _ClosedStage(NamedTuple):
    stage: str
    attributes: Attributes


def _closed_stage(event: AnyEvent) -> _ClosedStage | None:
    match event:
        case PolicyDecided():
            return _ClosedStage(
                event.stage,
                {
                    "octant.policy.decision": event.verdict.decision.value,
                    "octant.policy.version": event.verdict.policy_version,
                    "octant.policy.rule": event.verdict.rule,
                },
            )
        case RequestAdmitted():
            return _ClosedStage(
                Stage.ADMISSION.value, {"octant.reserved_tokens": event.reserved_tokens}
            )
        case ContextAssembled():
            return _ClosedStage(
                Stage.CONTEXT.value,
                {
                    "octant.prompt.tokens": event.prompt_tokens,
                    "octant.prompt.digest": event.prompt_digest,
                },
            )
        case RouteDecided():
            refused = [c.route for c in event.decision.candidates if c.rejected_because]
            return _ClosedStage(
                Stage.ROUTE.value,
                {
                    "octant.route.id": str(event.decision.chosen.id),
                    "octant.route.candidates": len(event.decision.candidates),
                    "octant.route.refused": tuple(str(route) for route in refused),
                },
            )
        case _:
            return None


class _AttemptEnd(NamedTuple):
    at_ns: int
    failure: Failure | None


def _attempt_ends(
    ordered: Sequence[AnyEvent], end_ns: int, outcome: Outcome | None
) -> dict[int, _AttemptEnd]:
    """An attempt ends with its failure, else with the last sign of its engine, else unfinished."""
    starts = [event for event in ordered if isinstance(event, AttemptStarted)]
    ends: dict[int, _AttemptEnd] = {}
    for position, start in enumerate(starts):
        limit_ns = starts[position + 1].at_ns if position + 1 < len(starts) else end_ns
        failed = next(
            (e for e in ordered if isinstance(e, AttemptFailed) and e.attempt == start.attempt),
            None,
        )
        if failed is not None:
            ends[start.attempt] = _AttemptEnd(min(failed.at_ns, limit_ns), failed.failure)
            continue
        children = attempt_children(start, limit_ns, ordered)
        settled = outcome is not None and children and all(child.closed for child in children)
        at_ns = max(child.end_ns for child in children) if settled else limit_ns
        ends[start.attempt] = _AttemptEnd(at_ns, None)
    return ends


def _spans(
    received: RequestReceived,
    ordered: Sequence[AnyEvent],
    outcome: Outcome | None,
    end_ns: int,
    intervals: Sequence[Interval],
) -> tuple[Span, ...]:
    trace, request = received.trace_id, received.request_id
    attributes = root_attributes(received, ordered, outcome)
    failure = None if outcome is None else outcome.failure
    operation = attributes["gen_ai.operation.name"]
    root = Interval(
        "", f"{operation} {received.model}", None, received.at_ns, end_ns, attributes, failure
    )
    root_id = span_id(trace, request, "")
    spans = [_span(trace, root_id, received.parent_span_id, root)]
    for interval in intervals:
        own_id = span_id(trace, request, interval.path)
        spans.append(_span(trace, own_id, root_id, interval))
        for child in interval.children:
            child_id = span_id(trace, request, f"{interval.path}/{child.path}")
            spans.append(_span(trace, child_id, own_id, child))
    return tuple(spans)


def _span(trace: TraceId, own: SpanId, parent: SpanId | None, interval: Interval) -> Span:
    failure = interval.failure
    attributes = interval.attributes
    if failure is not None:
        attributes = attributes | {
            "error.type": failure.kind.value,
            "octant.failure.class": failure.rule.failure_class.value,
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
