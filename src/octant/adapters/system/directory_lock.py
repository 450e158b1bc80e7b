"""DirectoryLock: one server for one data directory.

Law: the kernel holds the lock for as long as the process lives and not a moment longer, so a crash
leaves nothing to clean up. Budgets and rates live in a server's memory; two on one directory would
each grant all of them.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

LOCK_FILE = "server.lock"

_PRIVATE = 0o600


@contextmanager
def hold_directory(directory: Path) -> Generator[None, None, None]:
    """Raises Failed: CONFLICT while another process holds it, RECORD_NOT_STORED if it cannot be."""
    path = directory / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, _PRIVATE)
    except OSError as error:
        raise Failed(_unusable(path, error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failed(_held(directory)) from error
        except OSError as error:
            raise Failed(_unusable(path, error)) from error
        yield
    finally:
        os.close(descriptor)


def _held(directory: Path) -> Failure:
    return Failure(
        kind=FailureKind.CONFLICT,
        stage=Stage.BOUNDARY,
        message=f"Another server runs on {directory}. Stop it first, or choose another directory "
        "with --data-dir.",
    )


def _unusable(path: Path, error: OSError) -> Failure:
    return Failure(
        kind=FailureKind.RECORD_NOT_STORED,
        stage=Stage.BOUNDARY,
        message=f"{path} cannot be locked: {error.strerror}. Choose a directory on a local, "
        "writable file system with --data-dir.",
    )
