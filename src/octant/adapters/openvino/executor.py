"""OpenVinoExecutor: the embedded engine's executor, OpenVINO PagedAttention on the CPU.

    stateful IR -> paged graph -> compiled -> KV cache measured and allocated -> steps

Law: a step is one inference over exactly the tokens of its plan; as many rows come back as slices
sample, or the step has failed. Everything that OpenVINO raises is translated here.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from octant.adapters.openvino.graph import (
    CONFIG_FILE,
    DEVICE,
    WEIGHTS_FILE,
    compile_paged,
    page_attention,
    read_decoder,
    read_weights,
    sample_rows_only,
)
from octant.adapters.openvino.memory import (
    allocate_cache,
    available_bytes,
    plan_cache,
    require_weights_fit,
    resident_bytes,
)
from octant.adapters.openvino.packing import Bounds, PackedStep, pack
from octant.adapters.openvino.settings import OpenVinoSettings
from octant.adapters.openvino.signature import read_signature
from octant.adapters.system.hardware import read_hardware
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.core.step import StepPlan
from octant.ports.clock import Clock
from octant.ports.executor import ExecutorFacts


class _ModelConfig(msgspec.Struct):
    """What the executor reads of a model's config.json."""

    max_position_embeddings: Annotated[int, msgspec.Meta(ge=1)]


class OpenVinoExecutor:
    """One compiled decoder and its KV cache. Use from one thread at a time."""

    def __init__(
        self, facts: ExecutorFacts, request: ov.InferRequest, caches: dict[str, ov.Tensor]
    ) -> None:
        self._facts = facts
        self._caches = caches
        self._request: ov.InferRequest | None = request
        self._bounds = Bounds(
            facts.vocab_size, facts.max_context, facts.block_size, facts.block_count
        )
        for name, tensor in caches.items():
            request.set_tensor(name, tensor)

    @property
    def facts(self) -> ExecutorFacts:
        """What was loaded, and how large it is."""
        return self._facts

    def execute(self, plan: StepPlan) -> NDArray[np.float32]:
        """Logits `[rows, vocab_size]`, a view that the next call overwrites.

        Raises Failed(MODEL_FAILURE) when OpenVINO raises or gives another number of rows than the
        plan samples, Failed(INTERNAL_ERROR) when the plan does not fit the loaded model, and
        Failed(ENGINE_UNAVAILABLE) after `close`.
        """
        if self._request is None:
            raise Failed(_failure(FailureKind.ENGINE_UNAVAILABLE, plan, "the executor is closed"))
        try:
            step = pack(plan, self._bounds)
        except ValueError as error:
            raise Failed(_failure(FailureKind.INTERNAL_ERROR, plan, str(error))) from error
        try:
            logits = _infer(self._request, step)
        except RuntimeError as error:
            message = "OpenVINO failed in this step"
            raise Failed(_failure(FailureKind.MODEL_FAILURE, plan, message, error)) from error
        wanted = (len(step.sampled_tokens_indices), self._facts.vocab_size)
        if wanted[0] and logits.size != wanted[0] * wanted[1]:
            message = f"OpenVINO returned logits of shape {logits.shape} where {wanted} was asked"
            raise Failed(_failure(FailureKind.MODEL_FAILURE, plan, message))
        return logits.reshape(wanted) if wanted[0] else np.empty(wanted, dtype=np.float32)

    def close(self) -> None:
        """Releases the model and its memory; idempotent."""
        self._request = None
        self._caches.clear()


