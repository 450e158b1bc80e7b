"""SSE: the data of events out of the bytes of a `text/event-stream`, as they arrive. Pure.

Law: only complete events come out, whatever the pieces are; a rest without an end is bounded. Lines
end with LF or CRLF; comments and other fields are passed over.
"""

from collections.abc import Iterator

# An event holds one delta; the largest are whole tool arguments and lists of log-probabilities.
MAX_EVENT_BYTES = 1 << 20


class OversizedEvent(ValueError):
    """An event that does not end."""


class SseReader:
    """Keeps the line and the event that are not complete yet.

    `lines` counts complete lines, comments included: as long as it grows, the sender is alive.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.lines = 0
        self._max_event_bytes = max_event_bytes
        self._rest = b""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of every event that `piece` completes. Raises OversizedEvent."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self.lines += 1
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._keep(line[5:].removeprefix(b" "))
            elif not line and self._data:
                data, self._data, self._data_bytes = self._data, [], 0
                yield b"\n".join(data)
        if len(self._rest) + self._data_bytes > self._max_event_bytes:
            raise OversizedEvent(f"an event of more than {self._max_event_bytes} bytes")

    def _keep(self, data: bytes) -> None:
        self._data.append(data)
        self._data_bytes += len(data) + 1
        if self._data_bytes > self._max_event_bytes:
            raise OversizedEvent(f"an event of more than {self._max_event_bytes} bytes")
