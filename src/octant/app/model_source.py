"""Model source: from the setting `model.path` to a verified directory that an engine can load.

    empty -> the bundled model           artifact -> itself
    exported OpenVINO graph -> gets its manifest     checkpoint or hub name -> prepared

Law: what is returned has been verified by digest; nothing is served from files that were not.
"""

from pathlib import Path
from typing import NamedTuple

from octant.adapters.huggingface.hub import HuggingFaceHub
from octant.adapters.openvino.exporter import SubprocessExporter
from octant.adapters.system.clock import SystemClock
from octant.app.artifacts import bundled_root
from octant.app.settings import Settings
from octant.core.stage import PREPARATION_STAGES, Stage
from octant.preparation.checkpoint import resolve_source
from octant.preparation.existing import package_existing
from octant.preparation.job import PrepareOptions, Report, StageReport, Tools
from octant.preparation.manifest import MANIFEST_FILE, ArtifactManifest, read_artifact
from octant.preparation.pipeline import prepare

BUNDLED_NAME = "octant-mini"
ARTIFACTS_DIR = "models"
DOWNLOADS_DIR = "downloads"
EXPORTED_GRAPH = "openvino_model.xml"

# int8 is ahead of bf16 at every batch size and in memory; see benchmarks/README.md.
_AUTO_WEIGHTS = "int8"


class ModelSource(NamedTuple):
    """A model that is ready to be loaded: where it lies and what it is."""

    directory: Path
    artifact: ArtifactManifest


def bundled_directory() -> Path:
    """Where the package keeps its own model."""
    return bundled_root() / BUNDLED_NAME


def find_model(settings: Settings, report: Report) -> ModelSource:
    """Prepares the model first where that has not been done, reporting each stage.

    Raises Failed with the stage that refused the model.
    """
    path = settings.model.path
    directory = Path(path).expanduser() if path else bundled_directory()
    if (directory / MANIFEST_FILE).is_file() or not path:
        return ModelSource(directory, read_artifact(directory))
    if (directory / EXPORTED_GRAPH).is_file():
        return ModelSource(directory, package_existing(directory, directory.name, _tools()))
    return _prepared(path, settings, report)


def _prepared(path: str, settings: Settings, report: Report) -> ModelSource:
    def progress(message: str) -> None:
        report(StageReport(Stage.CAPTURE, 1, len(PREPARATION_STAGES), "working", message))

    downloads = settings.data_dir / DOWNLOADS_DIR
    checkpoint = resolve_source(path, downloads, HuggingFaceHub(), progress)
    weights = settings.model.weights
    options = PrepareOptions(weights=_AUTO_WEIGHTS if weights == "auto" else weights)
    made = prepare(
        checkpoint,
        settings.data_dir / ARTIFACTS_DIR,
        options,
        _tools(),
        report,
    )
    return ModelSource(made.directory, made.manifest)


def _tools() -> Tools:
    return Tools(SubprocessExporter(), SystemClock())
