"""Decisions: a verdict of governance as the event that tells of it, wherever it was given."""

from octant.core.events import PolicyDecided
from octant.core.ids import RequestId
from octant.core.stage import Stage
from octant.core.verdict import Verdict
from octant.ports.clock import Clock
from octant.ports.sink import EventSink


def announce(
    events: EventSink, clock: Clock, request_id: RequestId, stage: Stage, verdict: Verdict
) -> None:
    """Tells metrics and trace of a verdict."""
    events.emit(
        PolicyDecided(
            at_ns=clock.monotonic_ns(), request_id=request_id, stage=stage.value, verdict=verdict
        )
    )
