"""Link: messages between the server process and one engine process, in order, both ways.

Adapter: `adapters/zmq/link.py`. Payloads are opaque bytes; `serving/messages/` gives them meaning.
"""

from typing import Protocol


class ServerLink(Protocol):
    """The server's end, one for each engine process: owns the address."""

    @property
    def address(self) -> str:
        """What the engine process connects to."""
        ...

    def send(self, payload: bytes) -> bool:
        """Hands over or refuses at once; False when the engine has too much to read already."""
        ...

    async def receive(self) -> bytes:
        """The next message; waits for as long as there is none."""
        ...

    def close(self) -> None: ...


class EngineLink(Protocol):
    """The engine's end, used from its one loop."""

    def send(self, payload: bytes) -> None:
        """Waits while the server has too much to read already."""
        ...

    def receive(self, timeout_ms: int) -> bytes | None:
        """The next message, or None when `timeout_ms` pass without one; 0 never waits."""
        ...

    def close(self) -> None: ...
