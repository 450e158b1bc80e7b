"""The manifest completed: what was scheduled, used and checked, folded from a request's events.

Law: pure; one pass. What was pinned before the attempt stays as it is.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from octant.core.events import (
    AnyEvent,
    AttemptStarted,
    ContextAssembled,
    EvidenceSelected,
    OutputChecked,
    SequenceFinished,
    SequencePreempted,
    SequenceScheduled,
    SessionLoaded,
    ToolFinished,
)
from octant.core.ids import RouteId
from octant.core.manifest import ExecutedStep, ExecutionManifest, ToolUse
from octant.core.tools import ToolOutcome

_CANONICAL = msgspec.json.Encoder(order="deterministic")


def completed(
    manifest: ExecutionManifest,
    events: Sequence[AnyEvent],
    *,
    octant_version: str = "",
    output_schema: dict[str, Any] | None = None,
    evaluator_version: str = "",
    pins: Sequence[ExecutionManifest] = (),
) -> ExecutionManifest:
    """`manifest`, the pin of the last attempt, with all that became known afterwards.

    `pins` are those of earlier attempts, so that a step on another route names its artifact.
    `output_schema` is the JSON Schema of the output contract; `evaluator_version` is pinned where
    an answer was checked.
    """
    changes: dict[str, Any] = {
        "steps": _steps(events, {pin.route: pin for pin in (*pins, manifest)}),
        "octant_version": octant_version or manifest.octant_version,
    }
    tools: list[ToolUse] = []
    for event in events:
        match event:
            case EvidenceSelected():
                changes["evidence_digest"] = event.digest
            case SessionLoaded():
                changes["session"] = event.session
                changes["session_version"] = event.session_version
            case ToolFinished():
                tools.append(_tool(event.outcome))
            case OutputChecked():
                changes["evaluator_version"] = evaluator_version
            case _:
                pass
    if tools:
        changes["tools"] = tuple(tools)
    if output_schema is not None:
        changes["output_schema_digest"] = schema_digest(output_schema)
    return msgspec.structs.replace(manifest, **changes)


def schema_digest(schema: dict[str, Any]) -> str:
    """`sha256:` and 64 hex digits over the schema with its keys sorted."""
    return "sha256:" + hashlib.sha256(_CANONICAL.encode(schema)).hexdigest()


class _Step:
    """A model call in the making."""

    __slots__ = ("cached", "completion", "digest", "max_batch", "preemptions", "prompt", "started")

    def __init__(self, digest: str, prompt: int) -> None:
        self.digest = digest
        self.prompt = prompt
        self.begin(None)

    def begin(self, started: AttemptStarted | None) -> None:
        """A new attempt computes everything anew."""
        self.started = started
        self.cached: dict[int, int] = {}
        self.completion = self.preemptions = self.max_batch = 0

    def take(self, event: AnyEvent) -> None:
        """One more event of the engine."""
        match event:
            case SequenceScheduled():
                self.prompt = event.prompt_tokens
                # A preempted choice is scheduled again and then finds its own blocks.
                self.cached.setdefault(event.choice, event.cached_tokens)
            case SequencePreempted():
                self.preemptions += 1
            case SequenceFinished():
                self.completion += event.completion_tokens
                self.max_batch = max(self.max_batch, event.max_batch)
            case _:
                pass


def _steps(
    events: Sequence[AnyEvent], pins: dict[RouteId, ExecutionManifest]
) -> tuple[ExecutedStep, ...]:
    steps: dict[int, _Step] = {}
    current = _Step("", 0)
    for event in events:
        if isinstance(event, ContextAssembled):
            current = steps.setdefault(event.step, _Step(event.prompt_digest, event.prompt_tokens))
        elif isinstance(event, AttemptStarted):
            current = steps.setdefault(event.step, current)
            current.begin(event)
        else:
            current.take(event)
    return tuple(
        _executed(step.started, step, pins.get(step.started.route))
        for _, step in sorted(steps.items())
        if step.started is not None
    )


def _executed(started: AttemptStarted, step: _Step, pin: ExecutionManifest | None) -> ExecutedStep:
    return ExecutedStep(
        step=started.step,
        attempt=started.attempt,
        route=started.route,
        artifact_digest=pin.artifact_digest if pin else "",
        engine=pin.engine if pin else "",
        engine_version=pin.engine_version if pin else "",
        prompt_digest=step.digest,
        prompt_tokens=step.prompt,
        cached_tokens=sum(step.cached.values()),
        completion_tokens=step.completion,
        preemptions=step.preemptions,
        max_batch=step.max_batch,
    )


def _tool(outcome: ToolOutcome) -> ToolUse:
    return ToolUse(
        call_id=outcome.call_id,
        tool=outcome.tool,
        version=outcome.version,
        side_effect=outcome.side_effect,
        idempotency_key=outcome.idempotency_key,
        status=outcome.status,
    )
