"""OpenVinoExecutor keeps the promises of ports/executor.py, on the bundled model."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octant
from octant.adapters.openvino.executor import OpenVinoExecutor, open_executor, ov
from octant.adapters.openvino.memory import plan_cache, require_weights_fit
from octant.adapters.openvino.settings import OpenVinoSettings
from octant.adapters.openvino.signature import CacheInput, Signature
from octant.adapters.system.clock import SystemClock
from octant.core.failure import Failed, FailureKind
from octant.core.ids import SequenceId
from octant.core.stage import Stage
from octant.core.step import SequenceSlice, StepPlan

MODEL_DIR = Path(octant.__file__).parent / "bundled" / "octant-mini"
MIB = 1 << 20
VOCAB = 2048
CONTEXT = 2048
SETTINGS = OpenVinoSettings(kv_bytes=32 * MIB)
EXACT = OpenVinoSettings(kv_bytes=32 * MIB, kv_precision="f32", inference_precision="f32")


def load(settings: OpenVinoSettings = SETTINGS, model_dir: Path = MODEL_DIR) -> OpenVinoExecutor:
    return open_executor(model_dir, settings, SystemClock())


@pytest.fixture(scope="module")
def executor() -> Iterator[OpenVinoExecutor]:
    loaded = load()
    yield loaded
    loaded.close()


def piece(
    tokens: tuple[int, ...], blocks: tuple[int, ...], *, past: int = 0, samples: bool = True
) -> SequenceSlice:
    return SequenceSlice(SequenceId(blocks[0]), tokens, past, blocks, samples)


def plan(*slices: SequenceSlice) -> StepPlan:
    return StepPlan(7, slices)


def prompt(seed: int, count: int) -> tuple[int, ...]:
    return tuple(int(token) for token in np.random.default_rng(seed).integers(0, VOCAB, count))


def test_rows_come_back_for_sampling_slices_in_plan_order(executor: OpenVinoExecutor) -> None:
    first, second = piece(prompt(1, 40), (0, 1)), piece(prompt(2, 9), (2,))
    silent = piece(prompt(3, 33), (3, 4), samples=False)
    apart = [executor.execute(plan(one)).copy() for one in (first, second)]
    together = executor.execute(plan(second, silent, first))
    assert together.shape == (2, VOCAB)
    assert together.dtype == np.float32
    assert np.abs(together[1] - apart[0][0]).max() < 0.3
    assert np.abs(together[0] - apart[1][0]).max() < 0.3
    assert np.abs(together[0] - apart[0][0]).max() > 1


def test_a_step_that_samples_nothing_returns_no_rows(executor: OpenVinoExecutor) -> None:
    rows = executor.execute(plan(piece(prompt(1, 40), (0, 1), samples=False)))
    assert rows.shape == (0, VOCAB)


def test_a_prompt_that_fills_the_context_is_answered(executor: OpenVinoExecutor) -> None:
    table = tuple(range(CONTEXT // 32))
    rows = executor.execute(plan(piece(prompt(4, CONTEXT), table)))
    assert rows.shape == (1, VOCAB)
    assert np.isfinite(rows).all()


def test_what_blocks_held_before_changes_nothing() -> None:
    executor = load(EXACT)
    asked = plan(piece(prompt(5, 40), (0, 1)), piece(prompt(6, 3), (2,)))
    grown = plan(piece((9,), (0, 1), past=40), piece((8,), (2,), past=3))
    fresh = executor.execute(asked).copy(), executor.execute(grown).copy()
    executor.execute(plan(piece(prompt(7, 96), (2, 0, 1))))
    assert np.array_equal(executor.execute(asked), fresh[0])
    assert np.array_equal(executor.execute(grown), fresh[1])
    executor.close()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (plan(), "at least one slice"),
        (plan(piece((), (0,))), "each slice a token"),
        (plan(piece((VOCAB,), (0,))), f"vocabulary of {VOCAB}"),
        (plan(piece((-1,), (0,))), f"vocabulary of {VOCAB}"),
        (plan(piece((1,), (10**6,))), "outside the cache"),
        (plan(piece((1,), (-1,))), "outside the cache"),
        (plan(piece((1,) * 33, (0,))), "fewer blocks"),
        (plan(piece((1,), (0,), past=32)), "fewer blocks"),
        (plan(piece((1,), (0,), past=-1)), "exceed the context"),
        (plan(piece((1,), tuple(range(70)), past=CONTEXT)), "exceed the context"),
    ],
)
def test_a_plan_that_does_not_fit_never_reaches_the_backend(
    executor: OpenVinoExecutor, wrong: StepPlan, named: str
) -> None:
    with pytest.raises(Failed) as refused:
        executor.execute(wrong)
    assert refused.value.failure.kind is FailureKind.INTERNAL_ERROR
    assert named in refused.value.failure.message


class FaultyRequest:
    """The real request, with one injected fault."""

    def __init__(self, request: Any, fault: str) -> None:
        self._request = request
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def wait(self) -> None:
        self._request.wait()
        if self._fault == "raises":
            raise RuntimeError("primitive could not be executed")

    def get_output_tensor(self, index: int) -> Any:
        whole = self._request.get_output_tensor(index).data
        return ov.Tensor(whole[: 0 if self._fault == "none" else 1].copy())


@pytest.mark.parametrize("fault", ["raises", "none", "one"])
def test_a_backend_that_raises_or_gives_too_few_rows_is_a_model_failure(fault: str) -> None:
    executor = load()
    executor._request = FaultyRequest(executor._request, fault)
    with pytest.raises(Failed) as failed:
        executor.execute(plan(piece(prompt(1, 40), (0, 1)), piece(prompt(2, 9), (2,))))
    failure = failed.value.failure
    assert failure.kind is FailureKind.MODEL_FAILURE
    assert failure.stage is Stage.PREFILL
    assert failure.detail["step"] == 7
    executor.close()


def test_a_closed_executor_says_so() -> None:
    executor = load()
    executor.close()
    executor.close()
    with pytest.raises(Failed) as failed:
        executor.execute(plan(piece((1,), (0,))))
    assert failed.value.failure.kind is FailureKind.ENGINE_UNAVAILABLE
    assert failed.value.failure.stage is Stage.DECODE


@pytest.mark.parametrize(
    ("precision", "token_bytes"),
    [("f32", 4 * 64), ("f16", 2 * 64), ("u8", (40 * 64 + 32 * 72) / 64)],
)
def test_the_budget_is_spent_at_the_real_precision(precision: Any, token_bytes: float) -> None:
    executor = load(
        OpenVinoSettings(kv_bytes=32 * MIB, kv_precision=precision, inference_precision="f32")
    )
    facts = executor.facts
    assert facts.kv_precision == precision
    assert facts.block_bytes == 6 * 2 * 4 * 32 * token_bytes
    assert facts.block_count == 32 * MIB // facts.block_bytes
    executor.close()


def test_facts_state_what_was_loaded(executor: OpenVinoExecutor) -> None:
    facts = executor.facts
    weights = (MODEL_DIR / "openvino_model.bin").stat().st_size
    assert abs(facts.weight_bytes - weights) < 0.01 * weights
    assert facts.weight_precision == "int8"
    assert facts.engine_version.startswith("2026.4.1")
    assert facts.max_context == CONTEXT
    assert facts.block_size == 32
    assert facts.load_ns > 0
    assert facts.detail["resident_bytes"] > facts.detail["resident_bytes_before"] > 0


def test_the_context_is_limited_by_settings_and_by_the_cache() -> None:
    for settings, expected in (
        (OpenVinoSettings(kv_bytes=32 * MIB, max_context=1000), 1000),
        (OpenVinoSettings(kv_bytes=32 * MIB, max_context=99_999), CONTEXT),
        (OpenVinoSettings(kv_bytes=2 * MIB), 2 * MIB // (6 * 4 * 4864) * 32),
    ):
        executor = load(settings)
        assert executor.facts.max_context == expected
        executor.close()


def test_too_little_memory_is_refused_with_the_numbers() -> None:
    with pytest.raises(Failed) as refused:
        load(OpenVinoSettings(kv_bytes=MIB))
    failure = refused.value.failure
    assert failure.kind is FailureKind.INSUFFICIENT_MEMORY
    assert failure.stage is Stage.LOAD
    assert failure.detail["kv_bytes"] == MIB
    assert failure.detail["blocks_needed"] == 16
    assert failure.detail["block_bytes"] * 16 > MIB
    assert "kv_bytes" in failure.message


def test_free_memory_limits_the_cache_before_the_budget_does() -> None:
    cache = CacheInput("key_cache.0", (2, 32, 16), ov.Type.f16)
    signature = Signature((cache, cache._replace(name="value_cache.0")), 32, VOCAB)
    plenty = plan_cache(signature, SETTINGS, 10**12)
    assert plenty.limited_by == "kv_bytes"
    assert plenty.block_bytes == 2 * 2 * 2 * 32 * 16
    assert plenty.block_count == 32 * MIB // plenty.block_bytes
    scarce = plan_cache(signature, SETTINGS, MIB)
    assert (scarce.limited_by, scarce.block_count) == ("available memory", MIB // 4096)
    with pytest.raises(Failed) as refused:
        plan_cache(signature, SETTINGS, 0)
    assert refused.value.failure.detail["available_bytes"] == 0


def test_weights_larger_than_the_free_memory_are_refused() -> None:
    require_weights_fit(1)
    with pytest.raises(Failed) as refused:
        require_weights_fit(10**15)
    assert refused.value.failure.kind is FailureKind.INSUFFICIENT_MEMORY


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("openvino_model.xml", "openvino_model.bin", "config.json"):
        shutil.copy(MODEL_DIR / name, directory / name)
    return directory


@pytest.mark.parametrize("name", ["openvino_model.xml", "openvino_model.bin", "config.json"])
def test_a_missing_file_is_named(broken: Path, name: str) -> None:
    (broken / name).unlink()
    with pytest.raises(Failed) as failed:
        load(model_dir=broken)
    assert failed.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
    assert name in failed.value.failure.message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("openvino_model.xml", b"<net"),
        ("openvino_model.bin", b"short"),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", json.dumps({"max_position_embeddings": "many"}).encode()),
    ],
)
def test_an_unreadable_file_is_a_corrupt_artifact(broken: Path, name: str, content: bytes) -> None:
    (broken / name).write_bytes(content)
    with pytest.raises(Failed) as failed:
        load(model_dir=broken)
    assert failed.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
    assert failed.value.failure.stage is Stage.LOAD
