"""Stage times: how long a request was in each stage, for what its caller is told (RC2).

Law: the times add up to the time between the first event and the last, so they agree with the
trace. One pass without a trace, because it runs for every request before its last word.
"""

from collections.abc import Sequence
from operator import attrgetter

from octant.core.events import (
    AnyEvent,
    AttemptFailed,
    AttemptStarted,
    FirstToken,
    RequestSettled,
    SequenceFinished,
    SequenceScheduled,
    ToolFinished,
    ToolStarted,
)
from octant.core.stage import Stage
from octant.core.summary import StageTime
from octant.observability.stages import ENGINE_EVENTS, closes

_QUEUE, _PREFILL, _DECODE = Stage.QUEUE.value, Stage.PREFILL.value, Stage.DECODE.value
_AUTHORIZATION, _RESPONSE = Stage.TOOL_AUTHORIZATION.value, Stage.RESPONSE.value


def stages(events: Sequence[AnyEvent], end_ns: int | None = None) -> tuple[StageTime, ...]:
    """Times in the order in which the stages were first entered; all visits to one together.

    With `end_ns`, what follows the last event is the response. Several choices count as one: until
    the first was scheduled, until the first token of any, until the last has finished.
    """
    ordered = sorted(events, key=attrgetter("at_ns"))
    if not ordered:
        return ()
    clock = _StageClock(ordered[0].at_ns)
    for event in ordered[1:]:
        clock.take(event)
    if end_ns is not None:
        clock.end(end_ns)
    return tuple(StageTime(stage=stage, duration_ns=ns) for stage, ns in clock.spent.items())


class _StageClock:
    """Where the request is, and what it has spent where."""

    __slots__ = ("_mark_ns", "_open", "_phase", "_reported", "_tool_runs", "spent")

    def __init__(self, start_ns: int) -> None:
        self.spent: dict[str, int] = {}
        self._mark_ns = start_ns
        self._phase: str | None = None
        self._open: set[int] = set()
        self._reported = False
        self._tool_runs = False

    def take(self, event: AnyEvent) -> None:
        """One more event, in order of time."""
        if isinstance(event, ENGINE_EVENTS):
            self._engine(event)
        elif isinstance(event, AttemptStarted):
            self._close(_QUEUE, event.at_ns)
            self._phase, self._reported = _QUEUE, False
            self._open.clear()
        elif isinstance(event, AttemptFailed):
            self._close(self._phase or _DECODE, event.at_ns)
            self._phase = None
        elif isinstance(event, RequestSettled):
            self.end(event.at_ns)
        elif (stage := closes(event)) is not None:
            self._path(event, stage)

    def end(self, at_ns: int) -> None:
        """Nothing follows."""
        self._close(self._attempt_stage() or _RESPONSE, at_ns)

    def _path(self, event: AnyEvent, stage: str) -> None:
        if isinstance(event, ToolFinished) and not self._tool_runs:
            stage = _AUTHORIZATION
        self._tool_runs = isinstance(event, ToolStarted)
        self._close(self._attempt_stage() or stage, event.at_ns)
        self._phase = None

    def _attempt_stage(self) -> str | None:
        """Of an attempt still open; an engine that reports nothing only ever decodes."""
        if self._phase is None:
            return None
        return self._phase if self._reported else _DECODE

    def _engine(self, event: AnyEvent) -> None:
        self._reported = True
        match event:
            case SequenceScheduled():
                self._close(self._phase or _QUEUE, event.at_ns)
                self._open.add(event.choice)
                self._phase = _DECODE if self._phase == _DECODE else _PREFILL
            case FirstToken():
                self._close(self._phase or _PREFILL, event.at_ns)
                self._phase = _DECODE
            case SequenceFinished():
                self._close(self._phase or _DECODE, event.at_ns)
                self._open.discard(event.choice)
                self._phase = self._phase if self._open else None
            case _:
                pass

    def _close(self, stage: str, at_ns: int) -> None:
        self.spent[stage] = self.spent.get(stage, 0) + max(0, at_ns - self._mark_ns)
        self._mark_ns = max(self._mark_ns, at_ns)
