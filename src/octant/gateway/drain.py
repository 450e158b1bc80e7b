"""Drain: the switch between serving and leaving, and the count of requests still inside.

Law: once draining, no new request enters and readiness is false; what is inside may finish.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class Drain:
    """Owned by the process; the application asks it at every request."""

    def __init__(self) -> None:
        self._draining = False
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def draining(self) -> bool:
        """True from `begin` on, for good."""
        return self._draining

    @property
    def inside(self) -> int:
        """Inference requests that have entered and not left."""
        return self._inside

    def begin(self) -> None:
        """Turns new requests away from now on; idempotent."""
        self._draining = True

    @contextmanager
    def request(self) -> Generator[None]:
        """Holds one place inside until the scope is left."""
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._empty.set()

    async def wait_empty(self) -> None:
        """Returns when no request is inside; the caller bounds the wait."""
        await self._empty.wait()

    def check_integrity(self) -> None:
        """The count is never negative and agrees with the event."""
        assert self._inside >= 0
        assert self._empty.is_set() == (self._inside == 0)
