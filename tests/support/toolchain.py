"""A scripted toolchain: what torch, NNCF and OpenVINO would say, with faults where a test wants.

It stands for foreign programs, so that the pipeline's own promises (order, evidence, atomicity,
going on after a crash) are tested in milliseconds; `test_preparation_tools.py` runs the real ones.
"""

import json
from pathlib import Path

import numpy as np

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.ports.exporter import (
    BuildFacts,
    ExportFacts,
    GraphFacts,
    OnProgress,
    Parity,
    ParityFixture,
    PlacementFacts,
    PortShape,
    TrialFacts,
    WeightFormat,
)

VOCAB_SIZE = 512
EXACT = Parity(
    positions=8,
    max_difference=1e-6,
    mean_difference=1e-7,
    reference_deviation=1.0,
    agreement=1.0,
)
GRAPH = GraphFacts(
    ir_version="11",
    nodes=400,
    parameters=119_000,
    weight_bytes=476_000,
    weight_precision="f32",
    operations={"MatMul": 16},
    control_flow=(),
    states=4,
    inputs=tuple(
        PortShape(name=name, dimensions=(-1, -1), element_type="i64")
        for name in ("input_ids", "attention_mask", "position_ids", "beam_idx")
    ),
    outputs=(PortShape(name="logits", dimensions=(-1, -1, VOCAB_SIZE), element_type="f32"),),
)


class PowerCut(BaseException):
    """The machine stops in the middle of a call."""


class ScriptedToolchain:
    """Implements ports.exporter.Exporter. Set the attributes that a test wants to be otherwise."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails_at: str | None = None
        self.fault: BaseException | None = None
        self.graph = GRAPH
        self.drift = EXACT
        self.served = EXACT
        self.unowned: tuple[str, ...] = ()

    def versions(self) -> dict[str, str]:
        self._called("versions")
        return {"torch": "0"}

    def export(
        self, source: Path, target: Path, weights: WeightFormat, progress: OnProgress
    ) -> ExportFacts:
        (target / "openvino_model.xml").write_text(f"<net {weights}>")
        self._called("export")
        (target / "openvino_model.bin").write_bytes(b"weights")
        for name in ("config.json", "tokenizer.json"):
            if (source / name).is_file():
                (target / name).write_bytes((source / name).read_bytes())
        np.savez(target / "reference.npz", tokens=np.zeros(4), logits=np.zeros((4, VOCAB_SIZE)))
        progress("exporting")
        return ExportFacts(
            versions={"torch": "0"},
            dtype="float32",
            reference_dtype="float32",
            parameters=119_000,
            warnings=("a warning of the tracer",),
            fixture=ParityFixture(tokens=(1, 2), top_tokens=(3,), top_logits=(4.5,)),
        )

    def inspect(self, graph: Path) -> GraphFacts:
        self._called("inspect")
        return self.graph

    def parity(self, graph: Path, reference: Path) -> Parity:
        assert reference.is_file()
        self._called("parity")
        return self.drift

    def compress(
        self, graph: Path, target: Path, weights: WeightFormat, progress: OnProgress
    ) -> tuple[str, ...]:
        self._called("compress")
        for name in ("openvino_model.xml", "openvino_model.bin"):
            (target / name).write_bytes(f"{weights} ".encode() + (graph / name).read_bytes())
        return (f"compressed to {weights}",)

    def place(self, graph: Path) -> PlacementFacts:
        self._called("place")
        return PlacementFacts(devices={"CPU": 400}, unowned=self.unowned, versions={})

    def build(self, graph: Path) -> BuildFacts:
        self._called("build")
        return BuildFacts(
            target="avx512", flags={}, inference_precision="bf16", build_ns=5, kernels={"MatMul": 9}
        )

    def trial(self, graph: Path, reference: Path | None) -> TrialFacts:
        assert json.loads((graph / "config.json").read_bytes())
        self._called("trial")
        return TrialFacts(
            load_ns=7,
            resident_bytes=1000,
            block_bytes=320,
            block_size=32,
            kv_precision="u8",
            max_context=512,
            warmup_steps=9,
            first_step_ns=3_000_000,
            steady_step_ns=2_000_000,
            parity=self.served,
        )

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if call == self.fails_at:
            raise self.fault or Failed(
                Failure(kind=FailureKind.PREPARATION_FAILED, stage=Stage.CAPTURE, message="no luck")
            )
