"""StallWatch: decides that an engine hangs.

Law: only time that this process has itself lived through counts against the engine. A server that
was stopped, or whose machine slept, finds a late clock and a healthy engine.
"""

from octant.core.units import s_from_ns


class StallWatch:
    """Told what was heard, asked at every tick."""

    def __init__(self, stall_ns: int, tick_ns: int, now_ns: int) -> None:
        self._stall_ns = stall_ns
        self._max_elapsed_ns = 2 * tick_ns
        self._ticked_ns = now_ns
        self._silent_ns = 0
        self._stuck_ns = 0
        self._step = 0

    def heard(self, step: int) -> None:
        """The engine spoke, and has executed this many steps."""
        self._silent_ns = 0
        if step != self._step:
            self._step = step
            self._stuck_ns = 0

    def tick(self, now_ns: int, outstanding: int) -> str | None:
        """Why the engine must be taken for hanging, None while it need not be."""
        elapsed_ns = min(now_ns - self._ticked_ns, self._max_elapsed_ns)
        self._ticked_ns = now_ns
        self._silent_ns += elapsed_ns
        self._stuck_ns = self._stuck_ns + elapsed_ns if outstanding else 0
        limit_s = s_from_ns(self._stall_ns)
        if self._silent_ns >= self._stall_ns:
            return f"it has said nothing for {limit_s:g} s"
        if self._stuck_ns >= self._stall_ns:
            return f"it has executed no step for {limit_s:g} s with {outstanding} requests waiting"
        return None
