"""The bare loop times what it says it times, on the bundled model and a clock that counts calls."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import octant
from octant.adapters.openvino.executor import OpenVinoExecutor, open_executor
from octant.adapters.openvino.settings import OpenVinoSettings
from octant.adapters.system.clock import SystemClock
from octant.core.failure import Failed, FailureKind
from octant.core.step import StepPlan
from octant.serving.bare_loop import PREFILL_CHUNK, time_decode, time_prefill

MODEL_DIR = Path(octant.__file__).parent / "bundled" / "octant-mini"
STEP_NS = 2_000_000


class CountingClock(SystemClock):
    """Two milliseconds pass with every look."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        self.now_ns += STEP_NS
        return self.now_ns


class Watched:
    """The executor, with the shape of every plan it was given."""

    def __init__(self, executor: OpenVinoExecutor) -> None:
        self._executor = executor
        self.facts = executor.facts
        self.shapes: list[list[tuple[int, int]]] = []

    def execute(self, plan: StepPlan):
        self.shapes.append([(piece.past, len(piece.tokens)) for piece in plan.slices])
        return self._executor.execute(plan)

    def close(self) -> None:
        self._executor.close()


@pytest.fixture(scope="module")
def executor() -> Iterator[OpenVinoExecutor]:
    opened = open_executor(MODEL_DIR, OpenVinoSettings(kv_bytes=8 << 20), SystemClock())
    yield opened
    opened.close()


def test_decode_advances_every_sequence_one_token_a_step(executor: OpenVinoExecutor) -> None:
    watched = Watched(executor)
    rate = time_decode(watched, CountingClock(), batch=3, context=40, steps=4)
    assert watched.shapes[:3] == [[(0, 40)]] * 3
    assert watched.shapes[3:] == [[(past, 1)] * 3 for past in range(40, 46)]
    assert (rate.batch, rate.context, rate.steps) == (3, 40, 4)
    assert rate.median_step_ns == STEP_NS
    assert rate.tokens_per_s == 1500.0


def test_prefill_goes_in_chunks_from_the_start_each_time(executor: OpenVinoExecutor) -> None:
    watched = Watched(executor)
    rate = time_prefill(watched, CountingClock(), tokens=PREFILL_CHUNK + 88, repeats=2)
    assert watched.shapes == [[(0, PREFILL_CHUNK)], [(PREFILL_CHUNK, 88)]] * 3
    assert rate.tokens_per_s == 300_000.0


@pytest.mark.parametrize(("batch", "context"), [(1, 2048), (64, 1000)])
def test_what_the_cache_cannot_hold_is_refused(
    executor: OpenVinoExecutor, batch: int, context: int
) -> None:
    with pytest.raises(Failed) as refused:
        time_decode(executor, CountingClock(), batch=batch, context=context, steps=1)
    assert refused.value.failure.kind is FailureKind.CAPACITY_EXHAUSTED
