"""The graph: from a stateful decoder, as exporters write it, to one that pages its KV cache.

    read_decoder -> page_attention -> sample_rows_only -> (compiled by the executor)

Law: the transformation is private to OpenVINO, so nothing about its result is taken on trust:
`signature.py` compares what came out with what the executor feeds.
"""

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import openvino as ov
import openvino.opset13 as ops
from openvino._offline_transformations import (
    paged_attention_transformation,  # pyright: ignore[reportUnknownVariableType] # no stub
)

from octant.adapters.openvino.signature import SAMPLED_ROWS
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

MODEL_FILE = "openvino_model.xml"
WEIGHTS_FILE = "openvino_model.bin"
CONFIG_FILE = "config.json"
DEVICE = "CPU"

# Between the last MatMul and `logits` stand at most a conversion and a soft cap of three operators.
_MAX_HOPS_TO_HEAD = 8
_MAX_CAUSE_CHARS = 2000
_PRECISIONS = {"i8": "int8", "u8": "int8", "i4": "int4", "u4": "int4"}


class Weights(NamedTuple):
    """What the constants of a graph hold."""

    elements: int
    size_bytes: int
    precision: str


def read_decoder(core: ov.Core, model_dir: Path) -> ov.Model:
    """The stateful decoder in `model_dir`. Raises Failed(CORRUPT_ARTIFACT)."""
    for name in (MODEL_FILE, WEIGHTS_FILE):
        if not (model_dir / name).is_file():
            raise Failed(_failure(FailureKind.CORRUPT_ARTIFACT, f"{model_dir} has no {name}", {}))
    try:
        return core.read_model(model_dir / MODEL_FILE)
    except RuntimeError as error:
        message = f"OpenVINO cannot read {model_dir / MODEL_FILE}; prepare the model again"
        raise Failed(_failure(FailureKind.CORRUPT_ARTIFACT, message, _cause(error))) from error


def page_attention(model: ov.Model) -> None:
    """Turns state into block tables, in place. Raises Failed(UNSUPPORTED_MODEL)."""
    try:
        paged_attention_transformation(model)
    except RuntimeError as error:
        message = "the attention of this model cannot be paged, so it cannot be served in batches"
        raise Failed(_failure(FailureKind.UNSUPPORTED_MODEL, message, _cause(error))) from error


def sample_rows_only(model: ov.Model) -> None:
    """Lets only the rows named by a new input meet the vocabulary, in place.

    Raises Failed(UNSUPPORTED_MODEL) when the graph does not end in a matrix product.
    """
    head = _last_product(model)
    if head is None:
        message = "no matrix product stands before the logits of this model"
        raise Failed(_failure(FailureKind.UNSUPPORTED_MODEL, message, {}))
    rows = ops.parameter([-1], ov.Type.i64, name=SAMPLED_ROWS)
    rows.output(0).set_names({SAMPLED_ROWS})
    axis = ops.constant(0, ov.Type.i64)
    picked = ops.gather(head.input_value(0), rows.output(0), axis.output(0))
    head.input(0).replace_source_output(picked.output(0))
    model.add_parameters([rows])
    model.validate_nodes_and_infer_types()


def _last_product(model: ov.Model) -> ov.Node | None:
    node = model.get_results()[0].input_value(0).get_node()
    for _ in range(_MAX_HOPS_TO_HEAD):
        if node.get_type_name() == "MatMul":
            return node
        if not node.get_input_size():
            return None
        node = node.input_value(0).get_node()
    return None


def compile_paged(core: ov.Core, model: ov.Model, properties: dict[str, Any]) -> ov.CompiledModel:
    """The compiled graph. Raises Failed(UNSUPPORTED_MODEL) with OpenVINO's reason."""
    try:
        return core.compile_model(model, DEVICE, properties)
    except RuntimeError as error:
        message = f"OpenVINO cannot compile this model for {DEVICE} with {properties}"
        raise Failed(_failure(FailureKind.UNSUPPORTED_MODEL, message, _cause(error))) from error


def read_weights(model: ov.Model) -> Weights:
    """Bytes of all constants, and the precision that most of their elements have."""
    elements: Counter[str] = Counter()
    size_bytes = 0
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            output = node.output(0)
            count = prod(output.get_shape())
            elements[output.get_element_type().get_type_name()] += count
            size_bytes += count * output.get_element_type().bitwidth // 8
    kind = elements.most_common(1)[0][0]
    return Weights(elements.total(), size_bytes, _PRECISIONS.get(kind, kind))


def _failure(kind: FailureKind, message: str, detail: dict[str, str]) -> Failure:
    return Failure(kind=kind, stage=Stage.LOAD, message=message, detail=detail)


def _cause(error: RuntimeError) -> dict[str, str]:
    return {"openvino": str(error)[:_MAX_CAUSE_CHARS]}
