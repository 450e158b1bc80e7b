"""RunAccount: what one request has reached and what it owes, kept for its settlement.

Law: the path writes down each step's value as the step completes, and only settlement reads it; no
step looks here to decide anything. One per request, owned by the frame of `RequestPath.run`.
"""

from msgspec.structs import replace

from octant.admission.control import Admitted
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Billed, Failure, FailureKind
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import OutcomeStatus
from octant.core.route import Price, Route, RouteDecision
from octant.core.stream import ChoiceFinished, Started, StreamItem, TextDelta
from octant.core.summary import AttemptSummary
from octant.core.units import NanoUsd
from octant.core.usage import FinishReason, Usage
from octant.core.verdict import Verdict


class RunAccount:
    """One request's reservations, decisions and counts so far."""

    def __init__(self, envelope: RequestEnvelope) -> None:
        self.envelope = envelope
        self.verdict: Verdict | None = None
        self.admitted: Admitted | None = None
        self.route: Route | None = None
        self.decision: RouteDecision | None = None
        self.manifest: ExecutionManifest | None = None
        self.tried: tuple[AttemptSummary, ...] = ()
        self.finish_reasons: tuple[FinishReason, ...] = ()
        self.first_output_ns: int | None = None
        self._prompt_tokens = 0
        self._completion_tokens = 0

    @property
    def attempts(self) -> int:
        """Attempts so far, over all model calls."""
        return len(self.tried)

    def begin(self, step: int, route: Route) -> int:
        """Notes an attempt on a route and gives its number, which no other of the request has."""
        self.route = route
        number = len(self.tried) + 1
        self.tried = (*self.tried, AttemptSummary(step=step, attempt=number, route=route.id))
        return number

    def lose(self, failure: Failure) -> None:
        """Notes what became of the attempt begun last."""
        *before, last = self.tried
        self.tried = (*before, replace(last, failure=failure))

    @property
    def usage(self) -> Usage:
        """Counted from what a provider sent; a terminal item brings the engine's own count.

        Without any output nobody can tell whether the prompt was computed, so it is not counted.
        """
        if self.first_output_ns is None:
            return Usage()
        return Usage(prompt_tokens=self._prompt_tokens, completion_tokens=self._completion_tokens)

    def see(self, item: StreamItem, now_ns: int) -> None:
        """Takes one more item of a provider into account, before its tool calls are parsed out."""
        if isinstance(item, Started):
            self._prompt_tokens = item.prompt_tokens
        elif isinstance(item, TextDelta):
            self.first_output_ns = self.first_output_ns or now_ns
            self._completion_tokens += len(item.tokens)
        elif isinstance(item, ChoiceFinished):
            self.finish_reasons = (*self.finish_reasons, item.reason)

    def status(self, failure: Failure | None) -> OutcomeStatus:
        """How the request ended, given what ended it."""
        if failure is None:
            return OutcomeStatus.COMPLETED
        if failure.kind is FailureKind.CANCELLED:
            return OutcomeStatus.CANCELLED
        return OutcomeStatus.FAILED if self.first_output_ns is None else OutcomeStatus.PARTIAL


def cost(price: Price, usage: Usage, failure: Failure | None) -> NanoUsd:
    """Nano-USD owed: tokens times price, as far as the failure's rule lets them be billed."""
    billed = Billed.USED if failure is None else failure.rule.billed
    owed = 0
    if billed is not Billed.NOTHING:
        owed += usage.prompt_tokens * price.input_nano_usd
    if billed is Billed.USED:
        owed += usage.completion_tokens * price.output_nano_usd
    return NanoUsd(owed)
