"""Stages: which stage of a request an event ends. The one rule of traces and of stage times.

Law: a request is in one stage at a time. An event that ends a stage closes the time since the one
before. From `AttemptStarted` on the engine's own events say where the request is, until all choices
have finished, the attempt has failed, or the path goes on.
"""

from octant.core.events import (
    AnyEvent,
    ContextAssembled,
    EvidenceSelected,
    FirstToken,
    OutputChecked,
    PolicyDecided,
    RequestAdmitted,
    RouteDecided,
    SequenceFinished,
    SequencePreempted,
    SequenceScheduled,
    SessionLoaded,
    ToolFinished,
    ToolStarted,
)
from octant.core.stage import Stage

ENGINE_EVENTS = (SequenceScheduled, SequencePreempted, FirstToken, SequenceFinished)

_CLOSES: dict[type, str] = {
    RequestAdmitted: Stage.ADMISSION.value,
    SessionLoaded: Stage.SESSION.value,
    EvidenceSelected: Stage.CONTEXT.value,
    ContextAssembled: Stage.CONTEXT.value,
    RouteDecided: Stage.ROUTE.value,
    ToolStarted: Stage.TOOL_AUTHORIZATION.value,
    ToolFinished: Stage.TOOL.value,
    OutputChecked: Stage.VALIDATION.value,
}


def closes(event: AnyEvent) -> str | None:
    """The stage on the path that ends with `event`; None where it ends none."""
    if isinstance(event, PolicyDecided):
        return event.stage
    return _CLOSES.get(type(event))
