"""The policy file: read once at the start, from where the settings say or from the package."""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

from octant.app.settings import Settings
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.governance.document import PolicyDocument
from octant.governance.document_reader import parse_policy

BUILT_IN = "default_policy.toml"


class PolicyFile(NamedTuple):
    """A document with its text and its place; `path` None is the one that comes with Octant."""

    document: PolicyDocument
    text: str
    path: Path | None


def policy_in_force(settings: Settings) -> PolicyFile:
    """The policy that the settings name. Raises as `policy_from`."""
    if settings.policy.path:
        return policy_from(Path(settings.policy.path).expanduser())
    return built_in_policy()


def built_in_policy() -> PolicyFile:
    """The policy that comes with Octant."""
    text = (resources.files("octant.governance") / BUILT_IN).read_text(encoding="utf-8")
    return PolicyFile(parse_policy(text, BUILT_IN), text, None)


def policy_from(path: Path) -> PolicyFile:
    """Raises Failed(NOT_FOUND, INVALID_VALUE or UNKNOWN_PARAMETER) with file, line and remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        message = f"{path}: there is no such policy file; check policy.path."
        raise _unreadable(FailureKind.NOT_FOUND, message) from error
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}."
        raise _unreadable(FailureKind.INVALID_VALUE, message) from error
    except UnicodeDecodeError as error:
        message = f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}."
        raise _unreadable(FailureKind.INVALID_VALUE, message) from error
    return PolicyFile(parse_policy(text, str(path)), text, path)


def _unreadable(kind: FailureKind, message: str) -> Failed:
    return Failed(Failure(kind=kind, stage=Stage.GOVERNANCE, message=message, param="policy.path"))
