"""The recorder: what is the same for every stage, told once: time, evidence, progress, translation.

Law: a stage that was passed has exactly one entry of evidence, and what the file system raises
inside it is a failure of that stage.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import PREPARATION_STAGES, Stage
from octant.preparation.job import Done, Job, Report, ReportState, StageReport, Tools
from octant.preparation.manifest import StageEvidence

_T = TypeVar("_T")
_U = TypeVar("_U")


class Recorder:
    """Times stages, keeps their evidence and tells the user where the preparation stands."""

    def __init__(self, tools: Tools, report: Report) -> None:
        self._clock = tools.clock
        self._report = report
        self._stage = Stage.CAPTURE
        self._evidence: list[StageEvidence] = []

    @property
    def evidence(self) -> tuple[StageEvidence, ...]:
        """That of the stages passed so far."""
        return tuple(self._evidence)

    def progress(self, message: str) -> None:
        """Something happens inside the present stage."""
        self._tell("working", message)

    def run(self, stage: Stage, step: Callable[[Job, _T], Done[_U]], job: Job, value: _T) -> _U:
        """Passes one stage: its input in, the next stage's input out."""
        self._stage = stage
        self._tell("started", stage.value)
        started_ns = self._clock.monotonic_ns()
        with self.at(stage):
            done = step(job, value)
        duration_ns = self._clock.monotonic_ns() - started_ns
        self._evidence.append(
            StageEvidence(stage=stage, duration_ns=duration_ns, facts=done.evidence)
        )
        self._tell("finished", stage.value, duration_ns)
        return done.value

    @contextmanager
    def at(self, stage: Stage) -> Generator[None]:
        """Translates what the file system raises into a failure of `stage`."""
        try:
            yield
        except OSError as error:
            message = f"{error.filename or 'the file system'}: {error.strerror or error}"
            raise Failed(
                Failure(kind=FailureKind.PREPARATION_FAILED, stage=stage, message=message)
            ) from error

    def _tell(self, state: ReportState, message: str, duration_ns: int | None = None) -> None:
        number = PREPARATION_STAGES.index(self._stage) + 1
        total = len(PREPARATION_STAGES)
        self._report(StageReport(self._stage, number, total, state, message, duration_ns))
