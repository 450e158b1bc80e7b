"""Server file: how other commands find the server that runs on a data directory.

Law: the file is there while the server answers and says where; it holds no secret. A file whose
process is gone is a leftover of a crash and counts as absent.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from octant.cli.hints import hint
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

FILE_NAME = "server.json"


class RunningServer(NamedTuple):
    """Where a server of this data directory answers."""

    url: str
    pid: int
    model: str


def find(data_dir: Path) -> RunningServer | None:
    """The server that runs on `data_dir`, or None."""
    try:
        found = json.loads((data_dir / FILE_NAME).read_text(encoding="utf-8"))
        server = RunningServer(str(found["url"]), int(found["pid"]), str(found["model"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return server if _alive(server.pid) else None


def require(data_dir: Path) -> RunningServer:
    """Raises Failed(ENGINE_UNAVAILABLE) when no server runs on `data_dir`."""
    found = find(data_dir)
    if found is None:
        raise Failed(
            Failure(
                kind=FailureKind.ENGINE_UNAVAILABLE,
                stage=Stage.BOUNDARY,
                message=f"No server runs on {data_dir}. Start one with "
                f"`{hint('serve', data_dir)}`, or name another with --url (and --key) or "
                "--data-dir.",
            )
        )
    return found


@contextmanager
def announced(data_dir: Path, server: RunningServer) -> Generator[None, None, None]:
    """The file stands for as long as this context is open, and is its writer's alone to remove."""
    path = data_dir / FILE_NAME
    written = data_dir / f"{FILE_NAME}.{server.pid}"
    written.write_text(json.dumps(server._asdict()) + "\n", encoding="utf-8")
    written.replace(path)
    try:
        yield
    finally:
        found = find(data_dir)
        if found is not None and found.pid == server.pid:
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
