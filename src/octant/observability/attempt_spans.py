"""Attempt spans: when attempts end, and what an engine reported about each choice of one.

Law: an attempt ends with its failure, else with the last sign of its engine, else where the path
goes on. For each choice queue, prefill and decode follow each other without a gap; a part that has
not ended runs to the attempt's end. A preemption is an event on the part in which it happened,
because recomputing afterwards is still the same prefill or decode to the caller.
"""

from collections.abc import Sequence
from typing import NamedTuple

from octant.core.events import (
    AnyEvent,
    AttemptFailed,
    AttemptStarted,
    FirstToken,
    SequenceFinished,
    SequencePreempted,
    SequenceScheduled,
)
from octant.core.failure import Failure
from octant.core.outcome import Outcome
from octant.core.stage import Stage
from octant.observability.span import Attributes, Interval, SpanEvent
from octant.observability.stages import closes

_ChoiceEvent = SequenceScheduled | SequencePreempted | FirstToken | SequenceFinished


class AttemptEnd(NamedTuple):
    """When an attempt was over; `failure` is None for the one that answered."""

    at_ns: int
    failure: Failure | None


def attempt_ends(
    ordered: Sequence[AnyEvent], end_ns: int, outcome: Outcome | None
) -> dict[tuple[int, int], AttemptEnd]:
    """The end of every attempt by step and number."""
    starts = [event for event in ordered if isinstance(event, AttemptStarted)]
    limits = [start.at_ns for start in starts[1:]] + [end_ns]
    return {
        (start.step, start.attempt): _end(start, limit_ns, ordered, outcome)
        for start, limit_ns in zip(starts, limits, strict=bool(starts))
    }


def _end(
    start: AttemptStarted, limit_ns: int, ordered: Sequence[AnyEvent], outcome: Outcome | None
) -> AttemptEnd:
    own = (start.step, start.attempt)
    for event in ordered:
        if isinstance(event, AttemptFailed) and (event.step, event.attempt) == own:
            return AttemptEnd(min(event.at_ns, limit_ns), event.failure)
    path = (e.at_ns for e in ordered if e.at_ns >= start.at_ns and closes(e) is not None)
    after_ns = next((at_ns for at_ns in path if at_ns <= limit_ns), None)
    children = attempt_children(start, limit_ns, ordered)
    if not children or not all(child.closed for child in children):
        return AttemptEnd(limit_ns if after_ns is None else after_ns, None)
    last_ns = max(child.end_ns for child in children)
    over = outcome is not None or (after_ns is not None and after_ns >= last_ns)
    return AttemptEnd(last_ns if over else limit_ns, None)


def attempt_children(
    start: AttemptStarted, end_ns: int, ordered: Sequence[AnyEvent]
) -> tuple[Interval, ...]:
    """The parts of every choice between the attempt's start and `end_ns`, choice by choice."""
    inside = [
        event
        for event in ordered
        if isinstance(event, _ChoiceEvent) and start.at_ns <= event.at_ns <= end_ns
    ]
    choices = sorted({event.choice for event in inside})
    return tuple(
        part
        for choice in choices
        for part in _parts(start.at_ns, end_ns, [e for e in inside if e.choice == choice])
    )


def _parts(start_ns: int, end_ns: int, events: Sequence[_ChoiceEvent]) -> list[Interval]:
    choice = events[0].choice
    scheduled = next((e for e in events if isinstance(e, SequenceScheduled)), None)
    first = next((e for e in events if isinstance(e, FirstToken)), None)
    finished = next((e for e in events if isinstance(e, SequenceFinished)), None)
    stop_ns = end_ns if finished is None else finished.at_ns
    queued_until_ns = stop_ns if scheduled is None else scheduled.at_ns
    prefilled_at_ns = stop_ns if first is None else first.at_ns
    closed = finished is not None
    parts = [_part(Stage.QUEUE, choice, start_ns, queued_until_ns, {}, closed or bool(scheduled))]
    if scheduled is not None:
        parts.append(
            _part(
                Stage.PREFILL,
                choice,
                queued_until_ns,
                prefilled_at_ns,
                {
                    "octant.prompt.tokens": scheduled.prompt_tokens,
                    "octant.cached.tokens": scheduled.cached_tokens,
                },
                closed or first is not None,
            )
        )
    if first is not None:
        decoded: Attributes = {}
        if finished is not None:
            decoded["octant.completion.tokens"] = finished.completion_tokens
            decoded["octant.finish_reason"] = finished.reason.value if finished.reason else "none"
        parts.append(_part(Stage.DECODE, choice, prefilled_at_ns, stop_ns, decoded, closed))
    return _with_preemptions(parts, events)


def _part(
    stage: Stage, choice: int, start_ns: int, end_ns: int, attributes: Attributes, closed: bool
) -> Interval:
    return Interval(
        path=f"{stage.value}/{choice}",
        name=stage.value,
        stage=stage.value,
        start_ns=start_ns,
        end_ns=max(start_ns, end_ns),
        attributes={"octant.choice": choice} | attributes,
        closed=closed,
    )


def _with_preemptions(parts: list[Interval], events: Sequence[_ChoiceEvent]) -> list[Interval]:
    preempted = [event for event in events if isinstance(event, SequencePreempted)]
    for event in preempted:
        inside = [n for n, part in enumerate(parts) if part.start_ns <= event.at_ns <= part.end_ns]
        if inside:
            happened = SpanEvent(
                "preempted", event.at_ns, {"octant.freed_blocks": event.freed_blocks}
            )
            part = parts[inside[-1]]
            parts[inside[-1]] = part._replace(events=(*part.events, happened))
    return parts
