"""The artifact manifest: what a prepared model is, and the proof that its files are those packaged.

Law: an artifact is known by the digest of its content. Whoever opens one verifies it first; a file
that is missing or changed makes it corrupt, by name.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.record import Record, decode, encode
from octant.core.stage import Stage
from octant.ports.exporter import ParityFixture

MANIFEST_FILE = "octant-model.json"
MANIFEST_VERSION = 1

_BESIDE_THE_MODEL = frozenset({MANIFEST_FILE, "accuracy.json"})

ToolCallFormat = Literal["hermes", "none"]


class ArtifactFile(Record, frozen=True, kw_only=True):
    """One file of the artifact, by its path inside the directory."""

    path: str
    size_bytes: int
    sha256: str


class StageEvidence(Record, frozen=True, kw_only=True):
    """What one preparation stage recorded."""

    stage: Stage
    duration_ns: int
    facts: dict[str, Any]


class ArtifactManifest(Record, frozen=True, kw_only=True):
    """A prepared model. `digest` is over `files`; `recipe_key` over what it was prepared from."""

    name: str
    digest: str
    source_digest: str
    recipe_key: str
    architecture: str
    max_context: int
    vocab_size: int
    weight_precision: str
    tool_call_format: ToolCallFormat
    eos_token_ids: tuple[int, ...]
    files: tuple[ArtifactFile, ...]
    evidence: tuple[StageEvidence, ...] = ()
    fixture: ParityFixture | None = None
    created_unix_ns: int
    version: int = MANIFEST_VERSION


def list_files(directory: Path) -> tuple[ArtifactFile, ...]:
    """What the model in `directory` consists of, in order of name, with digests.

    Neither the manifest nor documents about the model (its card, its measured accuracy) are part
    of it, nor is anything in subdirectories: they change while the model stays the same.
    """
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    return tuple(
        ArtifactFile(path=path.name, size_bytes=path.stat().st_size, sha256=file_sha256(path))
        for path in paths
        if path.name not in _BESIDE_THE_MODEL and path.suffix != ".md"
    )


def content_digest(files: tuple[ArtifactFile, ...]) -> str:
    """`sha256:` and 64 hex digits over names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path}\0{file.size_bytes}\0{file.sha256}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def file_sha256(path: Path) -> str:
    """64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: Path, manifest: ArtifactManifest) -> None:
    """Durable when it returns; a reader sees the old manifest or this one."""
    partial = directory / f"{MANIFEST_FILE}.partial"
    with partial.open("wb") as file:
        file.write(msgspec.json.format(encode(manifest), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(directory / MANIFEST_FILE)


def load_manifest(directory: Path) -> ArtifactManifest:
    """The manifest, its files not looked at. Raises Failed(CORRUPT_ARTIFACT)."""
    path = directory / MANIFEST_FILE
    try:
        return decode(path.read_bytes(), ArtifactManifest)
    except FileNotFoundError as error:
        message = f"{directory} has no {MANIFEST_FILE}, so it is not a prepared model"
        raise Failed(_corrupt(message, path)) from error
    except (OSError, msgspec.DecodeError) as error:
        raise Failed(_corrupt(f"{path} cannot be read: {error}", path)) from error


def read_artifact(directory: Path) -> ArtifactManifest:
    """The manifest of a verified artifact. Raises Failed(CORRUPT_ARTIFACT) naming the file."""
    manifest = load_manifest(directory)
    for file in manifest.files:
        path = directory / file.path
        if not path.is_file():
            raise Failed(_corrupt(f"{path} is missing; prepare the model again", path))
        if path.stat().st_size != file.size_bytes or file_sha256(path) != file.sha256:
            message = f"{path} is not the file that was packaged; prepare the model again"
            raise Failed(_corrupt(message, path))
    if content_digest(manifest.files) != manifest.digest:
        path = directory / MANIFEST_FILE
        raise Failed(_corrupt(f"{path} lists other files than its digest covers", path))
    return manifest


def _corrupt(message: str, path: Path) -> Failure:
    return Failure(
        kind=FailureKind.CORRUPT_ARTIFACT,
        stage=Stage.LOAD,
        message=message,
        detail={"file": path.name},
    )