def open_executor(model_dir: Path, settings: OpenVinoSettings, clock: Clock) -> OpenVinoExecutor:
    """Loads the decoder in `model_dir` (`openvino_model.xml`, `.bin`, `config.json`).

    Raises Failed at stage LOAD: CORRUPT_ARTIFACT when a file is missing or unreadable,
    UNSUPPORTED_MODEL when the graph cannot be paged or fed, INSUFFICIENT_MEMORY with the numbers.
    """
    started_ns = clock.monotonic_ns()
    resident_before = resident_bytes()
    model_context = _read_max_context(model_dir)
    core = ov.Core()
    model = read_decoder(core, model_dir)
    weights = read_weights(model)
    require_weights_fit((model_dir / WEIGHTS_FILE).stat().st_size)
    page_attention(model)
    sample_rows_only(model)
    compiled = compile_paged(core, model, _properties(settings))
    signature = read_signature(compiled)
    cache = plan_cache(signature, settings, available_bytes())
    tensors = allocate_cache(signature, cache)
    granted = _granted(compiled)
    limits = (model_context, settings.max_context, cache.block_count * signature.block_size)
    facts = ExecutorFacts(
        engine="openvino",
        engine_version=ov.get_version(),
        vocab_size=signature.vocab_size,
        max_context=min(limit for limit in limits if limit is not None),
        block_size=signature.block_size,
        block_count=cache.block_count,
        block_bytes=cache.block_bytes,
        weight_bytes=weights.size_bytes,
        weight_precision=weights.precision,
        kv_precision=signature.kv_precision,
        device=DEVICE,
        load_ns=clock.monotonic_ns() - started_ns,
        flags={name: str(value) for name, value in granted.items()},
        hardware=read_hardware(),
        detail=granted
        | {
            "model_max_context": model_context,
            "kv_budget_bytes": cache.budget_bytes,
            "kv_limited_by": cache.limited_by,
            "resident_bytes_before": resident_before,
            "resident_bytes": resident_bytes(),
        },
    )
    return OpenVinoExecutor(facts, compiled.create_infer_request(), tensors)


def _infer(request: ov.InferRequest, step: PackedStep) -> NDArray[np.float32]:
    for name, array in zip(step._fields, step, strict=True):
        request.set_tensor(name, ov.Tensor(array, shared_memory=True))
    # `infer` of the Python API builds a dictionary of copied outputs; the pair does not.
    request.start_async()
    request.wait()
    return request.get_output_tensor(0).data


def _properties(settings: OpenVinoSettings) -> dict[str, Any]:
    # Pinned threads wait for their core even when another is free. Beside a server process and
    # other work unpinned ones gave more tokens/s in 19 of 21 interleaved pairs (median 1.3x).
    wanted: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    if settings.kv_precision != "auto":
        wanted["KV_CACHE_PRECISION"] = settings.kv_precision
    if settings.inference_precision != "auto":
        wanted["INFERENCE_PRECISION_HINT"] = settings.inference_precision
    if settings.threads:
        wanted["INFERENCE_NUM_THREADS"] = settings.threads
    if settings.dynamic_quantization_group_size is not None:
        wanted["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = settings.dynamic_quantization_group_size
    return wanted


def _granted(compiled: ov.CompiledModel) -> dict[str, Any]:
    return {
        "inference_precision": compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        "threads": compiled.get_property("INFERENCE_NUM_THREADS"),
        "dynamic_quantization_group_size": int(
            compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")
        ),
        "instruction_set": str(compiled.get_property("RUNTIME_REQUIREMENTS")),
    }


def _read_max_context(model_dir: Path) -> int:
    path = model_dir / CONFIG_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_ModelConfig).max_position_embeddings
    except (OSError, msgspec.DecodeError) as error:
        raise Failed(_load_failure(f"{path} cannot be read: {error}")) from error


def _load_failure(message: str) -> Failure:
    return Failure(kind=FailureKind.CORRUPT_ARTIFACT, stage=Stage.LOAD, message=message)


def _failure(
    kind: FailureKind, plan: StepPlan, message: str, cause: Exception | None = None
) -> Failure:
    prefills = any(len(piece.tokens) > 1 for piece in plan.slices)
    return Failure(
        kind=kind,
        stage=Stage.PREFILL if prefills else Stage.DECODE,
        message=message,
        detail={"step": plan.number, "slices": len(plan.slices), "tokens": plan.token_count}
        | ({"openvino": str(cause)[:2000]} if cause else {}),
    )
