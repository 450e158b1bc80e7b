"""The checkpoint: what a user hands in, looked at before any tool is started.

    name or path -> resolve_source -> directory -> read_checkpoint -> Checkpoint

Law: only safetensors and JSON are read. A pickle can run code when it is opened, so a checkpoint
that has nothing else is refused, and one that has both is served from its safetensors alone.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.ports.exporter import OnProgress
from octant.ports.hub import Hub
from octant.preparation.architectures import require_supported
from octant.preparation.manifest import file_sha256

CONFIG_FILE = "config.json"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_FILES = (
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class Checkpoint(NamedTuple):
    """A checkpoint that may be prepared. `digest` covers weights, configuration and tokenizer."""

    directory: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]
    digest: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.directory.name


def resolve_source(name_or_path: str, downloads: Path, hub: Hub, progress: OnProgress) -> Path:
    """The local directory of a checkpoint, downloaded first when it is a hub's name.

    Raises Failed(MODEL_NOT_FOUND) when it is neither a directory nor a possible name, and what
    `Hub.download` raises.
    """
    local = Path(name_or_path).expanduser()
    if name_or_path and local.is_dir():
        return local.resolve()
    if local.exists() or not _HUB_NAME.fullmatch(name_or_path):
        message = f"{name_or_path} is neither a directory nor a name that a model hub could have"
        raise Failed(_refused(message, FailureKind.MODEL_NOT_FOUND))
    target = downloads / name_or_path.replace("/", "--")
    if not target.is_dir():
        partial = downloads / f".{target.name}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        progress(f"downloading {name_or_path}")
        hub.download(name_or_path, partial, progress)
        partial.rename(target)
    return target


def read_checkpoint(directory: Path, progress: OnProgress) -> Checkpoint:
    """Raises Failed(UNSUPPORTED_MODEL or CORRUPT_ARTIFACT) naming what stands in the way."""
    config = read_json(directory / CONFIG_FILE)
    require_supported(config)
    weights = _weight_files(directory)
    progress(f"computing the digest of {len(weights)} weight files")
    present = [directory / name for name in TOKENIZER_FILES if (directory / name).is_file()]
    digest = hashlib.sha256()
    for path in (directory / CONFIG_FILE, *weights, *present):
        digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return Checkpoint(directory, config, weights, f"sha256:{digest.hexdigest()}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises Failed(CORRUPT_ARTIFACT) naming the file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError as error:
        message = f"{path.parent} has no {path.name}, so it is not a checkpoint"
        raise Failed(_refused(message, FailureKind.CORRUPT_ARTIFACT)) from error
    except (OSError, msgspec.DecodeError) as error:
        message = f"{path} cannot be read: {error}"
        raise Failed(_refused(message, FailureKind.CORRUPT_ARTIFACT)) from error


def _weight_files(directory: Path) -> tuple[Path, ...]:
    if (directory / WEIGHTS_INDEX).is_file():
        table = cast("dict[str, str]", read_json(directory / WEIGHTS_INDEX).get("weight_map", {}))
        weights = tuple(directory / name for name in sorted(set(table.values())))
    else:
        weights = tuple(sorted(directory.glob("*.safetensors")))
    missing = [path.name for path in weights if not path.is_file()]
    if missing:
        message = f"{directory} lacks {', '.join(missing)}, which {WEIGHTS_INDEX} names"
        raise Failed(_refused(message, FailureKind.CORRUPT_ARTIFACT))
    if weights:
        return weights
    pickles = [path.name for pattern in _PICKLES for path in directory.glob(pattern)]
    if pickles:
        message = (
            f"{directory} has its weights in {', '.join(sorted(pickles))}, a pickle that can run "
            "code when it is opened; get the model as safetensors"
        )
        raise Failed(_refused(message, FailureKind.UNSUPPORTED_MODEL))
    raise Failed(_refused(f"{directory} has no *.safetensors", FailureKind.CORRUPT_ARTIFACT))


def _refused(message: str, kind: FailureKind) -> Failure:
    return Failure(kind=kind, stage=Stage.CAPTURE, message=message)
