"""JSON child: a helper process that answers one line of JSON with another.

Law: the child lives exactly as long as the context is open. Its standard error goes to a log file
whose end is told when it dies early.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from octant.app.settings import environment_with
from octant.cli.http_client import unavailable
from octant.core.failure import Failed, Failure
from octant.core.record import from_builtins

_MAX_LINE_BYTES = 64 * 1024 * 1024
_STOP_GRACE_S = 10.0
_LOG_TAIL_CHARS = 2_000


class JsonChild:
    """One running child."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Sends one line and waits for the next one. Raises Failed when the child is gone."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(question).encode() + b"\n")
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._died() from error
        return await self.read()

    async def read(self) -> dict[str, Any]:
        """The next line of the child. Raises the Failed that it tells, or that it has ended."""
        stdout = self._process.stdout
        assert stdout is not None
        line = await stdout.readline()
        if not line:
            raise self._died()
        answer = json.loads(line)
        if "failure" in answer:
            raise Failed(from_builtins(answer["failure"], Failure))
        return answer

    def _died(self) -> Exception:
        said = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return unavailable(
            f"The {self._name} ended early. It last said: {said[-_LOG_TAIL_CHARS:] or 'nothing'}"
        )


@asynccontextmanager
async def json_child(
    name: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[JsonChild, None]:
    """Runs `python -m ARGUMENTS` with these variables beside its own; leaving asks it to stop and
    then makes it.
    """
    with tempfile.TemporaryDirectory(prefix="octant-") as directory:
        log = Path(directory) / "stderr"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=_MAX_LINE_BYTES,
                start_new_session=True,
                env=environment_with(environment) if environment else None,
            )
        try:
            yield JsonChild(name, process, log)
        finally:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_GRACE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
