"""SSE: events out of the bytes of a `text/event-stream`, as they arrive.

Law: only complete events come out, and a piece may end anywhere, also within a character.
"""

from collections.abc import Iterator

MAX_EVENT_BYTES = 8 * 1024 * 1024


class SseReader:
    """Keeps the incomplete rest; only `data` comes out, comments and other fields do not."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of every event completed by `data`."""
        self._rest += data
        while (end := self._rest.find(b"\n\n")) >= 0:
            event, self._rest = self._rest[:end], self._rest[end + 2 :]
            lines = [line[5:].lstrip() for line in event.split(b"\n") if line[:5] == b"data:"]
            if lines:
                yield b"\n".join(lines)
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ValueError(f"an event of more than {MAX_EVENT_BYTES} bytes")
