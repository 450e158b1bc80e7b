"""Warm-up and probe: an engine shows that it computes before it takes work (PR9, LC3).

Law: both run on the executor alone, before any scheduler owns its blocks, and leave nothing behind
but warm kernels. Ready means: finite logits, and the same tokens twice.
"""

import numpy as np
from numpy.typing import NDArray

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import SequenceId
from octant.core.record import Record
from octant.core.stage import Stage
from octant.core.step import SequenceSlice, StepPlan
from octant.ports.executor import Executor

_PROBE_TOKENS = 8


class WarmUpSettings(Record, frozen=True, kw_only=True):
    """Shapes to run once before the first work: each new one costs up to 25 ms when first met.

    More would delay the start more than the first requests gain.
    """

    prefill_tokens: int = 64
    batches: tuple[int, ...] = (1, 2, 4)


def warm_up(executor: Executor, settings: WarmUpSettings) -> None:
    """Runs each shape once. Raises Failed when the executor does."""
    facts = executor.facts
    room = min(facts.max_context, facts.block_count * facts.block_size)
    prompt = tuple(token % facts.vocab_size for token in range(settings.prefill_tokens))[:room]
    executor.execute(StepPlan(0, (_slice(0, prompt, 0, facts.block_size, 0),)))
    for batch in settings.batches:
        size = min(batch, facts.block_count)
        slices = tuple(_slice(index, (0,), 0, facts.block_size, index) for index in range(size))
        executor.execute(StepPlan(0, slices))


def probe(executor: Executor, prompt: tuple[int, ...]) -> None:
    """Continues `prompt` greedily, twice.

    Raises Failed(PREPARATION_FAILED) when a logit is not finite or the runs differ.
    """
    first, second = (_continue_greedily(executor, prompt) for _ in range(2))
    if first != second:
        raise Failed(_not_ready(f"the same prompt gave {first}, then {second}"))


def _continue_greedily(executor: Executor, prompt: tuple[int, ...]) -> list[int]:
    block_size = executor.facts.block_size
    pending, past = prompt, 0
    generated: list[int] = []
    for _ in range(_PROBE_TOKENS):
        logits = executor.execute(StepPlan(0, (_slice(0, pending, past, block_size, 0),)))
        past += len(pending)
        pending = (_best(logits),)
        generated.extend(pending)
    return generated


def _best(logits: NDArray[np.float32]) -> int:
    if not np.isfinite(logits).all():
        raise Failed(_not_ready("it computed logits that are not finite numbers"))
    return int(logits[0].argmax())


def _slice(
    sequence: int, tokens: tuple[int, ...], past: int, block_size: int, first_block: int
) -> SequenceSlice:
    count = -(-(past + len(tokens)) // block_size)
    blocks = tuple(range(first_block, first_block + count))
    return SequenceSlice(SequenceId(sequence), tokens, past, blocks, samples=True)


def _not_ready(reason: str) -> Failure:
    return Failure(
        kind=FailureKind.PREPARATION_FAILED,
        stage=Stage.WARM,
        message=f"The model failed its probe: {reason}. Prepare it again, or choose another "
        "precision.",
    )
