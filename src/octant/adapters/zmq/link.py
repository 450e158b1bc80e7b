"""Links between the server and an engine process: a ZeroMQ PAIR over a Unix socket of its own.

Law: one link serves one engine process, so nothing that a dead engine left behind can reach its
successor. Both directions are bounded. The socket lies in a directory that only this user can
enter. A peer that died is noticed by waiting for its process, never here.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import zmq
import zmq.asyncio

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing zero included.
_MAX_SOCKET_PATH_BYTES = 103
_SOCKET_NAME = "link"
# A leaving engine may spend this long on handing over its last words.
_LINGER_MS = 1000


class ZmqServerLink:
    """Implements ports.link.ServerLink. Belongs to one event loop."""

    def __init__(self, run_dir: Path, max_messages: int) -> None:
        """Binds below `run_dir`; `max_messages` bounds either direction.

        Raises Failed(ENGINE_UNAVAILABLE) when no socket can be made.
        """
        self._dir = _private_dir(run_dir)
        self._address = f"ipc://{self._dir / _SOCKET_NAME}"
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, self._dir, ignore_errors=True)
            try:
                self._context = zmq.asyncio.Context()
                undo.callback(self._context.term)
                self._socket = self._context.socket(zmq.PAIR)
                undo.callback(self._socket.close, linger=0)
                self._socket.set_hwm(max_messages)
                self._socket.bind(self._address)
            except zmq.ZMQError as error:
                raise Failed(_no_socket(self._dir, str(error))) from error
            undo.pop_all()

    @property
    def address(self) -> str:
        """What the engine process connects to."""
        return self._address

    def send(self, payload: bytes) -> bool:
        """False when the engine is not there or has too many messages to read already."""
        # With DONTWAIT the future is done when it is returned.
        sent = cast("asyncio.Future[object]", self._socket.send(payload, zmq.DONTWAIT))
        return sent.exception() is None

    async def receive(self) -> bytes:
        """The next message; waits for as long as there is none."""
        return await self._socket.recv()

    def close(self) -> None:
        """Drops what is unsent and removes the socket; idempotent."""
        self._socket.close(linger=0)
        self._context.term()
        shutil.rmtree(self._dir, ignore_errors=True)


class ZmqEngineLink:
    """Implements ports.link.EngineLink. Belongs to the thread of the engine's loop."""

    def __init__(self, address: str, max_messages: int, orphaned: Callable[[], bool]) -> None:
        """Connects to a `ZmqServerLink`'s address; `orphaned` says whether its server is gone."""
        self._orphaned = orphaned
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.set_hwm(max_messages)
        self._socket.connect(address)

    def send(self, payload: bytes) -> None:
        """Waits while the server has too many messages to read already: the engine slows down."""
        self._socket.send(payload)

    def receive(self, timeout_ms: int) -> bytes | None:
        """The next message, or None when `timeout_ms` pass without one; 0 never waits.

        Raises SystemExit when none can come any more.
        """
        if timeout_ms > 0 and not self._socket.poll(timeout_ms):
            if self._orphaned():
                raise SystemExit("octant engine: the server is gone")
            return None
        with contextlib.suppress(zmq.Again):
            return self._socket.recv(zmq.DONTWAIT)
        return None

    def close(self) -> None:
        """Hands over what is unsent for a moment, then leaves; idempotent."""
        self._socket.close(linger=_LINGER_MS)
        self._context.term()


def _private_dir(run_dir: Path) -> Path:
    """A fresh directory of mode 0700, elsewhere when `run_dir` is too deep for a socket's path."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="engine-", dir=run_dir)).resolve()
        if len(bytes(made / _SOCKET_NAME)) > _MAX_SOCKET_PATH_BYTES:
            made.rmdir()
            made = Path(tempfile.mkdtemp(prefix="octant-engine-"))
    except OSError as error:
        raise Failed(_no_socket(run_dir, str(error))) from error
    return made


def _no_socket(directory: Path, reason: str) -> Failure:
    return Failure(
        kind=FailureKind.ENGINE_UNAVAILABLE,
        stage=Stage.LOAD,
        message=f"No socket for the engine process can be made in {directory}: {reason}. "
        "Choose a data directory on a local, writable file system.",
    )
