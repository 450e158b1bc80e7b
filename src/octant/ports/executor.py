"""Executor: what computes a step. Adapters: `adapters/openvino/executor.py`, modelled ones.

Law: the executor decides nothing. Blocks, order and batch are the scheduler's; it runs the plan and
returns logits, and it owns the memory behind the block numbers.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from octant.core.manifest import Hardware
from octant.core.record import Record
from octant.core.step import StepPlan


class ExecutorFacts(Record, frozen=True, kw_only=True):
    """Measured properties of a loaded model; every byte count is of real allocations.

    `flags` are the choices that can change results, as they were granted.
    """

    engine: str
    engine_version: str
    vocab_size: int
    max_context: int
    block_size: int
    block_count: int
    block_bytes: int
    weight_bytes: int
    weight_precision: str
    kv_precision: str
    device: str
    load_ns: int
    flags: dict[str, str] = {}
    hardware: Hardware = Hardware()
    detail: dict[str, Any] = {}


class Executor(Protocol):
    """One loaded model with its KV memory."""

    @property
    def facts(self) -> ExecutorFacts:
        """What was loaded, and how large it is."""
        ...

    def execute(self, plan: StepPlan) -> NDArray[np.float32]:
        """Logits `[rows, vocab_size]`, one row for each slice with `samples`, in plan order.

        The array may be overwritten by the next call. Raises Failed(MODEL_FAILURE) when the backend
        does, also when it returns fewer rows than asked.
        """
        ...

    def close(self) -> None:
        """Releases the model and its memory; the executor is unusable afterwards."""
        ...
