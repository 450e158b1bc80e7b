"""EventSink: where typed events go. Never blocks and never raises; a full sink counts its loss."""

from typing import Protocol

from octant.core.events import AnyEvent


class EventSink(Protocol):
    """Receives events in the order in which they happened."""

    def emit(self, event: AnyEvent) -> None:
        """Takes the event on or counts it as lost; returns at once either way."""
        ...
