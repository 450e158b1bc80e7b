"""The trial: a finished graph is served for a moment and compared with the reference.

Law: what is timed and compared here is the executor that will serve, fed in uneven chunks as the
scheduler feeds it, never a shortcut through the graph.
"""

from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from octant.adapters.openvino.executor import OpenVinoExecutor, open_executor
from octant.adapters.openvino.memory import resident_bytes
from octant.adapters.openvino.settings import OpenVinoSettings
from octant.core.ids import SequenceId
from octant.core.step import SequenceSlice, StepPlan
from octant.ports.clock import Clock
from octant.ports.exporter import Parity, TrialFacts

# Uneven, so that chunks start inside blocks and end on their edges; the rest are decode steps.
_CHUNKS = (17, 15, 5, 1, 1, 1, 1, 1)
_STEADY_STEPS = 8
_MIB = 1 << 20
_KV_BYTES = 256 * _MIB
FULL_PRECISION = OpenVinoSettings(
    kv_precision="f32", inference_precision="f32", kv_bytes=_KV_BYTES, min_context=64
)


def measure_parity(graph: Path, reference: Path, clock: Clock) -> Parity:
    """Logits of the graph in f32 against those in `reference` (npz: tokens [T], logits [T, V])."""
    executor = open_executor(graph, FULL_PRECISION, clock)
    try:
        return _parity(executor, reference)
    finally:
        executor.close()


def run_trial(graph: Path, reference: Path | None, clock: Clock) -> TrialFacts:
    """Loads with the default settings, warms up, and times steps of one token."""
    settings = OpenVinoSettings(kv_bytes=_KV_BYTES, min_context=64)
    executor = open_executor(graph, settings, clock)
    try:
        parity = _parity(executor, reference) if reference else None
        times_ns = [_decode_ns(executor, clock, past) for past in range(1 + _STEADY_STEPS)]
        facts = executor.facts
        return TrialFacts(
            load_ns=facts.load_ns,
            resident_bytes=resident_bytes(),
            block_bytes=facts.block_bytes,
            block_size=facts.block_size,
            kv_precision=facts.kv_precision,
            max_context=facts.max_context,
            warmup_steps=len(times_ns),
            first_step_ns=times_ns[0],
            steady_step_ns=round(median(times_ns[1:])),
            parity=parity,
        )
    finally:
        executor.close()


def _parity(executor: OpenVinoExecutor, reference: Path) -> Parity:
    with np.load(reference) as stored:
        tokens, expected = stored["tokens"], stored["logits"]
    ends = np.cumsum(_CHUNKS)
    ends = ends[ends <= len(tokens)]
    rows = _chunked(executor, [int(token) for token in tokens], [int(end) for end in ends])
    wanted = expected[ends - 1]
    difference = np.abs(rows - wanted)
    return Parity(
        positions=len(ends),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        reference_deviation=float(wanted.std()),
        agreement=float((rows.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
    )


def _chunked(executor: OpenVinoExecutor, tokens: list[int], ends: list[int]) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    past = 0
    for number, end in enumerate(ends):
        rows.append(executor.execute(_plan(executor, number, tokens[past:end], past))[0].copy())
        past = end
    return np.stack(rows)


def _decode_ns(executor: OpenVinoExecutor, clock: Clock, past: int) -> int:
    plan = _plan(executor, past, [0], past)
    started_ns = clock.monotonic_ns()
    executor.execute(plan)
    return clock.monotonic_ns() - started_ns


def _plan(executor: OpenVinoExecutor, number: int, tokens: list[int], past: int) -> StepPlan:
    blocks = -(-(past + len(tokens)) // executor.facts.block_size)
    piece = SequenceSlice(SequenceId(0), tuple(tokens), past, tuple(range(blocks)), True)
    return StepPlan(number, (piece,))
