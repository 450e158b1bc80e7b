"""RunAccount: what one request has reached and what it owes, kept for its settlement.

Law: the path writes down each step's value as the step completes, and only settlement reads it; no
step looks here to decide anything but what is left of the request's own budget. One per request,
owned by the frame of `RequestPath.run`.
"""

from typing import NamedTuple

from msgspec.structs import replace

from octant.admission.control import Admitted
from octant.core.content import Message
from octant.core.envelope import RequestEnvelope
from octant.core.evidence import Citation, Evidence
from octant.core.failure import Billed, Blame, Failure, FailureKind
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import OutcomeStatus
from octant.core.recording import RecordedStep, Recording
from octant.core.route import Price, Route, RouteDecision
from octant.core.session import SessionAppend
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    Started,
    StreamItem,
    TextDelta,
    ToolCallDelta,
)
from octant.core.summary import AttemptSummary, PolicyDecision
from octant.core.tools import ToolOutcome
from octant.core.units import NanoUsd
from octant.core.usage import FinishReason, Usage
from octant.core.verdict import Verdict
from octant.core.work import ModelWork
from octant.orchestration.estimate import tokens_in


class _Charge(NamedTuple):
    """What one model call used, at the price of the route that answered it."""

    price: Price
    usage: Usage


class _Answering:
    """One attempt as it has been seen so far."""

    def __init__(self, step: int, route: Route, work: ModelWork) -> None:
        self.step, self.route, self.work = step, route, work
        self.outputs: list[list[int]] = [[] for _ in range(work.sampling.n)]
        self.reasons: dict[int, FinishReason] = {}
        self.prompt_tokens = 0
        self.spoke = False
        self._uncounted_bytes = 0

    @property
    def usage(self) -> Usage:
        """Counted from what was sent, estimated where it came without tokens. Without any output
        nobody can tell whether the prompt was computed, so it is not counted."""
        if not self.spoke:
            return Usage()
        estimated = tokens_in(self._uncounted_bytes) if self._uncounted_bytes else 0
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=sum(map(len, self.outputs)) + estimated,
            estimated=bool(estimated),
        )

    def say(self, choice: int, text: str, tokens: tuple[int, ...]) -> None:
        """Notes output. A provider that makes the prompt itself does not number its tokens."""
        self.spoke = True
        self.outputs[choice].extend(tokens)
        if not self.work.prompt_tokens:
            self._uncounted_bytes += len(text.encode())

    def recorded(self) -> RecordedStep:
        """The attempt as it is kept for a replay."""
        work = self.work
        return RecordedStep(
            step=self.step,
            attempt=work.attempt,
            route=self.route.id,
            prompt_tokens=work.prompt_tokens,
            sampling=work.sampling,
            seed=work.seed,
            outputs=tuple(tuple(row) for row in self.outputs),
            finish_reasons=tuple(self.reasons[choice] for choice in sorted(self.reasons)),
        )


