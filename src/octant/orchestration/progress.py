"""Progress: how far one run has come, and what of it may be shown already.

    Prepared -> begin -> items taken -> passes now, is held, or is never shown -> finished

Law: an answer that must pass a check is held until it has; text beside a proposed call is none and
is not shown then. What a session keeps of a run has a result for every call in it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from octant.core.content import ChatInput, Message
from octant.core.envelope import RequestEnvelope
from octant.core.evidence import Evidence
from octant.core.stream import Broken, ChoiceFinished, Completed, Started, StreamItem, TextDelta
from octant.core.usage import FinishReason
from octant.governance.vault import Vault
from octant.orchestration.routes import ServedModel
from octant.orchestration.turn import Turn


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


class Progress:
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

    @property
    def uses_tools(self) -> bool:
        """Whether this call asked for Octant's own tools, and they are to be run."""
        return bool(self.turn.own_calls) and not self.turn.proposes and not self.last

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

    def sent(self, choice: int) -> str | None:
        """The answer of a choice as it is held for the caller; None where it is a proposed call."""
        if self.turn.proposes_in(choice):
            return None
        texts = (item for item in self.held if isinstance(item, TextDelta))
        return "".join(item.text for item in texts if item.choice == choice)

    def released(self) -> Sequence[StreamItem]:
        """What was held, now that this call is known to be the last one.

        Text beside a proposed call is no answer, so where answers are checked it is not sent.
        """
        return [self._ended(item) for item in self.held if not self._unchecked(item)]

    def finished(self) -> tuple[Message, ...]:
        """What was said in a run that ends with this call; calls that nobody answers left out."""
        return (*self.kept, *self.turn.messages(unanswered=False))

    def _unchecked(self, item: StreamItem) -> bool:
        if not (self.prepared.checked_first and isinstance(item, TextDelta)):
            return False
        return self.turn.proposes_in(item.choice)

    def _waits(self, item: StreamItem) -> bool:
        ends = isinstance(item, ChoiceFinished | Completed)
        if self.prepared.one_call:
            return isinstance(item, Completed)
        return ends or self.prepared.checked_first

    def _ended(self, item: StreamItem) -> StreamItem:
        """An item of a last call; a choice whose calls nobody is to run has simply stopped."""
        if not isinstance(item, ChoiceFinished) or self.turn.proposes_in(item.choice):
            return item
        called = item.reason is FinishReason.TOOL_CALLS
        return item._replace(reason=FinishReason.STOP) if called else item
