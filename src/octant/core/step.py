"""One engine step: what the scheduler asks of the executor, and what it is told back.

Law: a plan is complete. The executor needs nothing else to run it, and the scheduler needs nothing
but the result to go on.
"""

from typing import NamedTuple

from octant.core.ids import SequenceId


class SequenceSlice(NamedTuple):
    """The part of one sequence that a step computes.

    `tokens` are computed at positions `past .. past + len(tokens) - 1`. `blocks` are the KV blocks
    that hold positions `0 .. past + len(tokens) - 1`, in order. `samples` is True when the logits
    after the last token are wanted; chunks before the end of a prompt want none.
    """

    sequence: SequenceId
    tokens: tuple[int, ...]
    past: int
    blocks: tuple[int, ...]
    samples: bool


class StepPlan(NamedTuple):
    """The slices of one step, in the order in which sampled rows come back."""

    number: int
    slices: tuple[SequenceSlice, ...]

    @property
    def token_count(self) -> int:
        """Tokens computed in this step, all sequences together."""
        return sum(len(piece.tokens) for piece in self.slices)


class SampledToken(NamedTuple):
    """The token chosen for a sequence; `finished` ends the sequence with this token."""

    sequence: SequenceId
    token: int
    finished: bool


class StepResult(NamedTuple):
    """What a step produced. `failed` names sequences whose own computation went wrong."""

    number: int
    sampled: tuple[SampledToken, ...]
    failed: tuple[SequenceId, ...]
    duration_ns: int
