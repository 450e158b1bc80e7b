"""The workspace: where a preparation keeps what it has finished, to go on after a crash.

    <root>/.preparing/<recipe key>/<step>/           finished, with `result.json` beside its files
    <root>/.preparing/<recipe key>/<step>.partial/   never trusted, removed at the next start

Law: a step is finished when its directory has its final name, and is then never run again for the
same recipe. One process at a time works on a recipe. The prepared model leaves by one rename.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.record import to_builtins
from octant.core.stage import Stage

_RESULT_FILE = "result.json"
_T = TypeVar("_T")


class Finished(NamedTuple):
    """The directory of a finished step, and whether it was found rather than made."""

    directory: Path
    resumed: bool


class Workspace:
    """Steps of one preparation. Made by `open_workspace`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def step(self, name: str, kind: type[_T], build: Callable[[Path], _T]) -> tuple[_T, Finished]:
        """The result of `build` and its directory, from an earlier start where there is one."""
        final = self._directory / name
        result_path = final / _RESULT_FILE
        if result_path.is_file():
            result = msgspec.convert(msgspec.json.decode(result_path.read_bytes()), kind)
            return result, Finished(final, resumed=True)
        partial = self._directory / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        result = build(partial)
        (partial / _RESULT_FILE).write_bytes(msgspec.json.encode(to_builtins(result)))
        _flush(partial)
        partial.rename(final)
        return result, Finished(final, resumed=False)

    def fresh(self, name: str) -> Path:
        """An empty directory that no later start will use."""
        path = self._directory / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path


@contextmanager
def open_workspace(root: Path, recipe_key: str) -> Generator[Workspace]:
    """The workspace of a recipe. Raises Failed(CONFLICT) when another process is preparing it.

    Gone after success and after a failure, because going on would end the same way. Kept when the
    process was ended, and when memory ran out: then more of it may be free at the next start.
    """
    directory = root / ".preparing" / recipe_key[:32]
    directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(lock, directory)
        try:
            yield Workspace(directory)
        except Failed as failed:
            if failed.failure.kind is not FailureKind.INSUFFICIENT_MEMORY:
                shutil.rmtree(directory, ignore_errors=True)
            raise
        shutil.rmtree(directory)
    finally:
        os.close(lock)


def publish(made: Path, final: Path) -> None:
    """Moves a finished directory to where readers look, in place of one of the same name."""
    replaced = made.with_name("replaced")
    if final.exists():
        # The name says the content, so what stands there is the same or damaged.
        final.rename(replaced)
    _flush(made)
    made.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)
    _fsync(final.parent)


def _flush(directory: Path) -> None:
    """Contents first: a name that survives a power cut must not stand for less than it says."""
    for path in directory.iterdir():
        _fsync(path)
    _fsync(directory)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = "another process is preparing this model; wait for it, or end it and start again"
        raise Failed(
            Failure(
                kind=FailureKind.CONFLICT,
                stage=Stage.CAPTURE,
                message=message,
                detail={"workspace": str(directory)},
            )
        ) from error
