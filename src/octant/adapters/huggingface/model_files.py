"""The JSON and text files of a model directory, read with one kind of error.

Law: a file that is absent says nothing; one that is there and cannot be understood is a corrupt
artifact, named by its path.
"""

import json
from pathlib import Path
from typing import Any, cast

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, empty when there is no file. Raises Failed(CORRUPT_ARTIFACT)."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(read_text(path))
    except ValueError as error:
        raise corrupt(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise corrupt(f"{path} holds no JSON object.")
    return cast("dict[str, Any]", value)


def read_text(path: Path) -> str:
    """The text of a file. Raises Failed(CORRUPT_ARTIFACT)."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise corrupt(f"{path} cannot be read: {error}") from error


def text_of(token: Any) -> str | None:
    """The text of a token, which is written plainly or with its properties."""
    if isinstance(token, dict):
        token = cast("dict[str, Any]", token).get("content")
    return token if isinstance(token, str) else None


def corrupt(message: str) -> Failed:
    """A model directory that cannot be served as it is."""
    return Failed(Failure(kind=FailureKind.CORRUPT_ARTIFACT, stage=Stage.LOAD, message=message))
