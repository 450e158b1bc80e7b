"""SystemLauncher: child processes, and what a child does to live no longer than its parent.

Law: a child has its own session (a Ctrl-C in the terminal reaches the server alone, which then ends
its children in order), an empty standard input, and writes only to standard error: standard output
belongs to the command that the user typed. Whoever launches a child waits for it.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

_PR_SET_PDEATHSIG = 1
_STANDARD_ERROR = 2


class SystemChild:
    """Implements ports.process.ChildProcess."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The process id; it stays reserved until `wait` has returned."""
        return self._process.pid

    async def wait(self) -> int:
        """The exit status; negative is the number of the signal that ended it."""
        return await self._process.wait()

    def terminate(self) -> None:
        """Asks the child to leave; no effect once it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Ends the child at once, also a stopped one; no effect once it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class SystemLauncher:
    """Implements ports.process.ProcessLauncher."""

    async def launch(self, argv: Sequence[str]) -> SystemChild:
        """Raises Failed(ENGINE_UNAVAILABLE) when the program cannot be started."""
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=_STANDARD_ERROR,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(_cannot_start(argv[0], error)) from error
        return SystemChild(process)


def _cannot_start(program: str, error: OSError) -> Failure:
    return Failure(
        kind=FailureKind.ENGINE_UNAVAILABLE,
        stage=Stage.LOAD,
        message=f"The engine process cannot be started: {error.strerror}. "
        "Check that memory and process limits leave room for one more process.",
        detail={"program": program, "errno": error.errno},
    )


def live_no_longer_than(parent_pid: int) -> None:
    """Called once by a child: the kernel kills it when its parent ends, however that happens.

    Leaves at once when the parent is already gone. Where the kernel has no such service (not
    Linux), `orphaned` is the remaining check.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if orphaned(parent_pid):
        raise SystemExit("octant engine: the server that started this process is gone")


def orphaned(parent_pid: int) -> bool:
    """Whether the process that started this one has ended."""
    return os.getppid() != parent_pid


def ignore_interrupts() -> None:
    """Ctrl-C is the server's to answer; SIGTERM keeps ending the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
