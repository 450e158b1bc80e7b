"""The agent loop: model calls, Octant's own tools between them, and the check at the end.

    model call -> own tools asked for? run them, call again
               -> contract broken? say so, call again (bounded)
               -> the end

Law: a run makes at most `tools.max_steps` calls, the last of them without tools, and at most
`output.max_repairs` more to repair its answer. An answer that must pass a check is passed on only
after it has; any other is passed on as it comes. Usage counts every call.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from msgspec.structs import replace

from octant.core.content import ChatInput, Message, Role, TextPart, ToolCall, ToolChoice
from octant.core.envelope import RequestEnvelope
from octant.core.events import OutputChecked, PolicyDecided
from octant.core.evidence import Evidence
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.limits import RunBudget
from octant.core.stage import Stage
from octant.core.stream import Broken, ChoiceFinished, Completed, Started, StreamItem, ToolRan
from octant.core.tools import ToolStatus
from octant.core.units import NanoUsd
from octant.core.verdict import Decision, Verdict
from octant.governance.governor import Governor
from octant.governance.pii.kinds import Where
from octant.governance.vault import Vault
from octant.orchestration.account import RunAccount
from octant.orchestration.execution import Execution
from octant.orchestration.output_check import CheckedOutput, check_output, repair_messages
from octant.orchestration.routes import ServedModel
from octant.orchestration.tool_broker import ToolBroker
from octant.orchestration.turn import Turn
from octant.ports.clock import Clock
from octant.ports.sink import EventSink

_MIXED_CALLS = (
    "The model called tools of Octant's and of the caller's in one answer; only the caller's are "
    "proposed, Octant's were not run."
)


class Prepared(NamedTuple):
    """What a run works from: screened, composed, and with its evidence."""

    envelope: RequestEnvelope
    model: ServedModel
    vault: Vault
    evidence: Evidence | None

    @property
    def checked_first(self) -> bool:
        """Whether nobody may see the answer before it has passed its check."""
        return self.envelope.output is not None or self.envelope.context.require_citations

    @property
    def one_call(self) -> bool:
        """Whether the first model call is certainly the last."""
        return not self.checked_first and not self.envelope.tools.allowed


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
        progress = _Progress(prepared)
        while True:
            progress.begin()
            async with aclosing(self._call(progress, account)) as items:
                async for item in items:
                    yield item
            if progress.broken:
                return
            if progress.turn.own_calls and not progress.turn.proposes:
                async for ran in self._use_tools(progress, account):
                    yield ran
            elif not self._repair(progress, account):
                account.said = progress.finished()
                if progress.turn.own_calls:
                    account.warn(_MIXED_CALLS)
                for item in progress.held:
                    yield item
                return

    async def _call(
        self, progress: "_Progress", account: RunAccount
    ) -> AsyncGenerator[StreamItem, None]:
        """One model call: gathered, guarded for the caller, and held back where it has to be."""
        prepared, turn = progress.prepared, progress.turn
        asked = self._asked(progress, account)
        guard = self._governor.guard(asked.principal.tenant, prepared.vault, asked.sampling.n)
        execution = self._execution.run(asked, prepared.model, account, progress.step)
        async with aclosing(execution) as items:
            async for item in items:
                if isinstance(item, Started | Completed | Broken):
                    passed = (item,)
                else:
                    passed = guard.feed(item) if turn.take(item) else ()
                for out in passed:
                    if progress.passes(out):
                        yield out
        account.records_tokens = account.records_tokens and guard.recordable
        self._decide(account, Stage.VALIDATION, guard.verdict())

    def _asked(self, progress: "_Progress", account: RunAccount) -> RequestEnvelope:
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
        self, progress: "_Progress", account: RunAccount
    ) -> AsyncGenerator[StreamItem, None]:
        """Runs the calls of a turn, one after the other, and adds them to what was said."""
        prepared, turn = progress.prepared, progress.turn
        guard = self._governor.guard(prepared.envelope.principal.tenant, prepared.vault, 1)
        results: list[Message] = []
        for call in turn.own_calls:
            meant = replace(call, arguments=prepared.vault.restore_json(call.arguments))
            answer = await self._broker.call(prepared.envelope, progress.step, meant)
            account.tools = (*account.tools, answer.outcome)
            if answer.outcome.status is ToolStatus.AMBIGUOUS:
                assert answer.outcome.failure is not None, "an ambiguous call has its failure"
                raise Failed(answer.outcome.failure)
            shown = self._screened(prepared, answer.content, account)
            results.append(_result(call, shown))
            told = ToolRan(call.name, call.arguments, answer._replace(content=shown))
            for item in guard.feed(told):
                yield item
        used = (*turn.messages(), *results)
        progress.said, progress.kept = (*progress.said, *used), (*progress.kept, *used)

    def _screened(self, prepared: Prepared, content: str, account: RunAccount) -> str:
        """A tool's result as the model may see it. Raises Failed when policy blocks it."""
        tenant = prepared.envelope.principal.tenant
        screened = self._governor.screen_text(tenant, Where.CONTEXT, content, prepared.vault)
        self._decide(account, Stage.TOOL, screened.verdict)
        if screened.verdict.decision is Decision.BLOCK:
            raise Failed(self._governor.refusal(screened.verdict, Stage.TOOL))
        return screened.text

    def _repair(self, progress: "_Progress", account: RunAccount) -> bool:
        """Whether the answer broke its contract and is asked for once more.

        Raises Failed(OUTPUT_INVALID) when it broke it and no try is left.
        """
        prepared, turn = progress.prepared, progress.turn
        checked = _check(prepared, turn)
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
        if not checked.problems or not prepared.checked_first or turn.proposes:
            return False
        if not progress.may_repair:
            raise Failed(_invalid(checked))
        progress.repairs += 1
        asked = repair_messages(prepared.envelope.output, turn.text(0), checked.problems)
        progress.said = (*progress.said, *asked)
        return True

    def _decide(self, account: RunAccount, stage: Stage, verdict: Verdict) -> None:
        """Records a verdict that found something."""
        if verdict.decision is Decision.ALLOW:
            return
        account.decide(stage, verdict)
        self._events.emit(
            PolicyDecided(
                at_ns=self._clock.monotonic_ns(),
                request_id=account.envelope.request_id,
                stage=stage.value,
                verdict=verdict,
            )
        )


