"""A small language model made of arithmetic, with real paged memory and a byte vocabulary.

Its logits depend on every token of the context, read back through the block table: a wrong block,
a wrong position or a missing token gives another answer. A prompt that holds a text between STX and
ETX is answered with this text and EOS; any other prompt with printable noise of its own.
"""

import hashlib
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.core.step import SequenceSlice, StepPlan
from octant.ports.executor import Executor, ExecutorFacts

STX, ETX, EOS = 2, 3, 256
VOCAB_SIZE = 257
NAN_MARK, RAISE_MARK = 7, 6


def saying(text: str) -> tuple[int, ...]:
    """A prompt that the model answers with `text`."""
    return (STX, *text.encode(), ETX)


class ByteTokenizer:
    """Implements ports.tokenizer.Tokenizer: a token is a byte, EOS has no text."""

    digest = "sha256:" + "0" * 64
    vocab_size = VOCAB_SIZE

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_untrusted(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self.token_bytes, tokens)).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        return bytes([token]) if token < EOS else b""


class ModelledExecutor:
    """Implements ports.executor.Executor."""

    def __init__(
        self,
        *,
        block_count: int = 64,
        block_size: int = 4,
        max_context: int = 256,
        step_s: float = 0.0,
    ) -> None:
        self._step_s = step_s
        self._memory = np.full((block_count, block_size), -1, np.int64)
        self.facts = ExecutorFacts(
            engine="modelled",
            engine_version="1",
            vocab_size=VOCAB_SIZE,
            max_context=max_context,
            block_size=block_size,
            block_count=block_count,
            block_bytes=8 * block_size,
            weight_bytes=0,
            weight_precision="none",
            kv_precision="i64",
            device="arithmetic",
            load_ns=0,
        )

    def execute(self, plan: StepPlan) -> NDArray[np.float32]:
        time.sleep(self._step_s)
        for piece in plan.slices:
            self._write(piece)
        rows = [_logits(self._context(piece)) for piece in plan.slices if piece.samples]
        return np.stack(rows) if rows else np.empty((0, VOCAB_SIZE), np.float32)

    def close(self) -> None:
        self._memory = np.empty((0, 0), np.int64)

    def _write(self, piece: SequenceSlice) -> None:
        for position, token in enumerate(piece.tokens, piece.past):
            block, offset = divmod(position, self.facts.block_size)
            self._memory[piece.blocks[block], offset] = token

    def _context(self, piece: SequenceSlice) -> tuple[int, ...]:
        length = piece.past + len(piece.tokens)
        return tuple(self._memory[list(piece.blocks)].reshape(-1)[:length].tolist())


def _logits(context: tuple[int, ...]) -> NDArray[np.float32]:
    seed = hashlib.blake2b(repr(context).encode(), digest_size=8).digest()
    noise = np.random.default_rng(int.from_bytes(seed, "little"))
    logits = noise.standard_normal(VOCAB_SIZE).astype(np.float32)
    if STX in context and ETX in context:
        begin, end = context.index(STX), context.index(ETX)
        script = (*context[begin + 1 : end], EOS)
        logits[script[min(len(context) - end, len(script)) - 1]] += 30
    else:
        logits[32:127] += 5
    return logits


class FaultyExecutor:
    """Spoils sequences whose prompt carries a mark, from their `after`-th sampled row on.

    NAN_MARK turns the row into NaN; RAISE_MARK makes the whole step raise.
    """

    def __init__(
        self,
        inner: Executor,
        *,
        after: int = 3,
        nan_mark: int = NAN_MARK,
        raise_mark: int = RAISE_MARK,
    ) -> None:
        self._inner = inner
        self._after = after
        self._marks = {nan_mark: "nan", raise_mark: "raise"}
        self._marked: dict[int, str] = {}
        self._rows: dict[int, int] = {}

    @property
    def facts(self) -> ExecutorFacts:
        return self._inner.facts

    def execute(self, plan: StepPlan) -> NDArray[np.float32]:
        logits = self._inner.execute(plan)
        if plan.number == 0:
            return logits  # The warm-up and the probe; a scheduler counts from 1.
        row = 0
        for piece in plan.slices:
            fault = self._fault(piece)
            if fault == "raise":
                raise Failed(
                    Failure(kind=FailureKind.MODEL_FAILURE, stage=Stage.DECODE, message="injected")
                )
            if fault == "nan":
                logits = logits.copy()
                logits[row] = np.nan
            row += piece.samples
        return logits

    def close(self) -> None:
        self._inner.close()

    def _fault(self, piece: SequenceSlice) -> str | None:
        if plan_of_prompt := [self._marks[t] for t in piece.tokens if t in self._marks]:
            self._marked[piece.sequence] = plan_of_prompt[0]
        if not piece.samples or piece.sequence not in self._marked:
            return None
        self._rows[piece.sequence] = self._rows.get(piece.sequence, 0) + 1
        return self._marked[piece.sequence] if self._rows[piece.sequence] > self._after else None
