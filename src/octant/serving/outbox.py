"""Outbox: what one turn of the engine loop has to say, collected work by work.

Law: within a turn everything about a work goes out in one output, in the order
deltas, finished choices, usage; each turn ends with an empty outbox.
"""

from octant.core.events import AnyEvent
from octant.core.failure import Failure
from octant.core.stream import ChoiceFinished, TextDelta
from octant.core.usage import Usage
from octant.serving.messages.from_engine import WorkOutput
from octant.serving.messages.to_engine import AttemptId


class _Draft:
    __slots__ = ("deltas", "failure", "finished", "started", "usage")

    def __init__(self) -> None:
        self.started = False
        self.deltas: list[TextDelta] = []
        self.finished: list[ChoiceFinished] = []
        self.usage: Usage | None = None
        self.failure: Failure | None = None


class Outbox:
    """Collects, then hands over and is empty again."""

    def __init__(self) -> None:
        self._drafts: dict[AttemptId, _Draft] = {}
        self._events: list[AnyEvent] = []

    def event(self, event: AnyEvent) -> None:
        """A fact for observability."""
        self._events.append(event)

    def started(self, attempt: AttemptId) -> None:
        """The work was taken on."""
        self._draft(attempt).started = True

    def delta(self, attempt: AttemptId, delta: TextDelta) -> None:
        """More of one choice."""
        self._draft(attempt).deltas.append(delta)

    def choice_finished(self, attempt: AttemptId, finished: ChoiceFinished) -> None:
        """A choice has ended."""
        self._draft(attempt).finished.append(finished)

    def completed(self, attempt: AttemptId, usage: Usage) -> None:
        """All choices have ended: the last output of this attempt."""
        self._draft(attempt).usage = usage

    def failed(self, attempt: AttemptId, failure: Failure, usage: Usage) -> None:
        """The attempt failed: its last output."""
        draft = self._draft(attempt)
        draft.failure = failure
        draft.usage = usage

    def drop(self, attempt: AttemptId) -> None:
        """Nobody waits for what was collected."""
        self._drafts.pop(attempt, None)

    def outputs(self) -> tuple[WorkOutput, ...]:
        """All outputs, which leave the outbox."""
        outputs = tuple(
            WorkOutput(
                attempt.request_id,
                attempt.attempt,
                draft.started,
                tuple(draft.deltas),
                tuple(draft.finished),
                draft.usage,
                draft.failure,
            )
            for attempt, draft in self._drafts.items()
        )
        self._drafts.clear()
        return outputs

    def events(self) -> tuple[AnyEvent, ...]:
        """All events, which leave the outbox."""
        events = tuple(self._events)
        self._events.clear()
        return events

    def _draft(self, attempt: AttemptId) -> _Draft:
        draft = self._drafts.get(attempt)
        if draft is None:
            draft = self._drafts[attempt] = _Draft()
        return draft