class _Progress:
    """How far one run has come: its model calls, its repairs, and what was said since the caller.

    `turn` is the present call and `held` what waits until that is known to be the last one. `kept`
    is what a session keeps of what was said: answers that had to be repaired are not part of it.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.said: tuple[Message, ...] = ()
        self.kept: tuple[Message, ...] = ()
        self.step = 0
        self.repairs = 0
        self.broken = False
        self._own: Callable[[str], bool] = frozenset(prepared.envelope.tools.allowed).__contains__
        self.turn = Turn(prepared.envelope.sampling.n, self._own)
        self.held: list[StreamItem] = []

    @property
    def last(self) -> bool:
        """Whether this call must answer without tools."""
        return self.step >= self.prepared.envelope.tools.max_steps + self.repairs

    @property
    def may_repair(self) -> bool:
        """Whether a broken answer may be asked for again."""
        envelope = self.prepared.envelope
        allowed = envelope.output.max_repairs if envelope.output is not None else 0
        goes_on = isinstance(envelope.input, ChatInput) and envelope.sampling.n == 1
        return goes_on and self.repairs < allowed

    def begin(self) -> None:
        """The next model call."""
        self.step += 1
        self.turn = Turn(self.prepared.envelope.sampling.n, self._own)
        self.held = []

    def passes(self, item: StreamItem) -> bool:
        """Whether an item may go on to the caller now; what may go later is held."""
        if isinstance(item, Broken):
            self.broken = True
            return True
        if isinstance(item, Started):
            return self.step == 1
        if not self._waits(item):
            return True
        self.held.append(item)
        return False

    def finished(self) -> tuple[Message, ...]:
        """What a session keeps of a run that ends with this call."""
        return (*self.kept, *self.turn.messages())

    def _waits(self, item: StreamItem) -> bool:
        ends = isinstance(item, ChoiceFinished | Completed)
        if self.prepared.one_call:
            return isinstance(item, Completed)
        return ends or self.prepared.checked_first


def _left(budget: RunBudget, account: RunAccount) -> RunBudget:
    """What of the run's own budget its next call may use."""
    tokens, cost = budget.tokens, budget.cost_nano_usd
    if tokens is not None:
        tokens = max(tokens - account.usage.total_tokens, 0)
    if cost is not None:
        cost = NanoUsd(max(cost - account.cost(None), 0))
    return RunBudget(tokens=tokens, cost_nano_usd=cost)


def _check(prepared: Prepared, turn: Turn) -> CheckedOutput:
    """The answer as the caller will read it, against contract and evidence."""
    envelope, vault, evidence = prepared.envelope, prepared.vault, prepared.evidence
    if evidence is not None:
        evidence = Evidence(evidence.package, tuple(vault.restore(t) for t in evidence.texts))
    texts = [vault.restore(turn.text(choice)) for choice in range(envelope.sampling.n)]
    return check_output(envelope.output, envelope.context, evidence, texts)


def _result(call: ToolCall, content: str) -> Message:
    return Message(
        role=Role.TOOL, parts=(TextPart(text=content),), name=call.name, tool_call_id=call.id
    )


def _invalid(checked: CheckedOutput) -> Failure:
    return Failure(
        kind=FailureKind.OUTPUT_INVALID,
        stage=Stage.VALIDATION,
        message="The model's answer does not meet the output contract and was not passed on: "
        f"{_listed(checked.problems)} Ask differently, allow more repairs, or relax the contract.",
        param="octant.output",
        detail={"problems": len(checked.problems)},
    )


def _listed(problems: Sequence[str]) -> str:
    return "; ".join(problem.rstrip(".") for problem in problems) + "."


def _overdue(step: int) -> Failure:
    return Failure(
        kind=FailureKind.DEADLINE_EXCEEDED,
        stage=Stage.TOOL,
        message=f"The deadline passed before model call {step} of this run could begin.",
    )
