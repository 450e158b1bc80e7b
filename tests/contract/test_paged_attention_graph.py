"""The private transformation of the pinned OpenVINO still gives the graph that the executor feeds.

When one of these fails after an upgrade, `adapters/openvino/signature.py` and `packing.py` are the
places to look at; nothing else knows the shape of the graph.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import octant
from octant.adapters.openvino.graph import (
    compile_paged,
    ops,
    ov,
    page_attention,
    read_decoder,
    read_weights,
    sample_rows_only,
)
from octant.adapters.openvino.signature import (
    SAMPLED_ROWS,
    STEP_INPUTS,
    Signature,
    read_signature,
)
from octant.core.failure import Failed, FailureKind

MODEL_DIR = Path(octant.__file__).parent / "bundled" / "octant-mini"
ROOT = Path(__file__).parents[2]
HEADS, HEAD, BLOCK, SCALES = 4, 64, 32, 8
# Tokens per block and head elements, and what u8 adds: keys are scaled by channel, values by token.
BLOCK_SHAPES = {
    "f32": ((HEADS, BLOCK, HEAD), (HEADS, BLOCK, HEAD)),
    "f16": ((HEADS, BLOCK, HEAD), (HEADS, BLOCK, HEAD)),
    "u8": ((HEADS, BLOCK + SCALES, HEAD), (HEADS, BLOCK, HEAD + SCALES)),
}


@pytest.fixture(scope="module")
def core() -> ov.Core:
    return ov.Core()


def paged(core: ov.Core) -> ov.Model:
    model = read_decoder(core, MODEL_DIR)
    page_attention(model)
    sample_rows_only(model)
    return model


def signature(core: ov.Core, kv_precision: str) -> Signature:
    wanted = {"KV_CACHE_PRECISION": kv_precision, "INFERENCE_PRECISION_HINT": "f32"}
    return read_signature(compile_paged(core, paged(core), wanted))


def test_the_installed_openvino_is_the_pinned_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = [text for text in project["project"]["dependencies"] if text.startswith("openvino==")]
    assert pins == [f"openvino=={ov.get_version().split('-')[0]}"]


def test_the_step_inputs_are_exactly_those_that_are_packed(core: ov.Core) -> None:
    found = {port.get_any_name(): port for port in paged(core).inputs}
    step = {name for name in found if not re.fullmatch(r"(key|value)_cache\.\d+", name)}
    assert step == set(STEP_INPUTS)
    for name, (kind, rank) in STEP_INPUTS.items():
        assert found[name].get_element_type() == kind, name
        assert len(found[name].get_partial_shape()) == rank, name


@pytest.mark.parametrize("kv_precision", BLOCK_SHAPES)
def test_caches_have_the_shape_and_type_of_their_precision(
    core: ov.Core, kv_precision: str
) -> None:
    found = signature(core, kv_precision)
    keys, values = BLOCK_SHAPES[kv_precision]
    assert [cache.block_shape for cache in found.caches] == [keys, values] * 6
    assert found.kv_precision == kv_precision
    assert found.block_size == BLOCK
    assert found.vocab_size == 2048


def test_caches_come_in_layer_order_beyond_the_tenth() -> None:
    inputs = [_step_input(name) for name in STEP_INPUTS]
    caches = [
        ops.parameter([-1, 1, 32, 8], ov.Type.f32, name=f"{kind}_cache.{layer}")
        for layer in (10, 2, 0)
        for kind in ("value", "key")
    ]
    names = [cache.name for cache in read_signature(_compiled(inputs + caches)).caches]
    assert names == [f"{kind}_cache.{layer}" for layer in (0, 2, 10) for kind in ("key", "value")]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("missing", "input past_lens is missing"),
        ("unknown", "input token_type_ids is unknown"),
        ("type", "input block_indices is <Type: 'int64_t'> of rank 1"),
        ("rank", "cache value_cache.0 has dimensions (-1, 32, 8)"),
        ("keys", "1 key caches among 1 caches"),
    ],
)
def test_a_graph_that_differs_is_refused_naming_the_difference(change: str, named: str) -> None:
    inputs = [
        _step_input(name, ov.Type.i64 if (change, name) == ("type", "block_indices") else None)
        for name in STEP_INPUTS
        if (change, name) != ("missing", "past_lens")
    ]
    if change == "unknown":
        inputs.append(ops.parameter([-1], ov.Type.i64, name="token_type_ids"))
    inputs.append(ops.parameter([-1, 1, 32, 8], ov.Type.f32, name="key_cache.0"))
    if change != "keys":
        shape = [-1, 32, 8] if change == "rank" else [-1, 1, 32, 8]
        inputs.append(ops.parameter(shape, ov.Type.f32, name="value_cache.0"))
    with pytest.raises(Failed) as refused:
        read_signature(_compiled(inputs))
    assert refused.value.failure.kind is FailureKind.UNSUPPORTED_MODEL
    assert refused.value.failure.detail["problems"] == [
        problem for problem in refused.value.failure.detail["problems"] if named in problem
    ]
    assert ov.get_version() in refused.value.failure.message


def test_a_graph_without_paged_attention_is_refused(core: ov.Core) -> None:
    with pytest.raises(Failed) as refused:
        read_signature(core.compile_model(read_decoder(core, MODEL_DIR), "CPU", {}))
    assert "input past_lens is missing" in refused.value.failure.message


def test_rows_are_picked_before_the_vocabulary(core: ov.Core) -> None:
    head = next(n for n in reversed(paged(core).get_ordered_ops()) if n.get_type_name() == "MatMul")
    gather = head.input_value(0).get_node()
    assert gather.get_type_name() == "Gather"
    assert gather.input_value(1).get_node().get_friendly_name() == SAMPLED_ROWS


def test_a_graph_that_does_not_end_in_a_matrix_product_is_refused() -> None:
    tokens = ops.parameter([-1, 8], ov.Type.f32, name="input_ids")
    with pytest.raises(Failed) as refused:
        sample_rows_only(ov.Model([ops.relu(tokens)], [tokens], "no_head"))
    assert refused.value.failure.kind is FailureKind.UNSUPPORTED_MODEL


def test_weight_precision_is_that_of_most_elements(core: ov.Core) -> None:
    weights = read_weights(read_decoder(core, MODEL_DIR))
    assert weights.precision == "int8"
    assert weights.elements <= weights.size_bytes < 1.1 * weights.elements


def _step_input(name: str, kind: Any = None) -> Any:
    expected, rank = STEP_INPUTS[name]
    return ops.parameter([-1] * rank, kind or expected, name=name)


def _compiled(parameters: list[Any]) -> ov.CompiledModel:
    """A model that takes `parameters` and gives one row of eight numbers for each token."""
    for parameter in parameters:
        parameter.output(0).set_names({parameter.get_friendly_name()})
    tokens = next(p for p in parameters if p.get_friendly_name() == "input_ids")
    column = ops.unsqueeze(ops.convert(tokens, "f32"), ops.constant([1]))
    rows = ops.matmul(column, ops.constant([[1.0] * 8], ov.Type.f32), False, False)
    return ov.Core().compile_model(ov.Model([rows], parameters, "made_up"), "CPU", {})
