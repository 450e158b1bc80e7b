"""The agent loop: model calls, Octant's own tools between them, and the check at the end.

    model call -> own tools asked for? run them, call again
               -> contract broken? say so, call again (bounded)
               -> the end

Law: a run makes at most `tools.max_steps` calls, the last of them without tools, and at most
`output.max_repairs` more to repair its answer. An answer that must pass a check is passed on only
after it has, as it was checked; any other is passed on as it comes. Usage counts every call, and
what was decided about a call is on record however it ended.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from msgspec.structs import replace

from octant.core.content import ChatInput, Message, Role, TextPart, ToolCall, ToolChoice
from octant.core.envelope import RequestEnvelope
from octant.core.events import OutputChecked
from octant.core.evidence import Evidence
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.limits import RunBudget
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    Completed,
    Started,
    StreamItem,
    ToolRan,
)
from octant.core.tools import ToolStatus
from octant.core.units import NanoUsd
from octant.core.verdict import Decision, Verdict
from octant.governance.governor import Governor
from octant.governance.pii.kinds import Where
from octant.orchestration.account import RunAccount
from octant.orchestration.decisions import announce
from octant.orchestration.execution import Execution
from octant.orchestration.output_check import CheckedOutput, check_output, repair_messages
from octant.orchestration.progress import Prepared, Progress
from octant.orchestration.tool_broker import ToolBroker
from octant.ports.clock import Clock
from octant.ports.sink import EventSink

_MIXED_CALLS = (
    "The model called tools of Octant's and of the caller's in one answer; only the caller's are "
    "proposed, Octant's were not run."
)
# A document can ask a model for calls without end; models that work ask for a handful at once.
MAX_CALLS = 16
_TOO_MANY_CALLS = f'{{"error": "not run: at most {MAX_CALLS} calls are run in one answer"}}'
_MANY_CALLS = (
    f"The model called more than {MAX_CALLS} tools of Octant's in one answer; the rest was not run."
)
_LATE_CALLS = "The model called tools of Octant's in its last call; they were not run."


class AgentLoop:
    """Runs prepared requests to their end."""

    def __init__(
        self,
        execution: Execution,
        broker: ToolBroker,
        governor: Governor,
        events: EventSink,
        clock: Clock,
    ) -> None:
        self._execution = execution
        self._broker = broker
        self._governor = governor
        self._events = events
        self._clock = clock

    async def run(
        self, prepared: Prepared, account: RunAccount
    ) -> AsyncGenerator[StreamItem, None]:
        """Items up to and including one terminal item. Raises Failed for what ends the run."""
        progress = Progress(prepared)
        while True:
            progress.begin()
            async with aclosing(self._call(progress, account)) as items:
                async for item in items:
                    yield item
            if progress.broken:
                return
            if progress.uses_tools:
                async for ran in self._use_tools(progress, account):
                    yield ran
            elif not self._repair(progress, account):
                account.said = self._kept(progress)
                if progress.turn.own_calls:
                    account.warn(_MIXED_CALLS if progress.turn.proposes else _LATE_CALLS)
                for item in progress.released():
                    yield item
                return

    async def _call(
        self, progress: Progress, account: RunAccount
    ) -> AsyncGenerator[StreamItem, None]:
        """One model call: gathered, guarded for the caller, and held back where it has to be."""
        prepared, turn = progress.prepared, progress.turn
        asked = self._asked(progress, account)
        guard = self._governor.guard(
            asked.principal.tenant,
            prepared.vault,
            asked.sampling.n,
            as_json=asked.output is not None,
        )
        execution = self._execution.run(asked, prepared.model, account, progress.step)
        try:
            async with aclosing(execution) as items:
                async for item in items:
                    if isinstance(item, Started | Completed | Broken):
                        passed = (item,)
                    else:
                        passed = guard.feed(turn.shown(item)) if turn.take(item) else ()
                    for out in passed:
                        if progress.passes(out):
                            yield out
        finally:
            account.records_tokens = account.records_tokens and guard.recordable
            self._decide(account, Stage.VALIDATION, guard.verdict())

    def _asked(self, progress: Progress, account: RunAccount) -> RequestEnvelope:
        """The envelope of the next call: what was said since, and what is left of its budget."""
        envelope, chat = progress.prepared.envelope, progress.prepared.envelope.input
        if progress.prepared.one_call or not isinstance(chat, ChatInput):
            return envelope
        if progress.step > 1 and envelope.deadline.remaining_ns(self._clock.monotonic_ns()) <= 0:
            raise Failed(_overdue(progress.step))
        return replace(
            envelope,
            budget=_left(envelope.budget, account),
            input=replace(
                chat,
                messages=(*chat.messages, *progress.said),
                tool_choice=ToolChoice.NONE if progress.last else chat.tool_choice,
            ),
        )

    async def _use_tools(
        self, progress: Progress, account: RunAccount
    ) -> AsyncGenerator[StreamItem, None]:
        """Runs the calls of a turn, one after the other, and adds them to what was said."""
        prepared, turn = progress.prepared, progress.turn
        tenant = prepared.envelope.principal.tenant
        results: list[Message] = []
        for call in turn.own_calls[:MAX_CALLS]:
            meant = replace(call, arguments=prepared.vault.restore_json(call.arguments))
            answer = await self._broker.call(
                prepared.envelope, progress.step, meant, account.use_tool
            )
            if answer.outcome.status is ToolStatus.AMBIGUOUS:
                assert answer.outcome.failure is not None, "an ambiguous call has its failure"
                raise Failed(answer.outcome.failure)
            shown = self._screened(prepared, answer.content, account)
            results.append(_result(call, shown))
            told = ToolRan(call.name, call.arguments, answer._replace(content=shown))
            for item in self._guarded(told, prepared, account):
                yield item
        results += [_result(call, _TOO_MANY_CALLS) for call in turn.own_calls[MAX_CALLS:]]
        if len(turn.own_calls) > MAX_CALLS:
            account.warn(_MANY_CALLS)
        used = (*turn.messages(), *results)
        progress.said, progress.kept = (*progress.said, *used), (*progress.kept, *used)
        account.records_tokens = account.records_tokens and self._governor.recordable(tenant, used)

    def _guarded(
        self, ran: ToolRan, prepared: Prepared, account: RunAccount
    ) -> Sequence[StreamItem]:
        """What a tool did as the caller may see it. Raises Failed when policy blocks it."""
        guard = self._governor.guard(prepared.envelope.principal.tenant, prepared.vault, 1)
        try:
            return guard.feed(ran)
        finally:
            verdict = guard.verdict()
            # That a caller's own values come back to it is decided for the answer as a whole.
            if verdict.findings:
                self._decide(account, Stage.TOOL, verdict)

    def _kept(self, progress: Progress) -> tuple[Message, ...]:
        """What a session keeps of a run that ends with this call: nothing that was not sent."""
        prepared = progress.prepared
        tenant = prepared.envelope.principal.tenant
        return self._governor.screen_said(tenant, progress.finished(), prepared.vault)

    def _screened(self, prepared: Prepared, content: str, account: RunAccount) -> str:
        """A tool's result as the model may see it. Raises Failed when policy blocks it."""
        tenant = prepared.envelope.principal.tenant
        screened = self._governor.screen_text(tenant, Where.CONTEXT, content, prepared.vault)
        self._decide(account, Stage.TOOL, screened.verdict)
        if screened.verdict.decision is Decision.BLOCK:
            raise Failed(self._governor.refusal(screened.verdict, Stage.TOOL))
        return screened.text

    def _repair(self, progress: Progress, account: RunAccount) -> bool:
        """Whether the answer broke its contract and is asked for once more.

        Raises Failed(OUTPUT_INVALID) when it broke it and no try is left.
        """
        prepared, turn = progress.prepared, progress.turn
        checked = _check(progress)
        account.citations, account.output_valid = checked.citations, checked.valid
        if prepared.checked_first or checked.citations:
            self._events.emit(
                OutputChecked(
                    at_ns=self._clock.monotonic_ns(),
                    request_id=prepared.envelope.request_id,
                    valid=checked.valid,
                    citations=len(checked.citations),
                    supported=sum(citation.supported for citation in checked.citations),
                    repairs=progress.repairs,
                )
            )
        if not checked.problems or not prepared.checked_first:
            return False
        if not progress.may_repair:
            tenant = prepared.envelope.principal.tenant
            problems = self._governor.telemetry_text(tenant, _listed(checked.problems))
            raise Failed(_invalid(problems, len(checked.problems)))
        progress.repairs += 1
        asked = repair_messages(
            prepared.envelope.output,
            turn.text(0),
            checked.problems,
            partial(self._as_input, prepared),
        )
        progress.said = (*progress.said, *asked)
        return True

    def _as_input(self, prepared: Prepared, text: str) -> str:
        tenant = prepared.envelope.principal.tenant
        return self._governor.screen_text(tenant, Where.INPUT, text, prepared.vault).text

    def _decide(self, account: RunAccount, stage: Stage, verdict: Verdict) -> None:
        """Records a verdict that found something."""
        if verdict.decision is Decision.ALLOW:
            return
        account.decide(stage, verdict)
        announce(self._events, self._clock, account.envelope.request_id, stage, verdict)


