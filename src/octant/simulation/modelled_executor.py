"""Modelled executor: takes the place of a model and its sampler, and watches every block.

Law: it remembers what was really written at every position of every block, as the whole prefix that
led there under its salt, and believes no plan: before a slice runs, the blocks it names must hold
exactly its own sequence's past. So a block shared wrongly, reused too early or published without
having been computed is found at its first use, whatever the books say.
"""

from typing import NamedTuple

from octant.core.ids import SequenceId
from octant.core.step import SampledToken, SequenceSlice, StepPlan, StepResult

# What stands at a position is the number of a prefix, or one of these.
_NOTHING = 0
_BROKEN = -1


class StepTiming(NamedTuple):
    """A step takes `step_ns`, and more for every token and sequence in it."""

    step_ns: int
    token_ns: int
    sequence_ns: int

    def duration_ns(self, step: StepPlan) -> int:
        """How long the step takes."""
        sequences_ns = self.sequence_ns * len(step.slices)
        return self.step_ns + self.token_ns * step.token_count + sequences_ns


class Script(NamedTuple):
    """What the model does with one sequence.

    It ends with its `answer_tokens`-th token. A step that would compute its position `fails_at`
    fails for this sequence. `flavour` makes siblings of one prompt answer differently.
    """

    answer_tokens: int
    flavour: int = 0
    fails_at: int | None = None


class Misplaced(AssertionError):
    """A plan would have computed with wrong keys and values."""


def answer_token(tokens: tuple[int, ...] | list[int], flavour: int, vocab_size: int) -> int:
    """What the modelled model says after `tokens`."""
    return (tokens[-1] + len(tokens) * (flavour + 3)) % vocab_size


class _Tape:
    """The true tokens of one sequence; `prefixes[i]` numbers the salt and tokens `0 .. i`."""

    __slots__ = ("prefixes", "prompt_tokens", "root", "script", "tokens")

    def __init__(self, root: int, prompt_tokens: int, script: Script) -> None:
        self.root = root
        self.prompt_tokens = prompt_tokens
        self.script = script
        self.tokens: list[int] = []
        self.prefixes: list[int] = []


class ModelledExecutor:
    """Runs plans on blocks that hold numbers of prefixes in place of keys and values."""

    def __init__(self, block_count: int, block_size: int, vocab_size: int) -> None:
        self._block_size = block_size
        self._vocab_size = vocab_size
        self._written = [[_NOTHING] * block_size for _ in range(block_count)]
        self._tapes: dict[SequenceId, _Tape] = {}
        self._numbers: dict[tuple[int, int | str], int] = {}

    def expect(
        self, sequence: SequenceId, prompt: tuple[int, ...], salt: str, script: Script
    ) -> None:
        """Makes a sequence known, before any plan names it."""
        tape = _Tape(self._number(_NOTHING, salt), len(prompt), script)
        for token in prompt:
            self._record(tape, token)
        self._tapes[sequence] = tape

    def execute(self, step: StepPlan) -> StepResult:
        """Computes a step. Raises Misplaced when a slice names blocks that do not hold its past."""
        for piece in step.slices:
            self._check_slice(piece)
        self._check_writers(step)
        sampled: list[SampledToken] = []
        failed: list[SequenceId] = []
        for piece in step.slices:
            fails_at = self._tapes[piece.sequence].script.fails_at
            fails = fails_at is not None and fails_at < piece.past + len(piece.tokens)
            self._write(piece, broken=fails)
            if fails:
                failed.append(piece.sequence)
            elif piece.samples:
                sampled.append(self._sample(piece.sequence))
        return StepResult(step.number, tuple(sampled), tuple(failed), duration_ns=0)

    def _check_slice(self, piece: SequenceSlice) -> None:
        tape, size = self._tapes[piece.sequence], self._block_size
        end = piece.past + len(piece.tokens)
        if not piece.tokens or list(piece.tokens) != tape.tokens[piece.past : end]:
            raise Misplaced(f"{piece} does not compute the sequence's own tokens")
        if piece.samples != (end == len(tape.tokens)):
            raise Misplaced(f"{piece} samples too early or not at all")
        if len(piece.blocks) != -(-end // size):
            raise Misplaced(f"{piece} has too few or too many blocks")
        for index, begin in enumerate(range(0, piece.past, size)):
            past = tape.prefixes[begin : min(begin + size, piece.past)]
            if self._written[piece.blocks[index]][: len(past)] != past:
                raise Misplaced(f"{piece}: block {piece.blocks[index]} does not hold its past")

    def _check_writers(self, step: StepPlan) -> None:
        """Nobody else may even read a block that is written in this step."""
        named = [block for piece in step.slices for block in piece.blocks]
        for piece in step.slices:
            for block in piece.blocks[piece.past // self._block_size :]:
                if named.count(block) != 1:
                    raise Misplaced(f"{piece} writes into block {block}, which others name too")

    def _write(self, piece: SequenceSlice, broken: bool) -> None:
        prefixes = self._tapes[piece.sequence].prefixes
        for position in range(piece.past, piece.past + len(piece.tokens)):
            block, offset = divmod(position, self._block_size)
            value = _BROKEN if broken else prefixes[position]
            self._written[piece.blocks[block]][offset] = value

    def _sample(self, sequence: SequenceId) -> SampledToken:
        tape = self._tapes[sequence]
        token = answer_token(tape.tokens, tape.script.flavour, self._vocab_size)
        self._record(tape, token)
        answered = len(tape.tokens) - tape.prompt_tokens
        return SampledToken(sequence, token, finished=answered >= tape.script.answer_tokens)

    def _record(self, tape: _Tape, token: int) -> None:
        parent = tape.prefixes[-1] if tape.prefixes else tape.root
        tape.tokens.append(token)
        tape.prefixes.append(self._number(parent, token))

    def _number(self, parent: int, following: int | str) -> int:
        return self._numbers.setdefault((parent, following), len(self._numbers) + 1)
