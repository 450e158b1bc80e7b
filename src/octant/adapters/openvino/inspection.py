"""Inspection: what a graph holds, who can run it, and what the compiler makes of it.

Law: nothing is estimated. Node and byte counts are read from the graph, ownership is asked of the
device, kernels are listed from the compiled graph.
"""

from collections import Counter
from pathlib import Path
from typing import Any, cast

import openvino as ov

from octant.adapters.openvino.graph import (
    DEVICE,
    MODEL_FILE,
    compile_paged,
    page_attention,
    read_decoder,
    read_weights,
    sample_rows_only,
)
from octant.ports.clock import Clock
from octant.ports.exporter import BuildFacts, GraphFacts, PlacementFacts, PortShape

_HEAD_CHARS = 400
_CONTROL_FLOW = ("If", "Loop", "TensorIterator")
_FLAGS = {"PERFORMANCE_HINT": "LATENCY"}


def inspect_graph(graph: Path) -> GraphFacts:
    """Reads and validates the graph. Raises Failed(CORRUPT_ARTIFACT)."""
    model = read_decoder(ov.Core(), graph)
    model.validate_nodes_and_infer_types()
    operations = Counter(node.get_type_name() for node in model.get_ops())
    weights = read_weights(model)
    return GraphFacts(
        ir_version=_ir_version(graph),
        nodes=operations.total(),
        parameters=weights.elements,
        weight_bytes=weights.size_bytes,
        weight_precision=weights.precision,
        operations=dict(operations.most_common()),
        control_flow=tuple(name for name in _CONTROL_FLOW if name in operations),
        states=len(model.get_sinks()),
        inputs=tuple(map(_port_shape, model.inputs)),
        outputs=tuple(map(_port_shape, model.outputs)),
    )


def place_graph(graph: Path) -> PlacementFacts:
    """Asks the device which nodes of the paged graph it takes."""
    core = ov.Core()
    model = _paged(core, graph)
    owners = cast("dict[str, str]", core.query_model(model, DEVICE))
    unowned = Counter(
        node.get_type_name() for node in model.get_ops() if node.get_friendly_name() not in owners
    )
    return PlacementFacts(
        devices=dict(Counter(owners.values())),
        unowned=tuple(sorted(unowned)),
        versions={"openvino": ov.get_version()},
    )


def build_graph(graph: Path, clock: Clock) -> BuildFacts:
    """Compiles the paged graph for this machine. Raises Failed(UNSUPPORTED_MODEL)."""
    core = ov.Core()
    model = _paged(core, graph)
    started_ns = clock.monotonic_ns()
    compiled = compile_paged(core, model, _FLAGS)
    build_ns = clock.monotonic_ns() - started_ns
    kernels = Counter(map(_kernel_name, compiled.get_runtime_model().get_ops()))
    return BuildFacts(
        target=str(compiled.get_property("RUNTIME_REQUIREMENTS")),
        flags=_FLAGS,
        inference_precision=compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        build_ns=build_ns,
        kernels=dict(kernels.most_common()),
    )


def _paged(core: ov.Core, graph: Path) -> ov.Model:
    model = read_decoder(core, graph)
    page_attention(model)
    sample_rows_only(model)
    return model


def _kernel_name(node: ov.Node) -> str:
    facts: Any = node.get_rt_info()
    return f"{facts['layerType'].astype(str)} {facts['primitiveType'].astype(str)}"


def _port_shape(port: Any) -> PortShape:
    shape = port.get_partial_shape()
    return PortShape(
        name=port.get_any_name(),
        dimensions=tuple(-1 if axis.is_dynamic else axis.get_length() for axis in shape),
        element_type=port.get_element_type().get_type_name(),
    )


def _ir_version(graph: Path) -> str:
    with (graph / MODEL_FILE).open() as file:
        head = file.read(_HEAD_CHARS)
    return head.partition("<net")[2].partition('version="')[2].partition('"')[0]
