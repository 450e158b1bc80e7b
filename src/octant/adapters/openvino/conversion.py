"""Conversion: a transformers checkpoint becomes an OpenVINO graph; runs in the worker process.

    checkpoint -> torch model -> reference logits -> stateful decoder graph -> (compressed) graph

Law: only safetensors are read and no code of a checkpoint is run. The reference logits come from
transformers' eager attention, which leaves nothing of an architecture out, so that a graph that
does differs from them.
"""

import shutil
import warnings
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from octant.adapters.openvino.graph import CONFIG_FILE, MODEL_FILE
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.ports.exporter import (
    REFERENCE_FILE,
    ExportFacts,
    OnProgress,
    ParityFixture,
    WeightFormat,
)

TOOLS = ("torch", "transformers", "optimum-intel", "nncf", "openvino", "safetensors")
INSTALL = "pip install torch==2.13.0 && pip install 'octant[prepare]'"

_REFERENCE_TOKENS = 48
_FIXTURE_TOP = 8
# Two billion parameters in 16 bit: up to here the reference is computed in f32, in 8 GB.
_MAX_WIDENED_BYTES = 4_000_000_000
_HALF = ("torch.float16", "torch.bfloat16")
_LOCAL_ONLY = {"trust_remote_code": False, "local_files_only": True}
_MAX_WARNINGS = 20
_MAX_WARNING_CHARS = 300
# NNCF's int4 wants groups that divide the inner dimension; the largest that does costs the least.
_INT4_GROUPS = (128, 64, 32)
_INT4_RATIO = 1.0


class _Reference(NamedTuple):
    """What was learned while the reference implementation was in memory."""

    dtype: str
    parameters: int
    fixture: ParityFixture


def tool_versions() -> dict[str, str]:
    """Versions by package. Raises Failed(PREPARATION_FAILED) naming what is not installed."""
    found: dict[str, str] = {}
    missing: list[str] = []
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        message = f"preparing a checkpoint needs {', '.join(missing)}: run `{INSTALL}`"
        raise Failed(_failure(Stage.CAPTURE, message, {"missing": missing}))
    return found


def export_decoder(
    source: Path, target: Path, weights: WeightFormat, *, progress: OnProgress
) -> ExportFacts:
    """Writes graph, tokenizer files and `reference.npz`. Raises Failed(PREPARATION_FAILED)."""
    versions = tool_versions()
    progress("loading torch and transformers")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch: Any = import_module("torch")
        transformers: Any = import_module("transformers")
        progress("computing reference logits")
        reference = _write_reference(torch, transformers, source, target / REFERENCE_FILE)
        progress(f"reading {source.name}")
        # Read anew: casting the reference back from f32 would cast its rotary frequencies too.
        dtype = torch.bfloat16 if weights == "bf16" else "auto"
        model = _read_model(transformers, source, dtype, "sdpa")
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **_LOCAL_ONLY)
        stored = str(model.dtype).removeprefix("torch.")
        progress("tracing the graph")
        _trace(model, tokenizer, target)
    return ExportFacts(
        versions=versions,
        dtype=stored,
        reference_dtype=reference.dtype,
        parameters=reference.parameters,
        warnings=_distinct(caught),
        fixture=reference.fixture,
    )


def compress_weights(
    graph: Path, target: Path, weights: WeightFormat, *, progress: OnProgress
) -> tuple[str, ...]:
    """Writes the graph with 8 or 4 bit weights, its configuration beside it; returns the passes.

    Raises Failed(PREPARATION_FAILED) when 4 bit groups do not divide the matrices.
    """
    ov: Any = import_module("openvino")
    nncf: Any = import_module("nncf")
    model = ov.Core().read_model(graph / MODEL_FILE)
    if weights == "int8":
        progress("compressing weights to 8 bit")
        compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        passes = ("nncf.compress_weights int8_asym, per channel",)
    else:
        group = _int4_group(model)
        progress(f"compressing weights to 4 bit in groups of {group}")
        compressed = nncf.compress_weights(
            model,
            mode=nncf.CompressWeightsMode.INT4_ASYM,
            group_size=group,
            ratio=_INT4_RATIO,
        )
        passes = (f"nncf.compress_weights int4_asym, groups of {group}, embedding and head int8",)
    ov.save_model(compressed, target / MODEL_FILE, compress_to_fp16=False)
    shutil.copy2(graph / CONFIG_FILE, target / CONFIG_FILE)
    return passes


def _trace(model: Any, tokenizer: Any, target: Path) -> None:
    convert: Any = import_module("optimum.exporters.openvino.convert")
    configuration: Any = import_module("optimum.intel.openvino.configuration")
    convert.export_from_model(
        model=model,
        output=target,
        task="text-generation-with-past",
        # Left to itself, the exporter compresses what is large.
        ov_config=configuration.OVConfig(dtype="auto"),
        stateful=True,
        preprocessors=[tokenizer],
        patch_16bit_model=str(model.dtype) in _HALF,
    )


def _write_reference(torch: Any, transformers: Any, source: Path, path: Path) -> _Reference:
    """Logits `[_REFERENCE_TOKENS, vocab]` after a fixed prompt that strides over the vocabulary."""
    size_bytes = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    dtype = torch.float32 if size_bytes <= _MAX_WIDENED_BYTES else "auto"
    model = _read_model(transformers, source, dtype, "eager")
    vocab = int(model.config.vocab_size)
    tokens = [(7 + 7919 * index) % vocab for index in range(_REFERENCE_TOKENS)]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].float().numpy()
    np.savez(path, tokens=np.array(tokens), logits=logits)
    top = np.argsort(logits[-1])[::-1][:_FIXTURE_TOP]
    return _Reference(
        dtype=str(model.dtype).removeprefix("torch."),
        parameters=sum(int(tensor.numel()) for tensor in model.parameters()),
        fixture=ParityFixture(
            tokens=tuple(tokens),
            top_tokens=tuple(int(token) for token in top),
            top_logits=tuple(float(logits[-1][token]) for token in top),
        ),
    )


def _read_model(transformers: Any, source: Path, dtype: Any, attention: str) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        source, dtype=dtype, attn_implementation=attention, use_safetensors=True, **_LOCAL_ONLY
    ).eval()


def _int4_group(model: Any) -> int:
    inner = {
        node.input_value(1).get_shape()[-1]
        for node in model.get_ops()
        if node.get_type_name() == "MatMul" and node.input_value(1).get_partial_shape().is_static
    }
    for group in _INT4_GROUPS:
        if all(size % group == 0 for size in inner):
            return group
    message = f"4-bit weights need inner dimensions divisible by {_INT4_GROUPS[-1]}, got {inner}"
    raise Failed(_failure(Stage.OPTIMISE, message, {"inner_dimensions": sorted(inner)}))


def _distinct(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    texts = dict.fromkeys(" ".join(str(entry.message).split()) for entry in caught)
    return tuple(text[:_MAX_WARNING_CHARS] for text in texts)[:_MAX_WARNINGS]


def _failure(stage: Stage, message: str, detail: dict[str, Any]) -> Failure:
    return Failure(kind=FailureKind.PREPARATION_FAILED, stage=stage, message=message, detail=detail)
