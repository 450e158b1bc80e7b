"""Entropy: the only way in for chance. Adapter: `adapters/system/entropy.py`."""

from typing import Protocol


class Entropy(Protocol):
    """A source of unpredictable bytes; tests seed it."""

    def bytes(self, count: int) -> bytes:
        """`count` fresh random bytes."""
        ...
