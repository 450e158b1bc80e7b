"""Chance for simulations: a seeded Entropy, and the draws that workloads are made of.

Law: equal seeds give equal draws, on every machine and Python version; `random` promises less.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

from octant.ports.entropy import Entropy

T = TypeVar("T")
_DRAW_BYTES = 4


class SeededEntropy:
    """An Entropy whose bytes follow from its seed alone. Not for secrets."""

    def __init__(self, seed: int) -> None:
        self._key = seed.to_bytes(16, "little", signed=True)
        self._blocks_drawn = 0
        self._rest = b""

    def bytes(self, count: int) -> bytes:
        """The next `count` bytes of the stream."""
        while len(self._rest) < count:
            counter = self._blocks_drawn.to_bytes(8, "little")
            self._rest += blake2b(counter, key=self._key).digest()
            self._blocks_drawn += 1
        drawn, self._rest = self._rest[:count], self._rest[count:]
        return drawn


class Dice:
    """Whole-number draws from an Entropy."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def between(self, low: int, high: int) -> int:
        """Any of `low .. high`, both included; even up to 2**-32 times the width."""
        drawn = int.from_bytes(self._entropy.bytes(_DRAW_BYTES), "little")
        return low + drawn % (high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in `percent` of all draws."""
        return self.between(1, 100) <= percent

    def pick(self, options: Sequence[T]) -> T:
        """Any of the options."""
        return options[self.between(0, len(options) - 1)]
