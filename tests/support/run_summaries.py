"""A summary as settlement fills it in, for tests of what is made of it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from octant.core.envelope import RequestEnvelope
from octant.core.evidence import Citation, Passage
from octant.core.evidence import Classification as Class
from octant.core.failure import Failure, FailureKind
from octant.core.ids import ReleaseId, RequestId, RouteId, SessionId, TraceId
from octant.core.outcome import OutcomeStatus
from octant.core.session import SessionChange
from octant.core.stage import Stage
from octant.core.stream import Broken, Completed, StreamItem
from octant.core.summary import (
    AttemptSummary,
    PolicyDecision,
    RouteSummary,
    RunSummary,
    StageTime,
)
from octant.core.tools import SideEffect, ToolAnswer, ToolOutcome, ToolStatus
from octant.core.units import NanoUsd
from octant.core.usage import Usage
from octant.core.verdict import Decision, Verdict

USAGE = Usage(prompt_tokens=7, cached_tokens=4, completion_tokens=3)
OUTCOME = ToolOutcome(
    call_id="call_1",
    tool="calculator",
    version="1",
    step=1,
    status=ToolStatus.SUCCEEDED,
    side_effect=SideEffect.READ,
    idempotency_key="req_1/call_1",
    arguments_digest="sha256:a",
    result_digest="sha256:b",
    result_bytes=2,
    duration_ns=5,
)
ANSWER = ToolAnswer(OUTCOME, "42")


def run_summary(request: str = "req_1", **changes: Any) -> RunSummary:
    """A run on its second route, with a tool, a passage and a session."""
    lost = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="It was lost.")
    ordinary = RunSummary(
        request_id=RequestId(request),
        trace_id=TraceId("1" * 32),
        status=OutcomeStatus.COMPLETED,
        warnings=("The second route answered.",),
        evidence=(
            Passage(
                index=1,
                document_id="a",
                title="T",
                source="s",
                classification=Class.INTERNAL,
                start=0,
                end=4,
                digest="sha256:c",
                tokens=2,
            ),
        ),
        citations=(Citation(choice=0, index=1, document_id="a", supported=True),),
        tools=(OUTCOME,),
        route=RouteSummary(
            id=RouteId("tiny@2"), release=ReleaseId("2"), model="tiny", engine="openvino"
        ),
        attempts=(
            AttemptSummary(step=1, attempt=1, route=RouteId("tiny@1"), failure=lost),
            AttemptSummary(step=1, attempt=2, route=RouteId("tiny@2")),
        ),
        decisions=(
            PolicyDecision(
                stage="governance",
                verdict=Verdict(
                    decision=Decision.CHANGE,
                    policy_version="sha256:p",
                    rule="pii.input",
                    reason="A card number was replaced.",
                    findings={"card": 1},
                ),
            ),
        ),
        session=SessionChange(session=SessionId("ses_1"), version=4, messages_added=2),
        stages=(StageTime(stage="decode", duration_ns=9),),
        usage=USAGE,
        cost_nano_usd=NanoUsd(70),
        duration_ns=11,
    )
    return msgspec.structs.replace(ordinary, **changes)


def summarised(
    *items: StreamItem,
) -> Callable[[RequestEnvelope], AsyncIterator[StreamItem]]:
    """A script whose terminal item carries a summary of the request, as settlement gives it."""

    async def script(envelope: RequestEnvelope) -> AsyncIterator[StreamItem]:
        for item in items:
            match item:
                case Completed():
                    summary = run_summary(envelope.request_id, trace_id=envelope.trace_id)
                    yield item._replace(summary=summary)
                case Broken():
                    summary = run_summary(
                        envelope.request_id,
                        trace_id=envelope.trace_id,
                        status=OutcomeStatus.FAILED,
                        failure=item.failure,
                    )
                    yield item._replace(summary=summary)
                case _:
                    yield item

    return script
