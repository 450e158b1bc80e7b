"""HuggingFaceHub: downloads checkpoints and verifies them against what the hub states.

Law: a file counts as received when its digest is the one in the hub's listing of one fixed commit;
only configuration, tokenizer and safetensors are asked for, so no code and no pickle arrives.
"""

import hashlib
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

from huggingface_hub import (
    HfApi,
    hf_hub_download,  # pyright: ignore[reportUnknownVariableType] # bare Dict in its signature
)
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils.tqdm import disable_progress_bars

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.ports.exporter import OnProgress

WANTED = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
LISTING_TIMEOUT_S = 10.0

_MIB = 1 << 20


class HuggingFaceHub:
    """Implements ports.hub.Hub. `endpoint` None is the public hub; `token` opens gated models."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self._endpoint = endpoint
        self._token = token

    def download(self, name: str, target: Path, progress: OnProgress) -> None:
        """Writes the checkpoint `name` into `target`; goes on where an earlier try stopped."""
        disable_progress_bars()
        try:
            commit, files = self._list(name)
            for file in files:
                progress(f"downloading {file.rfilename} ({(file.size or 0) / _MIB:.0f} MiB)")
                self._fetch(name, commit, file.rfilename, target)
        except RepositoryNotFoundError as error:
            message = f"the hub has no model {name}, or does not show it without a token"
            raise Failed(_failure(FailureKind.MODEL_NOT_FOUND, message, error)) from error
        except (HfHubHTTPError, OSError) as error:
            message = (
                f"{name} is no local directory, and the model hub cannot be reached to download "
                "it; check the network, or give the path of a checkpoint on this machine"
            )
            raise Failed(_failure(FailureKind.UPSTREAM_FAILURE, message, error)) from error
        for file in files:
            _verify(target / file.rfilename, file)
        shutil.rmtree(target / ".cache", ignore_errors=True)

    def _list(self, name: str) -> tuple[str, Sequence[Any]]:
        api = HfApi(endpoint=self._endpoint, token=self._token)
        info = api.model_info(name, files_metadata=True, timeout=LISTING_TIMEOUT_S)
        files = [file for file in info.siblings or () if _is_wanted(file.rfilename)]
        return cast("str", info.sha), files

    def _fetch(self, name: str, commit: str, path: str, target: Path) -> None:
        hf_hub_download(
            name,
            path,
            revision=commit,
            local_dir=target,
            endpoint=self._endpoint,
            token=self._token,
        )


def _is_wanted(path: str) -> bool:
    return "/" not in path and any(fnmatch(path, pattern) for pattern in WANTED)


def _verify(path: Path, listed: Any) -> None:
    """Large files are listed with their SHA-256, small ones with their git object id."""
    if listed.lfs is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        stated = listed.lfs.sha256
    else:
        content = path.read_bytes()
        # Git's own naming of content, which is what the hub states; no security rests on it.
        found = hashlib.sha1(
            b"blob %d\0" % len(content) + content, usedforsecurity=False
        ).hexdigest()
        stated = listed.blob_id
    if found != stated:
        path.unlink()
        message = f"{path.name} is not the file that the hub lists; it was removed, start again"
        raise Failed(_failure(FailureKind.CORRUPT_ARTIFACT, message, None))


def _failure(kind: FailureKind, message: str, cause: Exception | None) -> Failure:
    detail = {"cause": type(cause).__name__} if cause else {}
    return Failure(kind=kind, stage=Stage.CAPTURE, message=message, detail=detail)
