"""Virtual clock: time that passes only when it is told to.

Law: it starts at zero and never goes back.
"""


class VirtualClock:
    """The present instant of a simulation, in nanoseconds."""

    def __init__(self) -> None:
        self._now_ns = 0

    def monotonic_ns(self) -> int:
        """Nanoseconds since the simulation began."""
        return self._now_ns

    def advance_to(self, instant_ns: int) -> None:
        """Jumps forward. Raises ValueError for an instant that has passed."""
        if instant_ns < self._now_ns:
            raise ValueError(f"{instant_ns} ns lies before {self._now_ns} ns")
        self._now_ns = instant_ns
