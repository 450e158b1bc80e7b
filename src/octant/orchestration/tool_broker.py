"""ToolBroker: every call of Octant's own tools, from the model's proposal to a recorded outcome.

    granted? -> arguments fit the schema? -> authorised? -> time left? -> intent in the audit log
             -> run away from the server -> classify

Law: nothing runs that was not granted, valid and authorised, and nothing that can change anything
runs before its intent is durable. What cannot be told apart from having happened is AMBIGUOUS: it
is never tried again, and its outcome carries the failure that ends the run, for a person to decide
(OR4). Every other failure goes back to the model as `{"error": ...}`.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, assert_never

from msgspec.structs import replace

from octant.core.audit import AuditRecord
from octant.core.content import ToolCall, ToolDefinition
from octant.core.envelope import RequestEnvelope
from octant.core.events import ToolFinished, ToolStarted
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Principal
from octant.core.stage import Stage
from octant.core.tools import (
    SideEffect,
    ToolAnswer,
    ToolInvocation,
    ToolOutcome,
    ToolSpec,
    ToolStatus,
)
from octant.core.verdict import Decision, Verdict
from octant.orchestration.decisions import announce
from octant.orchestration.json_contract import Contract, canonical, read_json
from octant.ports.clock import Clock
from octant.ports.sink import EventSink
from octant.ports.tool_runner import ToolRunner

_SHA256 = "sha256:"
# What is stored and audited of a call is bounded whatever a model writes.
MAX_ARGUMENTS_CHARS = 16_384
_MAX_NAME_CHARS = 128


class _Tool(NamedTuple):
    spec: ToolSpec
    contract: Contract


class _Call(NamedTuple):
    """One proposed call with what identifies it, before anything is decided.

    `arguments` is what its text means; where it means nothing, `problem` says why.
    """

    envelope: RequestEnvelope
    step: int
    id: str
    name: str
    tool: _Tool | None
    arguments: Any
    problem: str
    arguments_digest: str
    key: str
    note: Callable[[ToolOutcome], None]


class _Refusal(Exception):
    """Ends a call before it ran; the model reads why. `verdict` is policy's, where that refused."""

    def __init__(self, status: ToolStatus, message: str, verdict: Verdict | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.verdict = verdict


def _to_nobody(outcome: ToolOutcome) -> None:
    """For callers to whom the answer says enough."""


class ToolBroker:
    """The tools of one server. Holds no state between calls."""

    def __init__(
        self,
        runner: ToolRunner,
        authorise: Callable[[Principal, ToolSpec, dict[str, Any]], Verdict],
        append_audit: Callable[[Sequence[AuditRecord]], Awaitable[None]],
        events: EventSink,
        clock: Clock,
    ) -> None:
        """Raises ValueError when a tool's own schema cannot be used."""
        self._runner = runner
        self._authorise = authorise
        self._append_audit = append_audit
        self._events = events
        self._clock = clock
        self._tools = {
            spec.name: _Tool(spec, Contract(spec.definition.parameters)) for spec in runner.specs()
        }

    def definitions(self, names: Sequence[str]) -> tuple[ToolDefinition, ...]:
        """What a model is told of the tools, in the order asked for, each once.

        Raises Failed(INVALID_VALUE) for a tool that does not exist.
        """
        for name in names:
            if name not in self._tools:
                raise Failed(_unknown_tool(name, tuple(self._tools)))
        return tuple(self._tools[name].spec.definition for name in dict.fromkeys(names))

    def owns(self, name: str) -> bool:
        """Whether this is a tool of Octant's own."""
        return name in self._tools

    async def call(
        self,
        envelope: RequestEnvelope,
        step: int,
        call: ToolCall,
        note: Callable[[ToolOutcome], None] = _to_nobody,
    ) -> ToolAnswer:
        """Runs one call that the model proposed in `step` of the run, or says why it does not.

        `note` hears of every outcome, also of one that nobody waits for any more. Raises Failed:
        DEADLINE_EXCEEDED before the tool has run, RECORD_NOT_STORED when its intent cannot be kept.
        """
        asked = _identified(envelope, step, call, self._tools.get(call.name), note)
        try:
            tool = _granted(asked)
            verdict = self._authorised(asked, tool.spec)
        except _Refusal as refusal:
            error = _error(refusal.message)
            return self._finished(asked, refusal.status, error, refused_by=refusal.verdict)
        timeout_ns = self._timeout_ns(asked, tool.spec)
        if tool.spec.side_effect is not SideEffect.READ:
            await self._intend(asked, tool.spec, verdict)
        return await self._executed(asked, tool.spec, timeout_ns)

    async def _intend(self, call: _Call, spec: ToolSpec, verdict: Verdict) -> None:
        try:
            await self._append_audit([_intent(call, spec, verdict, self._clock.unix_ns())])
        except asyncio.CancelledError:
            # The intent may be on record all the same; so is that nothing came of it.
            self._finished(call, ToolStatus.FAILED, _error("cancelled before it ran"))
            raise

    def _authorised(self, call: _Call, spec: ToolSpec) -> Verdict:
        verdict = self._authorise(call.envelope.principal, spec, call.arguments)
        request_id = call.envelope.request_id
        announce(self._events, self._clock, request_id, Stage.TOOL_AUTHORIZATION, verdict)
        if verdict.decision is Decision.BLOCK:
            message = f"policy does not allow this call: {verdict.reason}"
            raise _Refusal(ToolStatus.REFUSED, message, verdict)
        return verdict

    def _timeout_ns(self, call: _Call, spec: ToolSpec) -> int:
        """The tool's own time, or what is left of the request's."""
        left_ns = call.envelope.deadline.remaining_ns(self._clock.monotonic_ns())
        if left_ns <= 0:
            message = f"The deadline passed before the tool {call.name} could run. It has not run."
            raise Failed(_failure(call, FailureKind.DEADLINE_EXCEEDED, message))
        return min(spec.timeout_ns, left_ns)

    async def _executed(self, call: _Call, spec: ToolSpec, timeout_ns: int) -> ToolAnswer:
        self._events.emit(
            ToolStarted(
                at_ns=self._clock.monotonic_ns(),
                request_id=call.envelope.request_id,
                call_id=call.id,
                tool=call.name,
                side_effect=spec.side_effect,
                step=call.step,
            )
        )
        try:
            run = await self._runner.run(_invocation(call, spec, timeout_ns))
        except asyncio.CancelledError:
            # Whoever hears of this call hears of its end, and then of the cancellation.
            status = _classified(ToolStatus.AMBIGUOUS, spec.side_effect)
            self._finished(call, status, _error("cancelled"))
            raise
        status = _classified(run.status, spec.side_effect)
        return self._finished(call, status, run.content, run.duration_ns)

    def _finished(
        self,
        call: _Call,
        status: ToolStatus,
        content: str,
        duration_ns: int = 0,
        refused_by: Verdict | None = None,
    ) -> ToolAnswer:
        outcome = _outcome(
            call, status, content, duration_ns, _failure_of(call, status, refused_by)
        )
        call.note(outcome)
        self._events.emit(
            ToolFinished(
                at_ns=self._clock.monotonic_ns(),
                request_id=call.envelope.request_id,
                outcome=outcome,
            )
        )
        return ToolAnswer(outcome, content)


_AMBIGUOUS = (
    "The tool {} was started and nobody can tell whether it did its work. It was not tried again. "
    "Find out what it changed before you send this request again; the audit log has its intent."
)


def _identified(
    envelope: RequestEnvelope,
    step: int,
    call: ToolCall,
    tool: _Tool | None,
    note: Callable[[ToolOutcome], None],
) -> _Call:
    value, problem, meant = None, "", call.arguments
    try:
        if len(call.arguments) > MAX_ARGUMENTS_CHARS:
            raise ValueError(f"they are longer than {MAX_ARGUMENTS_CHARS} characters")
        value = read_json(call.arguments)
        meant = canonical(value)
    except ValueError as error:
        problem = str(error)
    identity = [envelope.request_id, step, call.id, call.name, meant]
    return _Call(
        envelope=envelope,
        step=step,
        id=call.id[:_MAX_NAME_CHARS],
        name=call.name[:_MAX_NAME_CHARS],
        tool=tool,
        arguments=value,
        problem=problem,
        arguments_digest=_digest(call.arguments),
        key=_digest(canonical(identity)).removeprefix(_SHA256),
        note=note,
    )


def _granted(call: _Call) -> _Tool:
    """The tool, when this run may use it and the arguments fit it. Raises _Refusal."""
    if call.tool is None or call.tool.spec.name not in call.envelope.tools.allowed:
        raise _Refusal(ToolStatus.REFUSED, f"the tool {call.name} may not be used here")
    problems = (call.problem,) if call.problem else call.tool.contract.problems(call.arguments)
    if problems:
        message = f"invalid arguments: {'; '.join(problems)}"
        raise _Refusal(ToolStatus.INVALID_ARGUMENTS, message)
    return call.tool


def _classified(status: ToolStatus, side_effect: SideEffect) -> ToolStatus:
    """What it means that a tool ended so. Only what changes nothing can simply have failed."""
    if side_effect is SideEffect.READ:
        return ToolStatus.FAILED if status is ToolStatus.AMBIGUOUS else status
    return ToolStatus.AMBIGUOUS if status is ToolStatus.TIMED_OUT else status


def _invocation(call: _Call, spec: ToolSpec, timeout_ns: int) -> ToolInvocation:
    return ToolInvocation(
        tool=spec.name,
        version=spec.version,
        arguments=canonical(call.arguments),
        idempotency_key=call.key,
        timeout_ns=timeout_ns,
        max_result_bytes=spec.max_result_bytes,
    )


def _intent(call: _Call, spec: ToolSpec, verdict: Verdict, at_unix_ns: int) -> AuditRecord:
    principal = call.envelope.principal
    return AuditRecord(
        request_id=call.envelope.request_id,
        tenant=principal.tenant,
        key_id=principal.key_id,
        action="tool.intent",
        decision=verdict.decision.value,
        policy_version=verdict.policy_version,
        rule=verdict.rule,
        at_unix_ns=at_unix_ns,
        detail={
            "tool": spec.name,
            "version": spec.version,
            "call_id": call.id,
            "step": call.step,
            "side_effect": spec.side_effect.value,
            "idempotency_key": call.key,
            "arguments": call.arguments_digest,
        },
    )


def _outcome(
    call: _Call, status: ToolStatus, content: str, duration_ns: int, failure: Failure | None
) -> ToolOutcome:
    spec = call.tool.spec if call.tool is not None else None
    return ToolOutcome(
        call_id=call.id,
        tool=call.name,
        version=spec.version if spec else "",
        step=call.step,
        status=status,
        side_effect=spec.side_effect if spec else SideEffect.READ,
        idempotency_key=call.key,
        arguments_digest=call.arguments_digest,
        result_digest=_digest(content),
        result_bytes=len(content.encode(errors="replace")),
        duration_ns=duration_ns,
        failure=failure,
    )


def _failure_of(
    call: _Call, status: ToolStatus, refused_by: Verdict | None = None
) -> Failure | None:
    kind = FailureKind.TOOL_FAILURE
    match status:
        case ToolStatus.SUCCEEDED:
            return None
        case ToolStatus.FAILED:
            message = f"The tool {call.name} failed; the model was told."
        case ToolStatus.TIMED_OUT:
            message = f"The tool {call.name} did not answer in time and was ended."
        case ToolStatus.INVALID_ARGUMENTS:
            message = f"The arguments for {call.name} do not fit its schema; it did not run."
        case ToolStatus.REFUSED:
            kind = FailureKind.POLICY_BLOCKED
            message = f"The tool {call.name} may not be used; it did not run."
        case ToolStatus.AMBIGUOUS:
            kind, message = FailureKind.TOOL_AMBIGUOUS, _AMBIGUOUS.format(call.name)
        case _:
            assert_never(status)
    failure = _failure(call, kind, message)
    if refused_by is None:
        return failure
    ruled = {"rule": refused_by.rule, "policy_version": refused_by.policy_version}
    return replace(failure, detail=failure.detail | ruled)


def _failure(call: _Call, kind: FailureKind, message: str) -> Failure:
    refused = kind is FailureKind.POLICY_BLOCKED
    return Failure(
        kind=kind,
        stage=Stage.TOOL_AUTHORIZATION if refused else Stage.TOOL,
        message=message,
        detail={"tool": call.name, "call_id": call.id, "idempotency_key": call.key},
    )


def _unknown_tool(name: str, known: tuple[str, ...]) -> Failure:
    there = f"there are {', '.join(known)}" if known else "this server has none"
    return Failure(
        kind=FailureKind.INVALID_VALUE,
        stage=Stage.BOUNDARY,
        message=f"octant.tools names {name[:_MAX_NAME_CHARS]!r}, which is no tool here; {there}.",
        param="octant.tools",
    )


def _error(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)


def _digest(text: str) -> str:
    # Half a surrogate pair can be spelled in JSON and is no text.
    return _SHA256 + hashlib.sha256(text.encode(errors="replace")).hexdigest()
