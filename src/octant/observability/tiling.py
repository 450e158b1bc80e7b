"""Tiling: the spans below a request, laid without a gap, model calls and their attempts inside.

Law: every entry begins where the one before ended. What an attempt was for (the route chosen for
it) stands beside it in its step; a step ends with its last attempt.
"""

from collections.abc import Sequence

from octant.core.events import (
    AnyEvent,
    AttemptStarted,
    ContextAssembled,
    RouteDecided,
    ToolFinished,
    ToolStarted,
)
from octant.core.outcome import Outcome
from octant.core.stage import Stage
from octant.observability.attempt_spans import AttemptEnd, attempt_children, attempt_ends
from octant.observability.span import Interval
from octant.observability.stage_attributes import attributes_of, failure_of
from octant.observability.stages import closes

_ENGINE_STAGES = (Stage.QUEUE, Stage.PREFILL, Stage.DECODE)


def tile(
    start_ns: int, ordered: Sequence[AnyEvent], end_ns: int, outcome: Outcome | None
) -> tuple[Interval, ...]:
    """What lies directly below the request, each with what lies below it in turn."""
    floor = _Floor(start_ns, ordered, end_ns, outcome)
    for event in ordered:
        floor.take(event)
    floor.finish(outcome, end_ns)
    return tuple(floor.tiles)


class _Floor:
    """Tiles laid so far, and the step that is open, if one is."""

    def __init__(
        self, start_ns: int, ordered: Sequence[AnyEvent], end_ns: int, outcome: Outcome | None
    ) -> None:
        self.tiles: list[Interval] = []
        self._ordered = ordered
        self._attempts = attempt_ends(ordered, end_ns, outcome)
        self._mark_ns = start_ns
        self._step = 1
        self._in_step: list[Interval] = []

    def take(self, event: AnyEvent) -> None:
        """One more event, in order of time."""
        stage = closes(event)
        if isinstance(event, AttemptStarted):
            self._attempt(event)
        elif isinstance(event, ContextAssembled | RouteDecided):
            self._prepare(event)
        elif stage is not None:
            self._end_step()
            self._stage(event, stage)

    def finish(self, outcome: Outcome | None, end_ns: int) -> None:
        """Settling; for a request that ended by itself before, the stage that refused it."""
        begun = bool(self._attempts)
        self._end_step()
        if outcome is None:
            return
        refused = outcome.failure
        if refused is not None and begun and refused.stage in (*_ENGINE_STAGES, Stage.RESPONSE):
            refused = None
        stage = (Stage.RESPONSE if refused is None else refused.stage).value
        path = stage if refused is None else f"{stage}#refused"
        until_ns = max(self._mark_ns, end_ns)
        self.tiles.append(Interval(path, stage, stage, self._mark_ns, until_ns, {}, refused))

    def _prepare(self, event: ContextAssembled | RouteDecided) -> None:
        last = self._in_step[-1] if self._in_step else None
        answered = last is not None and last.stage is None and last.failure is None
        if isinstance(event, ContextAssembled):
            if event.step != self._step:
                self._end_step()
            self._step = event.step
        elif answered:
            self._end_step()
            self._step += 1
        stage = closes(event) or ""
        self._in_step.append(self._tile(event, stage, len(self._in_step)))

    def _attempt(self, event: AttemptStarted) -> None:
        if event.step != self._step and any(part.stage is None for part in self._in_step):
            self._end_step()
        self._step = event.step
        ended = self._attempts[(event.step, event.attempt)]
        until_ns = max(self._mark_ns, ended.at_ns)
        self._in_step.append(self._hand_over(event, ended, until_ns))
        self._mark_ns = until_ns

    def _hand_over(self, event: AttemptStarted, ended: AttemptEnd, until_ns: int) -> Interval:
        return Interval(
            path=f"attempt {event.attempt}",
            name=f"attempt {event.attempt}",
            stage=None,
            start_ns=self._mark_ns,
            end_ns=until_ns,
            attributes={
                "octant.attempt": event.attempt,
                "octant.route.id": str(event.route),
            },
            failure=ended.failure,
            children=attempt_children(event, ended.at_ns, self._ordered),
        )

    def _end_step(self) -> None:
        if not self._in_step:
            return
        name = f"step {self._step}"
        taken = {tile.name for tile in self.tiles}
        path = name if name not in taken else f"{name}#{len(self.tiles)}"
        first, last = self._in_step[0], self._in_step[-1]
        self.tiles.append(
            Interval(
                path=path,
                name=name,
                stage=None,
                start_ns=first.start_ns,
                end_ns=last.end_ns,
                attributes={"octant.step": self._step},
                failure=last.failure,
                children=tuple(self._in_step),
            )
        )
        self._in_step = []

    def _stage(self, event: AnyEvent, stage: str) -> None:
        before = self.tiles[-1] if self.tiles else None
        authorization = Stage.TOOL_AUTHORIZATION.value
        if isinstance(event, ToolStarted) and before is not None and before.stage == authorization:
            # The verdict was one part of it; the rest is that the intent was put on record.
            until_ns = max(self._mark_ns, event.at_ns)
            told = before.attributes | attributes_of(event)
            self.tiles[-1] = before._replace(end_ns=until_ns, attributes=told)
            self._mark_ns = until_ns
        elif isinstance(event, ToolFinished) and not self._runs(event):
            self.tiles.append(self._tile(event, authorization, len(self.tiles)))
        else:
            self.tiles.append(self._tile(event, stage, len(self.tiles)))

    def _runs(self, event: ToolFinished) -> bool:
        return any(
            isinstance(e, ToolStarted) and e.call_id == event.outcome.call_id for e in self._ordered
        )

    def _tile(self, event: AnyEvent, stage: str, number: int) -> Interval:
        until_ns = max(self._mark_ns, event.at_ns)
        name = stage
        if isinstance(event, ToolFinished) and stage == Stage.TOOL.value:
            name = f"{stage} {event.outcome.tool}"
        made = Interval(
            path=f"{stage}#{number}",
            name=name,
            stage=stage,
            start_ns=self._mark_ns,
            end_ns=until_ns,
            attributes=attributes_of(event),
            failure=failure_of(event),
        )
        self._mark_ns = until_ns
        return made