def _left(budget: RunBudget, account: RunAccount) -> RunBudget:
    """What of the run's own budget its next call may use."""
    tokens, cost = budget.tokens, budget.cost_nano_usd
    if tokens is not None:
        tokens = max(tokens - account.usage.total_tokens, 0)
    if cost is not None:
        cost = NanoUsd(max(cost - account.cost(None), 0))
    return RunBudget(tokens=tokens, cost_nano_usd=cost)


def _check(progress: Progress) -> CheckedOutput:
    """The answer as the caller will read it against its contract, as it was meant against evidence.

    What policy takes out of an answer on its way does not make its source say less.
    """
    prepared, turn = progress.prepared, progress.turn
    envelope, vault, evidence = prepared.envelope, prepared.vault, prepared.evidence
    choices = range(envelope.sampling.n)
    said = [None if turn.proposes_in(n) else vault.restore(turn.text(n)) for n in choices]
    sent = said if envelope.output is None else [progress.sent(choice) for choice in choices]
    if evidence is not None:
        evidence = Evidence(evidence.package, tuple(vault.restore(t) for t in evidence.texts))
    return check_output(envelope.output, envelope.context, evidence, sent, said)


def _result(call: ToolCall, content: str) -> Message:
    return Message(
        role=Role.TOOL, parts=(TextPart(text=content),), name=call.name, tool_call_id=call.id
    )


def _invalid(problems: str, count: int) -> Failure:
    """`problems` are as telemetry may have them: they name values of the schema, and are stored."""
    return Failure(
        kind=FailureKind.OUTPUT_INVALID,
        stage=Stage.VALIDATION,
        message="The model's answer does not meet the output contract and was not passed on: "
        f"{problems} Ask differently, allow more repairs, or relax the contract.",
        param="octant.output",
        detail={"problems": count},
    )


def _listed(problems: Sequence[str]) -> str:
    return "; ".join(problem.rstrip(".") for problem in problems) + "."


def _overdue(step: int) -> Failure:
    return Failure(
        kind=FailureKind.DEADLINE_EXCEEDED,
        stage=Stage.TOOL,
        message=f"The deadline passed before model call {step} of this run could begin.",
    )
