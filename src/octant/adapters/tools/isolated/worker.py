"""Worker: one tool call in one process. Run as `python -I -S worker.py`, never imported by Octant.

    request (JSON on stdin) -> prepare -> give every privilege away -> run -> answer (on stdout)

Law: what a model chose is computed with only after the process can no longer open a file, reach a
network, start a program or live for long. `prepare` opens what the settings name, by checked names
at most; `run` has nothing but that. The answer is one line, `ok JSON` or `error JSON`; a line that
is not whole is no answer.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

_CLONE_NEWUSER, _CLONE_NEWPID = 0x10000000, 0x20000000
_CLONE_NEWNET, _CLONE_NEWIPC = 0x40000000, 0x08000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CAPABILITY_VERSION_3 = 0x20080522


def main() -> NoReturn:
    """Answers the request on standard input and leaves, whatever happens."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    limit_time(request["seconds"])
    directory, _, file = request["program"].rpartition("/")
    sys.path.insert(0, directory)
    tool = import_module(file.removesuffix(".py"))
    line = b"error " + _encoded({"error": "the tool failed"})
    try:
        line = b"ok " + _encoded(_answer(tool, request))
    except ValueError as error:
        line = b"error " + _encoded({"error": str(error)})
    except MemoryError:
        line = b"error " + _encoded({"error": "the tool ran out of memory"})
    # A tool can fail in any way; its kind is told, its words could hold what it was given.
    except Exception as error:
        line = b"error " + _encoded({"error": f"the tool failed: {type(error).__name__}"})
    finally:
        _say(line + b"\n")
        # Nothing is left to clean up, and a finaliser could still act.
        os._exit(0)


def _answer(tool: Any, request: dict[str, Any]) -> Any:
    arguments: dict[str, Any] = request["arguments"]
    state = tool.prepare(arguments, request["context"])
    confine(request["memory_bytes"], request["require_isolation"], tool.EVENTS)
    return tool.run(arguments, state)


def limit_time(seconds: int) -> None:
    """The kernel ends this process after so many seconds, busy or not, parent or no parent."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    signal.alarm(seconds)


def confine(memory_bytes: int, require_isolation: bool, allowed: frozenset[str]) -> None:
    """Gives away every privilege that a tool does not need. There is no way back.

    Raises ValueError when isolation is required and the kernel refuses it.
    """
    if not _leave_namespaces() and require_isolation:
        raise ValueError("this machine cannot isolate tools, and the settings require it")
    # No core file with arguments in it, no file ever written, no child, few descriptors.
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 16,
    }
    # macOS knows the limit of memory and does not take it.
    if sys.platform != "darwin":
        limits[resource.RLIMIT_AS] = memory_bytes
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    sys.addaudithook(_refuse_all_but(allowed))


def _leave_namespaces() -> bool:
    """Whether the kernel took network, files, other processes and capabilities away.

    A user namespace of its own grants the right to leave the others; the right is then dropped,
    for it would also open the way back. Where it is granted, the tool goes on in a child: the first
    process of its namespace, with which everything in it ends.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC) != 0:
        return False
    child = os.fork()
    if child != 0:
        # The timer stays here: it would not end a namespace's first process, but it ends this one.
        os.waitpid(child, 0)
        os._exit(0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        # The working directory is an empty one, made for this call.
        os.chroot(".")
        os.chdir("/")
    except OSError:
        return False
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    return libc.capset(header, (ctypes.c_uint32 * 6)()) == 0


def _refuse_all_but(allowed: frozenset[str]) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook, in case the kernel did not help: sockets, files, programs, ctypes, imports."""

    def hook(event: str, _: tuple[Any, ...]) -> None:
        if event not in allowed:
            raise PermissionError(event)

    return hook


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="replace")


def _say(line: bytes) -> None:
    left = memoryview(line)
    while left:
        left = left[os.write(1, left) :]


if __name__ == "__main__":
    main()
