"""A tool that tries to leave its process. It runs isolated, so it imports the standard library.

Nothing is refused by the interpreter here, so what fails was refused by the kernel.
"""

import ctypes
import encodings.idna as _idna  # Nothing can be imported later, and host names need it.
import os
import signal
import socket
import subprocess
import time
from typing import Any


class _Everything(frozenset[str]):
    def __contains__(self, _: object) -> bool:
        return True


EVENTS: frozenset[str] = _Everything()


def prepare(arguments: dict[str, Any], context: dict[str, Any]) -> None:
    """Keeps nothing."""


def run(arguments: dict[str, Any], state: None) -> dict[str, Any]:
    """Does what `do` says; `{"done": ...}`, or the name of the exception that stopped it."""
    try:
        return {"done": globals()[f"_{arguments['do']}"](arguments.get("with"))}
    except MemoryError:
        raise
    except Exception as error:
        return {"stopped_by": type(error).__name__}


def _read_file(path: str) -> str:
    with open(path) as file:
        return file.read(100)


def _list_root(_: None) -> list[str]:
    return os.listdir("/")


def _write_file(_: None) -> int:
    with open("leak", "wb") as file:
        return file.write(b"x" * 100_000)


def _connect(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return "connected"


def _resolve(_: None) -> str:
    assert _idna is not None
    return socket.gethostbyname("localhost.localdomain.example")


def _start_program(_: None) -> int:
    return subprocess.run(["/bin/sh", "-c", "true"]).returncode


def _environment(_: None) -> dict[str, str]:
    return dict(os.environ)


def _descriptors(_: None) -> list[int]:
    found = []
    for number in range(3, 64):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


def _leave_chroot(_: None) -> list[str]:
    os.mkdir("below")
    os.chroot("below")
    for _up in range(64):
        os.chdir("..")
    os.chroot(".")
    return os.listdir("/")


def _new_namespace(_: None) -> int:
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    return 0


def _children(leave_group: bool) -> None:
    """Starts three processes, and goes on with them for long."""
    for _ in range(3):
        if os.fork() == 0:
            if leave_group:
                os.setsid()
            time.sleep(600)
            os._exit(0)
    time.sleep(600)


def _child_and_answer(_: None) -> str:
    """Answers while a child goes on, with the same standard output."""
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    return "answered"


def _signal(pid: int) -> None:
    os.kill(pid, 0)


def _spin(_: None) -> None:
    while True:
        pass


def _sleep(_: None) -> None:
    time.sleep(60)


def _eat_memory(_: None) -> int:
    return len([bytearray(1 << 20) for _ in range(4_096)])


def _flood(_: None) -> None:
    while True:
        os.write(1, b"x" * 65_536)


def _long_answer(count: int) -> str:
    return "x" * count


def _garbage(text: str) -> None:
    os.write(1, text.encode())
    os._exit(0)


def _crash(_: None) -> bytes:
    return ctypes.string_at(0)


def _ignore_signals(_: None) -> None:
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(60)


def _say_error(text: str) -> None:
    raise RuntimeError(text)


def _import(name: str) -> str:
    return __import__(name).__name__
