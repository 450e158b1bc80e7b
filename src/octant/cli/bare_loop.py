"""Bare loop: the executor driven directly, what a served decode is compared with.

    line in:  {"sequences", "prompt_tokens", "new_tokens"}
    line out: {"decode_tokens_per_s", "prefill_tokens_per_s"}

Law: nothing but the executor and a greedy choice: no scheduler, no sampler, no process boundary, no
HTTP. Run as `python -m octant.cli.bare_loop MODEL_DIR SETTINGS_JSON`.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

from octant.core.ids import SequenceId
from octant.core.step import SequenceSlice, StepPlan
from octant.core.units import NS_PER_S
from octant.ports.clock import Clock
from octant.ports.executor import Executor

_FIRST_TOKEN_ID, _TOKEN_IDS = 10, 400


class BareSpeed(NamedTuple):
    """Tokens per second of all sequences together."""

    decode_tokens_per_s: float
    prefill_tokens_per_s: float


def measure(
    executor: Executor, clock: Clock, sequences: int, prompt_tokens: int, new_tokens: int
) -> BareSpeed:
    """Prefills one sequence after the other, then decodes all of them in step."""
    size = executor.facts.block_size
    blocks_each = -(-(prompt_tokens + new_tokens) // size)
    blocks = [
        tuple(range(number * blocks_each, (number + 1) * blocks_each))
        for number in range(sequences)
    ]
    began_ns = clock.monotonic_ns()
    tokens = [
        _prefill(executor, number, prompt_tokens, blocks[number]) for number in range(sequences)
    ]
    decoding_ns = clock.monotonic_ns()
    for past in range(prompt_tokens, prompt_tokens + new_tokens - 1):
        used = -(-(past + 1) // size)
        slices = tuple(
            SequenceSlice(SequenceId(number), (tokens[number],), past, blocks[number][:used], True)
            for number in range(sequences)
        )
        logits = executor.execute(StepPlan(past, slices))
        tokens = [int(token) for token in logits.argmax(axis=1)]
    ended_ns = clock.monotonic_ns()
    return BareSpeed(
        decode_tokens_per_s=sequences * (new_tokens - 1) * NS_PER_S / (ended_ns - decoding_ns),
        prefill_tokens_per_s=sequences * prompt_tokens * NS_PER_S / (decoding_ns - began_ns),
    )


def _prefill(executor: Executor, number: int, length: int, blocks: tuple[int, ...]) -> int:
    tokens = tuple(_FIRST_TOKEN_ID + (number + place * 7) % _TOKEN_IDS for place in range(length))
    used = blocks[: -(-length // executor.facts.block_size)]
    piece = SequenceSlice(SequenceId(number), tokens, 0, used, True)
    return int(executor.execute(StepPlan(number, (piece,)))[0].argmax())


def main(arguments: list[str]) -> None:
    """Answers questions on standard input until it ends."""
    from octant.app import wiring
    from octant.app.settings import Settings

    directory, settings = Path(arguments[0]), Settings.model_validate_json(arguments[1])
    executor = wiring.bare_loop(directory, settings)
    clock = wiring.clock()
    try:
        for line in sys.stdin:
            question = json.loads(line)
            speed = measure(
                executor,
                clock,
                question["sequences"],
                question["prompt_tokens"],
                question["new_tokens"],
            )
            sys.stdout.write(json.dumps(speed._asdict()) + "\n")
            sys.stdout.flush()
    finally:
        executor.close()


if __name__ == "__main__":
    main(sys.argv[1:])
