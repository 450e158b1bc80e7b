"""SystemClock: the machine's clocks.

Monotonic time is CLOCK_MONOTONIC, which all processes of one machine share, so an instant taken in
the server can be compared with one taken in an engine process.
"""

import asyncio
import time

from octant.core.units import NS_PER_S


class SystemClock:
    """Implements ports.clock.Clock."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start, the same for every process until a reboot."""
        return time.monotonic_ns()

    def unix_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC; may jump when the machine's time is set."""
        return time.time_ns()

    async def sleep(self, duration_ns: int) -> None:
        """Returns after at least `duration_ns`."""
        until_ns = self.monotonic_ns() + duration_ns
        await asyncio.sleep(duration_ns / NS_PER_S)
        # Event loops round their timers, some of them down.
        left_ns = until_ns - self.monotonic_ns()
        if left_ns > 0:
            await self.sleep(left_ns)