class RunAccount:
    """One request's reservations, decisions and counts so far."""

    def __init__(self, envelope: RequestEnvelope, policy_version: str) -> None:
        self.envelope = envelope
        self.policy_version = policy_version
        self.admitted: Admitted | None = None
        self.route: Route | None = None
        self.decision: RouteDecision | None = None
        self.pins: tuple[ExecutionManifest, ...] = ()
        self.decisions: tuple[PolicyDecision, ...] = ()
        self.tried: tuple[AttemptSummary, ...] = ()
        self.tools: tuple[ToolOutcome, ...] = ()
        self.evidence: Evidence | None = None
        self.citations: tuple[Citation, ...] = ()
        self.output_valid: bool | None = None
        self.warnings: tuple[str, ...] = ()
        self.said: tuple[Message, ...] = ()
        self.session: SessionAppend | None = None
        self.records_tokens = False
        self.first_output_ns: int | None = None
        self._charges: list[_Charge] = []
        self._recorded: list[RecordedStep] = []
        self._answering: _Answering | None = None

    @property
    def attempts(self) -> int:
        """Attempts so far, over all model calls."""
        return len(self.tried)

    @property
    def finish_reasons(self) -> tuple[FinishReason, ...]:
        """Why the choices of the last model call ended, as far as they have."""
        return tuple(self._answering.reasons.values()) if self._answering else ()

    @property
    def usage(self) -> Usage:
        """All model calls together: the engine's own count where a call was carried to its end."""
        usages = [charge.usage for charge in self._charges_so_far()]
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            cached_tokens=sum(usage.cached_tokens for usage in usages),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
            estimated=any(usage.estimated for usage in usages),
        )

    @property
    def recording(self) -> Recording | None:
        """The tokens of the calls that were carried to their end, where they may be kept."""
        if not self.records_tokens or not self._recorded:
            return None
        return Recording(request_id=self.envelope.request_id, steps=tuple(self._recorded))

    def pin(self, manifest: ExecutionManifest | None) -> None:
        """Notes what an attempt runs; None where its route does not say."""
        if manifest is not None:
            self.pins = (*self.pins, manifest)

    def decide(self, stage: Stage, verdict: Verdict) -> None:
        """Notes a verdict and where it was given."""
        self.decisions = (*self.decisions, PolicyDecision(stage=stage.value, verdict=verdict))

    def warn(self, warning: str) -> None:
        """Notes what the caller should know about an answer that is given all the same."""
        self.warnings = (*self.warnings, warning)

    def use_tool(self, outcome: ToolOutcome) -> None:
        """Notes what became of a call of one of Octant's own tools."""
        self.tools = (*self.tools, outcome)

    def begin(self, step: int, route: Route) -> int:
        """Notes an attempt on a route and gives its number, which no other of the request has."""
        self.route = route
        number = len(self.tried) + 1
        self.tried = (*self.tried, AttemptSummary(step=step, attempt=number, route=route.id))
        return number

    def hand_over(self, work: ModelWork) -> None:
        """Notes what the attempt begun last is given to do."""
        assert self.route is not None, "no attempt was begun"
        self._answering = _Answering(self.tried[-1].step, self.route, work)

    def lose(self, failure: Failure) -> None:
        """Notes what became of the attempt begun last."""
        *before, last = self.tried
        self.tried = (*before, replace(last, failure=failure))

    def see(self, item: StreamItem, now_ns: int) -> None:
        """Takes one more item of a provider into account, before its tool calls are parsed out."""
        answering = self._answering
        assert answering is not None, "nothing was handed over"
        match item:
            case Started():
                answering.prompt_tokens = item.prompt_tokens
            case TextDelta():
                self.first_output_ns = self.first_output_ns or now_ns
                answering.say(item.choice, item.text, item.tokens)
            case ToolCallDelta():
                self.first_output_ns = self.first_output_ns or now_ns
                answering.say(item.choice, item.arguments, ())
            case ChoiceFinished():
                answering.reasons[item.choice] = item.reason
            case Completed():
                self._recorded.append(answering.recorded())
                self._close(answering, item.usage)
            case Broken():
                self._close(answering, item.usage)
            case _:
                pass

    def status(self, failure: Failure | None) -> OutcomeStatus:
        """How the request ended, given what ended it."""
        if failure is None:
            return OutcomeStatus.COMPLETED
        if failure.kind is FailureKind.CANCELLED:
            return OutcomeStatus.CANCELLED
        return OutcomeStatus.FAILED if self.first_output_ns is None else OutcomeStatus.PARTIAL

    def cost(self, failure: Failure | None) -> NanoUsd:
        """Nano-USD owed: tokens times price, as far as the failure's rule lets them be billed."""
        billed = Billed.USED if failure is None or _refuses(failure) else failure.rule.billed
        return NanoUsd(sum(_owed(charge, billed) for charge in self._charges_so_far()))

    def _close(self, answering: _Answering, usage: Usage) -> None:
        """The call has ended; what it used is the provider's own count from here on."""
        self._charges.append(_Charge(answering.route.price, usage))
        answering.spoke = False

    def _charges_so_far(self) -> list[_Charge]:
        answering = self._answering
        if answering is None or not answering.spoke:
            return self._charges
        return [*self._charges, _Charge(answering.route.price, answering.usage)]


def _refuses(failure: Failure) -> bool:
    """Whether it is a refusal: it costs nothing itself, and calls answered before it are owed."""
    return failure.rule.blame in (Blame.CALLER, Blame.TENANT)


def _owed(charge: _Charge, billed: Billed) -> int:
    price, usage = charge
    owed = 0
    if billed is not Billed.NOTHING:
        owed += usage.prompt_tokens * price.input_nano_usd
    if billed is Billed.USED:
        owed += usage.completion_tokens * price.output_nano_usd
    return owed
