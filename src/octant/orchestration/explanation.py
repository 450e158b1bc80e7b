"""Explanation: why a request went where it went, folded from its events (OR1). Pure.

Law: it repeats what was decided and never decides again; each attempt stands with the decision that
led to it, in the order in which they happened.
"""

from collections.abc import Sequence
from typing import NamedTuple

from octant.core.events import AnyEvent, AttemptFailed, AttemptStarted, RouteDecided
from octant.core.failure import Failure
from octant.core.route import RouteDecision


class ExplainedAttempt(NamedTuple):
    """One decision and what came of it. `step` and `attempt` are 0 where it was never begun."""

    decision: RouteDecision
    step: int = 0
    attempt: int = 0
    failure: Failure | None = None

    @property
    def split_kept(self) -> bool:
        """Whether the chosen route is of the release that the traffic split drew, if it drew."""
        drawn = self.decision.release
        return drawn is None or drawn == self.decision.chosen.release


def explain(events: Sequence[AnyEvent]) -> tuple[ExplainedAttempt, ...]:
    """Every decision of one request with its attempt; empty when no route was ever chosen."""
    explained: list[ExplainedAttempt] = []
    for event in sorted(events, key=lambda event: event.at_ns):
        match event:
            case RouteDecided():
                explained.append(ExplainedAttempt(event.decision))
            case AttemptStarted() if explained:
                explained[-1] = explained[-1]._replace(step=event.step, attempt=event.attempt)
            case AttemptFailed() if explained:
                explained[-1] = explained[-1]._replace(failure=event.failure)
            case _:
                pass
    return tuple(explained)
