"""Link: messages between the server process and one engine process, in order, both ways.

Adapter: `adapters/zmq/link.py`. Payloads are opaque bytes; `serving/messages/` gives them meaning.
"""

from typing import Protocol


class ServerLink(Protocol):
    """The server's end: owns the address, outlives engine processes."""

    @property
    def address(self) -> str:
        """What the engine process connects to."""
        ...

    async def send(self, payload: bytes) -> None: ...

    async def receive(self) -> bytes: ...

    def close(self) -> None: ...


class EngineLink(Protocol):
    """The engine's end, used from its one loop."""

    def send(self, payload: bytes) -> None: ...

    def receive(self, timeout_ms: int) -> bytes | None:
        """The next message, or None when `timeout_ms` pass without one; 0 never waits."""
        ...

    def close(self) -> None: ...
