"""The bare loop: an executor driven by nothing but greedy sampling, the yardstick of the engine.

Law: what is timed is a step as the engine would run it, logits and choice of token included, with
no scheduler, no streams and no other process. The served path is compared with this in one run.
"""

from statistics import median
from typing import NamedTuple

import numpy as np

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import SequenceId
from octant.core.stage import Stage
from octant.core.step import SequenceSlice, StepPlan
from octant.core.units import NS_PER_S
from octant.ports.clock import Clock
from octant.ports.executor import Executor, ExecutorFacts

PREFILL_CHUNK = 512
# A new batch shape costs up to 25 ms once; two steps see it off.
_UNTIMED_STEPS = 2


class DecodeRate(NamedTuple):
    """Greedy decoding of `batch` sequences from a context of `context` tokens each."""

    batch: int
    context: int
    steps: int
    median_step_ns: int

    @property
    def tokens_per_s(self) -> float:
        """All sequences together, at the median step."""
        return self.batch * NS_PER_S / self.median_step_ns


class PrefillRate(NamedTuple):
    """The prompt of one sequence, in chunks of `PREFILL_CHUNK` tokens; the median of the runs."""

    tokens: int
    repeats: int
    median_ns: int

    @property
    def tokens_per_s(self) -> float:
        """Prompt tokens computed per second."""
        return self.tokens * NS_PER_S / self.median_ns


def time_decode(
    executor: Executor, clock: Clock, *, batch: int, context: int, steps: int
) -> DecodeRate:
    """Prefills `batch` different prompts, then times `steps` steps.

    Raises Failed(CAPACITY_EXHAUSTED) when the KV cache cannot hold them.
    """
    facts = executor.facts
    length = context + _UNTIMED_STEPS + steps
    tables = _tables(facts, batch, length)
    last = [
        _prefill(executor, row, _prompt(facts.vocab_size, row, context), tables[row])
        for row in range(batch)
    ]
    times_ns: list[int] = []
    for past in range(context, length):
        slices = tuple(_slice(facts, row, (last[row],), past, tables[row]) for row in range(batch))
        started_ns = clock.monotonic_ns()
        logits = executor.execute(StepPlan(past, slices))
        last = [int(token) for token in np.argmax(logits, axis=1)]
        times_ns.append(clock.monotonic_ns() - started_ns)
    return DecodeRate(batch, context, steps, round(median(times_ns[_UNTIMED_STEPS:])))


def time_prefill(executor: Executor, clock: Clock, *, tokens: int, repeats: int) -> PrefillRate:
    """Times a prompt of `tokens` tokens, once untimed and then `repeats` times.

    Raises Failed(CAPACITY_EXHAUSTED) when the KV cache cannot hold it.
    """
    table = _tables(executor.facts, 1, tokens)[0]
    times_ns: list[int] = []
    for repeat in range(1 + repeats):
        prompt = _prompt(executor.facts.vocab_size, repeat, tokens)
        started_ns = clock.monotonic_ns()
        _prefill(executor, 0, prompt, table)
        times_ns.append(clock.monotonic_ns() - started_ns)
    return PrefillRate(tokens, repeats, round(median(times_ns[1:])))


def _prefill(executor: Executor, row: int, prompt: tuple[int, ...], table: tuple[int, ...]) -> int:
    """The greedy token after `prompt`."""
    token = 0
    for past in range(0, len(prompt), PREFILL_CHUNK):
        piece = _slice(executor.facts, row, prompt[past : past + PREFILL_CHUNK], past, table)
        token = int(np.argmax(executor.execute(StepPlan(past, (piece,)))[0]))
    return token


def _slice(
    facts: ExecutorFacts, row: int, tokens: tuple[int, ...], past: int, table: tuple[int, ...]
) -> SequenceSlice:
    blocks = -(-(past + len(tokens)) // facts.block_size)
    return SequenceSlice(SequenceId(row), tokens, past, table[:blocks], True)


def _tables(facts: ExecutorFacts, batch: int, length: int) -> list[tuple[int, ...]]:
    """Disjoint blocks for `batch` sequences of `length` tokens."""
    each = -(-length // facts.block_size)
    if batch * each > facts.block_count or length > facts.max_context:
        message = (
            f"{batch} sequences of {length} tokens take {batch * each} KV blocks, "
            f"{facts.block_count} are there, and the context is {facts.max_context}"
        )
        raise Failed(
            Failure(kind=FailureKind.CAPACITY_EXHAUSTED, stage=Stage.DECODE, message=message)
        )
    return [tuple(range(row * each, (row + 1) * each)) for row in range(batch)]


def _prompt(vocab_size: int, row: int, length: int) -> tuple[int, ...]:
    """Strides over the vocabulary, another one for each row."""
    return tuple((11 * row + 7919 * (index + 1)) % vocab_size for index in range(length))
