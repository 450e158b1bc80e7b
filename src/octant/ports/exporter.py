"""Exporter: the foreign toolchain that turns a checkpoint into a graph and judges it.

Adapter: `adapters/openvino/exporter.py`, which runs each call in a process of its own, so that the
memory of the tools is given back and their crash is a failure of one stage.

Law: every method belongs to one preparation stage (`load` and `warm` share a trial) and raises
`Failed` at that stage. Directories are the caller's; a method writes only into its `target`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from octant.core.record import Record

WeightFormat = Literal["int8", "int4", "bf16", "f32"]
REFERENCE_FILE = "reference.npz"
OnProgress = Callable[[str], None]


class PortShape(Record, frozen=True, kw_only=True):
    """A named input or output of a graph; -1 is a dynamic dimension."""

    name: str
    dimensions: tuple[int, ...]
    element_type: str


class GraphFacts(Record, frozen=True, kw_only=True):
    """A graph that was read back and validated. `parameters` counts elements of all constants."""

    ir_version: str
    nodes: int
    parameters: int
    weight_bytes: int
    weight_precision: str
    operations: dict[str, int]
    control_flow: tuple[str, ...]
    states: int
    inputs: tuple[PortShape, ...]
    outputs: tuple[PortShape, ...]


class Parity(Record, frozen=True, kw_only=True):
    """Logits against the reference implementation's, over `positions` positions of one prompt.

    Differences are absolute; `reference_deviation` is the standard deviation of the reference
    logits, which says how large a difference is. `agreement` is the share of positions whose most
    likely token is the same.
    """

    positions: int
    max_difference: float
    mean_difference: float
    reference_deviation: float
    agreement: float


class ParityFixture(Record, frozen=True, kw_only=True):
    """What the reference implementation says after `tokens`: its most likely next tokens."""

    tokens: tuple[int, ...]
    top_tokens: tuple[int, ...]
    top_logits: tuple[float, ...]


class ExportFacts(Record, frozen=True, kw_only=True):
    """How a checkpoint became a graph."""

    versions: dict[str, str]
    dtype: str
    reference_dtype: str
    parameters: int
    warnings: tuple[str, ...]
    fixture: ParityFixture


class PlacementFacts(Record, frozen=True, kw_only=True):
    """Which device owns how many nodes of the graph that runs; unowned ones are listed by type."""

    devices: dict[str, int]
    unowned: tuple[str, ...]
    versions: dict[str, str]


class BuildFacts(Record, frozen=True, kw_only=True):
    """What the compiler made of the graph on this machine: kernels by name, with their count."""

    target: str
    flags: dict[str, str]
    inference_precision: str
    build_ns: int
    kernels: dict[str, int]


class TrialFacts(Record, frozen=True, kw_only=True):
    """A load and a warm-up of the finished artifact by the executor that will serve it."""

    load_ns: int
    resident_bytes: int
    block_bytes: int
    block_size: int
    kv_precision: str
    max_context: int
    warmup_steps: int
    first_step_ns: int
    steady_step_ns: int
    parity: Parity | None


class Exporter(Protocol):
    """Everything that preparation needs from outside."""

    def versions(self) -> dict[str, str]:
        """Versions of the tools by package name. Raises Failed(PREPARATION_FAILED) naming those
        that are not installed, with the command that installs them."""
        ...

    def export(
        self, source: Path, target: Path, weights: WeightFormat, progress: OnProgress
    ) -> ExportFacts:
        """CAPTURE: writes the graph, its tokenizer files and `reference.npz` into `target`."""
        ...

    def inspect(self, graph: Path) -> GraphFacts:
        """REPRESENT: reads the graph back and validates it."""
        ...

    def parity(self, graph: Path, reference: Path) -> Parity:
        """OPTIMISE: logits of the graph in full precision against those of `reference`."""
        ...

    def compress(
        self, graph: Path, target: Path, weights: WeightFormat, progress: OnProgress
    ) -> tuple[str, ...]:
        """OPTIMISE: writes the compressed graph into `target`; returns the passes that were run."""
        ...

    def place(self, graph: Path) -> PlacementFacts:
        """PARTITION: asks every backend which nodes it takes."""
        ...

    def build(self, graph: Path) -> BuildFacts:
        """LOWER: compiles the graph for this machine and lists what it became."""
        ...

    def trial(self, graph: Path, reference: Path | None) -> TrialFacts:
        """LOAD and WARM: serves the finished artifact for a moment."""
        ...
