"""Artifacts: where recipes and their files lie, and the proof that they are what a recipe pins.

Law: a recipe is made over files that were just verified, and deployed only while they still are.
The figures of a recipe stand beside its file, written by `octant recipes measure` and by nothing
else; what comes with the package is named `bundled:...`, so that it is found wherever it is
installed.
"""

import asyncio
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import msgspec

from octant.app import layers
from octant.app.settings import Settings
from octant.core.deployment import Recipe
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.limits import Profile
from octant.core.record import decode
from octant.core.stage import Stage
from octant.lifecycle.recipe_files import BUNDLED_SCHEME, RECIPE_SUFFIX, RecipeFile, parse_toml
from octant.lifecycle.recipes import EngineChoices, Measurement, complete
from octant.preparation.manifest import ArtifactManifest, read_artifact

MEASURED_SUFFIX = ".measured.json"

# More deployments than that do not run at once.
_REMEMBERED = 16
_BUNDLED = "bundled"
_RECIPES = "recipes"


class FileStamp(NamedTuple):
    """A file as the file system tells it apart from what it was before."""

    name: str
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


class RecipeSource(NamedTuple):
    """A recipe file with what is known beside it."""

    path: Path
    file: RecipeFile
    measurement: Measurement | None


def bundled_root() -> Path:
    """Where the package keeps its own model and recipes."""
    return Path(str(files("octant"))) / _BUNDLED


def bundled_recipes() -> tuple[Path, ...]:
    """The recipe files of the package, in order of name."""
    return tuple(sorted((bundled_root() / _RECIPES).glob(f"*{RECIPE_SUFFIX}")))


def find_recipe(named: str) -> RecipeSource | None:
    """The recipe file of that path, or the package's recipe of that name; None for neither."""
    path = Path(named)
    if path.is_file():
        return read_recipe(path)
    bundled = {path.stem: path for path in bundled_recipes()}
    return read_recipe(bundled[named]) if named in bundled else None


def measured_path(recipe: Path) -> Path:
    """Where the figures of a recipe file stand."""
    return recipe.with_name(recipe.name.removesuffix(RECIPE_SUFFIX) + MEASURED_SUFFIX)


def directory_of(location: str, beside: Path | None = None) -> Path:
    """The directory that a recipe names; a relative one is meant from the recipe's own place.

    Raises Failed(INVALID_VALUE) when a relative one comes without a place.
    """
    if location.startswith(BUNDLED_SCHEME):
        directory = (bundled_root() / location.removeprefix(BUNDLED_SCHEME)).resolve()
        if directory.is_relative_to(bundled_root().resolve()):
            return directory
        raise Failed(_misplaced(f"`{location}` lies outside of the package"))
    path = Path(location).expanduser()
    if path.is_absolute():
        return path
    if beside is None:
        raise Failed(_misplaced(f"`{location}` is relative, and to what is not known here"))
    return (beside / path).resolve()


def read_recipe(path: Path) -> RecipeSource:
    """Raises Failed with NOT_FOUND, or with the field that is wrong."""
    file = parse_toml(_text(path), str(path))
    if not file.artifact.startswith(BUNDLED_SCHEME):
        location = str(directory_of(file.artifact, path.parent))
        file = msgspec.structs.replace(file, artifact=location)
    return RecipeSource(path, file, _measurement(measured_path(path)))


def complete_recipe(source: RecipeSource, settings: Settings) -> Recipe:
    """The recipe over its verified artifact. Raises Failed, also CORRUPT_ARTIFACT."""
    file = source.file
    artifact = verified_files(directory_of(file.artifact))
    choices = engine_choices(settings, file.profile)
    return complete(file, file.artifact, artifact, choices, source.measurement)


def engine_choices(settings: Settings, profile: Profile) -> EngineChoices:
    """What applies where a recipe says nothing."""
    engine = settings.engine
    return EngineChoices(
        engine_version=version("openvino"),
        kv_precision=engine.kv_precision,
        inference_precision=engine.inference_precision,
        dynamic_quantization_group_size=engine.dynamic_quantization_group_size,
        threads=engine.threads,
        max_sequences=settings.scheduler.max_sequences,
        max_context=engine.max_context,
        objective=layers.objectives(settings)[profile],
        price=layers.price(settings),
    )


class LocalArtifacts:
    """Implements lifecycle.administration.Artifacts over this machine's files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def complete(self, file: RecipeFile, measurement: Measurement | None) -> Recipe:
        """Over files that were verified, on a thread."""
        return await asyncio.to_thread(self._complete, file, measurement)

    def _complete(self, file: RecipeFile, measurement: Measurement | None) -> Recipe:
        known = measurement or _bundled_measurement(file)
        return complete_recipe(RecipeSource(Path(), file, known), self._settings)

    async def verify(self, recipe: Recipe) -> None:
        """Raises Failed(CORRUPT_ARTIFACT)."""
        await asyncio.to_thread(verified, recipe)


def verified(recipe: Recipe) -> ArtifactManifest:
    """The manifest of a recipe's files. Raises Failed(CORRUPT_ARTIFACT) when they are others."""
    directory = directory_of(recipe.location)
    artifact = verified_files(directory)
    if artifact.digest != recipe.artifact_digest:
        raise Failed(
            Failure(
                kind=FailureKind.CORRUPT_ARTIFACT,
                stage=Stage.LOAD,
                message=f"{directory} holds another artifact ({artifact.digest}) than the recipe "
                f"{recipe.name} pins ({recipe.artifact_digest}). Put the old one back, or register "
                "the recipe anew.",
                detail={"pinned": recipe.artifact_digest, "found": artifact.digest},
            )
        )
    return artifact


def verified_files(directory: Path) -> ArtifactManifest:
    """The manifest of a directory whose files are those of it. Raises Failed(CORRUPT_ARTIFACT).

    Gigabytes take seconds to read: files that did not change since are not read again.
    """
    return _verified(directory, _stamp(directory))


@lru_cache(maxsize=_REMEMBERED)
def _verified(directory: Path, _: tuple[FileStamp, ...]) -> ArtifactManifest:
    return read_artifact(directory)


def _stamp(directory: Path) -> tuple[FileStamp, ...]:
    """What tells that a file was written; a missing directory has no files."""
    if not directory.is_dir():
        return ()
    stats = [(path.name, path.stat()) for path in sorted(directory.iterdir()) if path.is_file()]
    return tuple(
        FileStamp(name, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        for name, stat in stats
    )


def _bundled_measurement(file: RecipeFile) -> Measurement | None:
    if not file.artifact.startswith(BUNDLED_SCHEME):
        return None
    return _measurement(bundled_root() / _RECIPES / f"{file.name}{MEASURED_SUFFIX}")


def _measurement(path: Path) -> Measurement | None:
    """None where nothing was measured. Raises Failed(INVALID_VALUE) for a file that is none."""
    try:
        return decode(path.read_bytes(), Measurement)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        message = f"{path} cannot be read: {error}. Measure the recipe again."
        raise Failed(_misplaced(message)) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Failed(
            Failure(
                kind=FailureKind.NOT_FOUND,
                stage=Stage.PACKAGE,
                message=f"{path} cannot be read: {told}. Name a recipe file.",
                param="recipe",
            )
        ) from error


def _misplaced(message: str) -> Failure:
    return Failure(
        kind=FailureKind.INVALID_VALUE,
        stage=Stage.PACKAGE,
        message=message,
        param="artifact",
    )
