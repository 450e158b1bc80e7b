"""Stage attributes: what a span says about the stage that its event ended.

Law: numbers, names, digests and decisions; never what was said or what a tool was given.
"""

from collections.abc import Callable
from typing import Any

from octant.core.events import (
    AnyEvent,
    ContextAssembled,
    EvidenceSelected,
    OutputChecked,
    PolicyDecided,
    RequestAdmitted,
    RouteDecided,
    SessionLoaded,
    ToolFinished,
    ToolStarted,
)
from octant.core.failure import Failure
from octant.observability.span import Attributes


def attributes_of(event: AnyEvent) -> Attributes:
    """Attributes of the span that `event` closes; empty for events that close none."""
    of = _OF.get(type(event))
    return {} if of is None else of(event)


def failure_of(event: AnyEvent) -> Failure | None:
    """What went wrong in the stage that `event` closes."""
    return event.outcome.failure if isinstance(event, ToolFinished) else None


def _of_admission(event: RequestAdmitted) -> Attributes:
    return {"octant.reserved_tokens": event.reserved_tokens}


def _of_session(event: SessionLoaded) -> Attributes:
    return {
        "octant.session.id": str(event.session),
        "octant.session.version": event.session_version,
        "octant.session.messages": event.messages,
    }


def _of_evidence(event: EvidenceSelected) -> Attributes:
    return {
        "octant.evidence.passages": event.passages,
        "octant.evidence.dropped": event.dropped,
        "octant.evidence.tokens": event.tokens,
        "octant.evidence.digest": event.digest,
    }


def _of_prompt(event: ContextAssembled) -> Attributes:
    return {
        "octant.prompt.tokens": event.prompt_tokens,
        "octant.prompt.digest": event.prompt_digest,
    }


def _of_intent(event: ToolStarted) -> Attributes:
    return {
        "octant.tool.call.id": event.call_id,
        "octant.tool.name": event.tool,
        "octant.tool.side_effect": event.side_effect.value,
    }


def _of_verdict(event: PolicyDecided) -> Attributes:
    verdict = event.verdict
    said: Attributes = {
        "octant.policy.decision": verdict.decision.value,
        "octant.policy.version": verdict.policy_version,
        "octant.policy.rule": verdict.rule,
    }
    if verdict.findings:
        kinds = sorted(verdict.findings.items())
        said["octant.policy.findings"] = tuple(f"{kind}={count}" for kind, count in kinds)
    return said


def _of_decision(event: RouteDecided) -> Attributes:
    decision = event.decision
    refused = [c.route for c in decision.candidates if c.rejected_because]
    said: Attributes = {
        "octant.route.id": str(decision.chosen.id),
        "octant.route.engine": decision.chosen.engine,
        "octant.route.release": str(decision.chosen.release),
        "octant.route.candidates": len(decision.candidates),
        "octant.route.refused": tuple(str(route) for route in refused),
    }
    if decision.chosen.label:
        said["octant.route.label"] = decision.chosen.label
    return said


def _of_tool(event: ToolFinished) -> Attributes:
    outcome = event.outcome
    return {
        "octant.tool.call.id": outcome.call_id,
        "octant.tool.name": outcome.tool,
        "octant.tool.version": outcome.version,
        "octant.tool.status": outcome.status.value,
        "octant.tool.side_effect": outcome.side_effect.value,
        "octant.tool.result.bytes": outcome.result_bytes,
        "octant.step": outcome.step,
    }


def _of_check(event: OutputChecked) -> Attributes:
    said: Attributes = {
        "octant.output.citations": event.citations,
        "octant.output.supported": event.supported,
        "octant.output.repairs": event.repairs,
    }
    if event.valid is not None:
        said["octant.output.valid"] = event.valid
    return said


_OF: dict[type, Callable[[Any], Attributes]] = {
    PolicyDecided: _of_verdict,
    RequestAdmitted: _of_admission,
    SessionLoaded: _of_session,
    EvidenceSelected: _of_evidence,
    ContextAssembled: _of_prompt,
    RouteDecided: _of_decision,
    ToolStarted: _of_intent,
    ToolFinished: _of_tool,
    OutputChecked: _of_check,
}
