"""Observation: what a finished request teaches the cost model, folded from its events. Pure."""

from collections.abc import Sequence

from octant.admission.cost_model import Observation
from octant.core.events import (
    AnyEvent,
    AttemptStarted,
    FirstToken,
    SequenceFinished,
    SequenceScheduled,
)
from octant.core.outcome import Outcome


def observation_of(outcome: Outcome, events: Sequence[AnyEvent]) -> Observation | None:
    """Times of the first choice of the last attempt; None when it never produced a token."""
    started_ns = scheduled_ns = first_ns = finished_ns = None
    computed = decoded = 0
    for event in events:
        match event:
            case AttemptStarted():
                started_ns, scheduled_ns, first_ns, finished_ns = event.at_ns, None, None, None
            case SequenceScheduled(choice=0):
                scheduled_ns = event.at_ns
                computed = event.prompt_tokens - event.cached_tokens
            case FirstToken(choice=0):
                first_ns = event.at_ns
            case SequenceFinished(choice=0):
                finished_ns, decoded = event.at_ns, event.completion_tokens
            case _:
                pass
    if started_ns is None or scheduled_ns is None or first_ns is None:
        return None
    return Observation(
        profile=outcome.profile,
        queue_ns=scheduled_ns - started_ns,
        prefill_tokens=computed,
        prefill_ns=first_ns - scheduled_ns,
        decode_tokens=max(decoded - 1, 0) if finished_ns is not None else 0,
        decode_ns=0 if finished_ns is None else finished_ns - first_ns,
    )
