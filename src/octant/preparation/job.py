"""The job: what every preparation stage is given beside its input, and what it gives back.

Law: a stage takes one value and returns the next with its evidence; the job is the same for all of
them and never changes, so nothing passes from stage to stage unseen.
"""

from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from octant.core.record import Record
from octant.core.stage import Stage
from octant.ports.clock import Clock
from octant.ports.exporter import Exporter, OnProgress, WeightFormat
from octant.preparation.workspace import Workspace

_T = TypeVar("_T")


class PrepareOptions(Record, frozen=True, kw_only=True):
    """What is asked for. `name` None takes the name of the source directory."""

    weights: WeightFormat = "int8"
    name: str | None = None


class Tools(NamedTuple):
    """The doors that preparation goes through."""

    exporter: Exporter
    clock: Clock


ReportState = Literal["started", "working", "finished"]


class StageReport(NamedTuple):
    """Progress for people. `number` counts from 1; `duration_ns` is set when the stage is over."""

    stage: Stage
    number: int
    total: int
    state: ReportState
    message: str
    duration_ns: int | None = None


Report = Callable[[StageReport], None]


class Job(NamedTuple):
    """One preparation."""

    options: PrepareOptions
    tools: Tools
    workspace: Workspace
    progress: OnProgress


class Done(NamedTuple, Generic[_T]):
    """What a stage returns."""

    value: _T
    evidence: dict[str, Any]
