"""Child: one tool process, from its start until it is reaped.

Law: the process leads a session and group of its own, inherits no environment and no descriptor but
its three, and works in an empty directory made for it. Whatever happens, its whole group is killed
before it is reaped, so the number that is signalled is still its own.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import IO

_WORKER = Path(__file__).parent / "isolated" / "worker.py"
# Isolated and without site: nothing of the environment or of installed packages takes part.
_ARGV = (sys.executable, "-I", "-S", "-X", "utf8", str(_WORKER))


class Child:
    """`run` in a thread, `kill` from anywhere."""

    def __init__(self, request: bytes, max_bytes: int) -> None:
        self._request = request
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._unwanted = False

    def run(self) -> bytes | None:
        """The first line that the process wrote, one byte more than the bound of one too long.

        Blocks until the process is gone. None when it was killed before it began. Raises OSError
        when it cannot be started.
        """
        with TemporaryDirectory(prefix="octant-tool-", ignore_cleanup_errors=True) as directory:
            process = self._start(directory)
            if process is None:
                return None
            try:
                return self._exchange(process)
            finally:
                self._reap(process)

    def kill(self) -> None:
        """Ends the process and everything it started, now or as soon as it is there."""
        with self._lock:
            self._unwanted = True
            if self._process is not None:
                _kill_group(self._process.pid)

    def _start(self, directory: str) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._unwanted:
                return None
            self._process = subprocess.Popen(
                _ARGV,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=directory,
                env={},
                start_new_session=True,
            )
            return self._process

    def _exchange(self, process: subprocess.Popen[bytes]) -> bytes:
        stdin, stdout = _pipes(process)
        # It may end before it has read all; what it said, if anything, decides.
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(self._request)
        return stdout.readline(self._max_bytes + 1)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            _kill_group(process.pid)
            process.wait()
            self._process = None
        _pipes(process)[1].close()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None and process.stdout is not None, "started with two pipes"
    return process.stdin, process.stdout


def _kill_group(pid: int) -> None:
    # Where only a zombie is left of it, some systems refuse to signal.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
