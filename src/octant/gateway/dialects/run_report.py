"""Run report: what is said of a finished run beside its text, in every dialect (RC2).

    RunSummary -> RunReport     `octant` of an OpenAI answer, and the greater part of a run

Law: this is the wire's own shape, versioned apart from what is stored. It shows the caller what was
decided and done, never prompt text, a digest's source, or evidence meant for operators.
"""

import msgspec

from octant.core.evidence import Citation, Classification, DroppedPassage, Passage
from octant.core.failure import Failure
from octant.core.ids import RequestId
from octant.core.outcome import OutcomeStatus
from octant.core.session import SessionChange
from octant.core.summary import AttemptSummary, PolicyDecision, RouteSummary, RunSummary
from octant.core.tools import SideEffect, ToolOutcome, ToolStatus
from octant.core.usage import Usage
from octant.core.verdict import Decision
from octant.gateway.failures import ErrorObject, error_object


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is written."""


class ShownPassage(_Shown, frozen=True):
    """A part of a document in the prompt. `start` and `end` count characters of its text."""

    index: int
    document_id: str
    title: str
    source: str
    classification: Classification
    start: int
    end: int
    digest: str
    tokens: int


class ShownDropped(_Shown, frozen=True):
    """A part of a document that was left out, and why."""

    document_id: str
    start: int
    end: int
    reason: str


class ShownCitation(_Shown, frozen=True):
    """A mark `[index]` in the answer. `document_id` is null where no passage has the number."""

    choice: int
    index: int
    document_id: str | None
    supported: bool


class ShownTool(_Shown, frozen=True):
    """What became of one call of Octant's own tools.

    `arguments` and `result` are JSON text, and null where only their digests are shown.
    """

    call_id: str
    tool: str
    version: str
    step: int
    status: ToolStatus
    side_effect: SideEffect
    idempotency_key: str
    arguments_digest: str
    result_digest: str | None
    result_bytes: int
    duration_ns: int
    error: ErrorObject | None
    arguments: str | None = None
    result: str | None = None


class ShownRoute(_Shown, frozen=True):
    """What answered last."""

    id: str
    release: str
    model: str
    engine: str
    label: str


class ShownAttempt(_Shown, frozen=True):
    """One attempt on one route; `error` is null for one that answered."""

    step: int
    attempt: int
    route: str
    error: ErrorObject | None


class ShownDecision(_Shown, frozen=True):
    """One verdict of policy. `findings` counts what was recognised, by kind."""

    stage: str
    decision: Decision
    policy_version: str
    rule: str
    reason: str
    findings: dict[str, int]


class ShownSession(_Shown, frozen=True):
    """The session as this run left it: go on with `id`, expecting `version`."""

    id: str
    version: int
    messages_added: int


class ShownStage(_Shown, frozen=True):
    """How long the run was in a stage, all its visits together."""

    stage: str
    duration_ns: int


class ShownUsage(_Shown, frozen=True):
    """Tokens of all model calls together; `cached_tokens` is part of `prompt_tokens`."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    total_tokens: int


class RunReport(_Shown, frozen=True, kw_only=True):
    """All that is known of a run but its text. `output_valid` is null without an output contract;
    `session` is null unless the run added to one."""

    id: str
    trace_id: str
    status: OutcomeStatus
    warnings: list[str] = []
    evidence: list[ShownPassage] = []
    evidence_dropped: list[ShownDropped] = []
    citations: list[ShownCitation] = []
    tools: list[ShownTool] = []
    route: ShownRoute | None = None
    attempts: list[ShownAttempt] = []
    decisions: list[ShownDecision] = []
    output_valid: bool | None = None
    review: str = "none"
    session: ShownSession | None = None
    stages: list[ShownStage] = []
    usage: ShownUsage
    cost_nano_usd: int = 0
    duration_ns: int = 0


def report_of(summary: RunSummary) -> RunReport:
    """The report of a summarised run."""
    request_id = summary.request_id
    return RunReport(
        id=request_id,
        trace_id=summary.trace_id,
        status=summary.status,
        warnings=list(summary.warnings),
        evidence=[_passage(passage) for passage in summary.evidence],
        evidence_dropped=[_dropped(dropped) for dropped in summary.evidence_dropped],
        citations=[_citation(citation) for citation in summary.citations],
        tools=[shown_tool(outcome, request_id) for outcome in summary.tools],
        route=_route(summary.route),
        attempts=[_attempt(attempt, request_id) for attempt in summary.attempts],
        decisions=[_decision(decision) for decision in summary.decisions],
        output_valid=summary.output_valid,
        review=summary.review,
        session=_session(summary.session),
        stages=[
            ShownStage(stage=time.stage, duration_ns=time.duration_ns) for time in summary.stages
        ],
        usage=shown_usage(summary.usage),
        cost_nano_usd=summary.cost_nano_usd,
        duration_ns=summary.duration_ns,
    )


def shown_tool(outcome: ToolOutcome, request_id: RequestId) -> ShownTool:
    """One outcome."""
    return ShownTool(
        call_id=outcome.call_id,
        tool=outcome.tool,
        version=outcome.version,
        step=outcome.step,
        status=outcome.status,
        side_effect=outcome.side_effect,
        idempotency_key=outcome.idempotency_key,
        arguments_digest=outcome.arguments_digest,
        result_digest=outcome.result_digest,
        result_bytes=outcome.result_bytes,
        duration_ns=outcome.duration_ns,
        error=_error(outcome.failure, request_id),
    )


def shown_usage(usage: Usage) -> ShownUsage:
    """Token counts with their sum."""
    return ShownUsage(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
    )


def _error(failure: Failure | None, request_id: RequestId) -> ErrorObject | None:
    return None if failure is None else error_object(failure, request_id)


def _passage(passage: Passage) -> ShownPassage:
    return ShownPassage(
        index=passage.index,
        document_id=passage.document_id,
        title=passage.title,
        source=passage.source,
        classification=passage.classification,
        start=passage.start,
        end=passage.end,
        digest=passage.digest,
        tokens=passage.tokens,
    )


def _dropped(dropped: DroppedPassage) -> ShownDropped:
    return ShownDropped(
        document_id=dropped.document_id,
        start=dropped.start,
        end=dropped.end,
        reason=dropped.reason,
    )


def _citation(citation: Citation) -> ShownCitation:
    return ShownCitation(
        choice=citation.choice,
        index=citation.index,
        document_id=citation.document_id,
        supported=citation.supported,
    )


def _route(route: RouteSummary | None) -> ShownRoute | None:
    if route is None:
        return None
    return ShownRoute(
        id=route.id,
        release=route.release,
        model=route.model,
        engine=route.engine,
        label=route.label,
    )


def _attempt(attempt: AttemptSummary, request_id: RequestId) -> ShownAttempt:
    return ShownAttempt(
        step=attempt.step,
        attempt=attempt.attempt,
        route=attempt.route,
        error=_error(attempt.failure, request_id),
    )


def _decision(decision: PolicyDecision) -> ShownDecision:
    verdict = decision.verdict
    return ShownDecision(
        stage=decision.stage,
        decision=verdict.decision,
        policy_version=verdict.policy_version,
        rule=verdict.rule,
        reason=verdict.reason,
        findings=verdict.findings,
    )


def _session(change: SessionChange | None) -> ShownSession | None:
    if change is None:
        return None
    return ShownSession(
        id=change.session, version=change.version, messages_added=change.messages_added
    )
