"""The preparation pipeline (Track A): the whole way of a model on one screen.

    checkpoint -> capture -> represent -> analyse -> optimise -> partition -> lower -> package
               -> load -> warm -> published artifact

Law: the twin of `orchestration/request_path.py`. Each stage takes one type and returns the next; an
artifact appears among the others only after the last stage, by one rename, so a failure at any of
them leaves every earlier artifact as it was. What was finished is not done again.
"""

from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from octant.core.failure import Failed
from octant.core.stage import Stage
from octant.preparation.analyse import analyse
from octant.preparation.capture import capture
from octant.preparation.checkpoint import Checkpoint, read_checkpoint
from octant.preparation.job import Job, PrepareOptions, Report, Tools
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
from octant.preparation.recorder import Recorder
from octant.preparation.represent import represent
from octant.preparation.warm import Warmed, warm
from octant.preparation.workspace import open_workspace, publish

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
    recorder = Recorder(tools, report)
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


def _pass_stages(recorder: Recorder, job: Job, checkpoint: Checkpoint) -> Warmed:
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
