"""Clock: the only way in for time. Adapters: `adapters/system/clock.py`, virtual ones in tests."""

from typing import Protocol


class Clock(Protocol):
    """Monotonic time for durations and deadlines, wall-clock time for records."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; comparable across the processes of one machine."""
        ...

    def unix_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        ...

    async def sleep(self, duration_ns: int) -> None:
        """Returns after at least `duration_ns`."""
        ...
