"""The preparation pipeline (Track A): the whole way of a model on one screen.

    checkpoint -> capture -> represent -> analyse -> optimise -> partition -> lower -> package
               -> load -> warm -> published artifact

Law: the twin of `orchestration/request_path.py`. Each stage takes one type and returns the next; an
artifact appears among the others only after the last stage, by one rename, so a failure at any of
them leaves every earlier artifact as it was. What was finished is not done again.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from msgspec import structs

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import PREPARATION_STAGES, Stage
from octant.preparation.analyse import analyse
from octant.preparation.capture import capture
from octant.preparation.checkpoint import Checkpoint, read_checkpoint
from octant.preparation.job import Done, Job, PrepareOptions, Report, StageReport, Tools
from octant.preparation.load import load
from octant.preparation.lower import lower
from octant.preparation.manifest import (
    MANIFEST_FILE,
    ArtifactManifest,
    StageEvidence,
    load_manifest,
    read_artifact,
    write_manifest,
)
from octant.preparation.optimise import optimise
from octant.preparation.package import package
from octant.preparation.partition import partition
from octant.preparation.recipe import recipe_key
from octant.preparation.represent import represent
from octant.preparation.warm import Warmed, warm
from octant.preparation.workspace import open_workspace, publish

_T = TypeVar("_T")
_U = TypeVar("_U")
_DIRECTORY_DIGEST_CHARS = 16


class PreparedArtifact(NamedTuple):
    """A model ready to be deployed. `reused` tells one that was there from one just made."""

    directory: Path
    digest: str
    manifest: ArtifactManifest
    reused: bool


def prepare(
    source: Path, target_root: Path, options: PrepareOptions, tools: Tools, report: Report
) -> PreparedArtifact:
    """Prepares the checkpoint in `source`, or finds it prepared below `target_root`.

    Raises Failed at the stage that could not be passed; artifacts made before stay as they were.
    """
    recorder = _Recorder(tools, report)
    with recorder.at(Stage.CAPTURE):
        target_root.mkdir(parents=True, exist_ok=True)
        checkpoint = read_checkpoint(source, recorder.progress)
        key = recipe_key(checkpoint.digest, options)
        if known := find_prepared(target_root, key):
            return known
        with open_workspace(target_root, key) as workspace:
            job = Job(options, tools, workspace, recorder.progress)
            warmed = _pass_stages(recorder, job, checkpoint)
            with recorder.at(Stage.PACKAGE):
                return _publish(warmed, target_root, recorder.evidence)


def _pass_stages(recorder: "_Recorder", job: Job, checkpoint: Checkpoint) -> Warmed:
    captured = recorder.run(Stage.CAPTURE, capture, job, checkpoint)
    represented = recorder.run(Stage.REPRESENT, represent, job, captured)
    analysed = recorder.run(Stage.ANALYSE, analyse, job, represented)
    optimised = recorder.run(Stage.OPTIMISE, optimise, job, analysed)
    partitioned = recorder.run(Stage.PARTITION, partition, job, optimised)
    lowered = recorder.run(Stage.LOWER, lower, job, partitioned)
    packaged = recorder.run(Stage.PACKAGE, package, job, lowered)
    loaded = recorder.run(Stage.LOAD, load, job, packaged)
    return recorder.run(Stage.WARM, warm, job, loaded)


def find_prepared(target_root: Path, key: str) -> PreparedArtifact | None:
    """The whole artifact of recipe `key`; a damaged one counts as none."""
    for path in sorted(target_root.glob(f"*/{MANIFEST_FILE}")):
        try:
            if load_manifest(path.parent).recipe_key == key:
                manifest = read_artifact(path.parent)
                return PreparedArtifact(path.parent, manifest.digest, manifest, reused=True)
        except Failed:
            continue
    return None


def _publish(
    warmed: Warmed, target_root: Path, evidence: tuple[StageEvidence, ...]
) -> PreparedArtifact:
    manifest = structs.replace(warmed.packaged.manifest, evidence=evidence)
    digest = manifest.digest.partition(":")[2]
    directory = target_root / f"{manifest.name}-{digest[:_DIRECTORY_DIGEST_CHARS]}"
    write_manifest(warmed.packaged.directory, manifest)
    publish(warmed.packaged.directory, directory)
    return PreparedArtifact(directory, manifest.digest, manifest, reused=False)


class _Recorder:
    """Times stages, keeps their evidence and tells the user where the preparation stands."""

    def __init__(self, tools: Tools, report: Report) -> None:
        self._clock = tools.clock
        self._report = report
        self._stage = Stage.CAPTURE
        self._evidence: list[StageEvidence] = []

    @property
    def evidence(self) -> tuple[StageEvidence, ...]:
        return tuple(self._evidence)

    def progress(self, message: str) -> None:
        self._tell("working", message)

    def run(self, stage: Stage, step: Callable[[Job, _T], Done[_U]], job: Job, value: _T) -> _U:
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

    def _tell(self, state: Any, message: str, duration_ns: int | None = None) -> None:
        number = PREPARATION_STAGES.index(self._stage) + 1
        total = len(PREPARATION_STAGES)
        self._report(StageReport(self._stage, number, total, state, message, duration_ns))
