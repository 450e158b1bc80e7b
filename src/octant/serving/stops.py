"""StopFinder: finds the first of several strings in text that comes in pieces.

Law: the result depends on the text alone, not on how it was cut into pieces, and each character
costs one step per string (Knuth, Morris, Pratt). First is what is complete first; of strings that
end at the same character, the longest. Text is held back only while a string may begin in it.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Found(NamedTuple):
    """`text` is free to go. With `stop`, it ends right before it and `rest` follows it."""

    text: str
    stop: str | None = None
    rest: str = ""


class _Pattern:
    """One string and how much of it the text so far ends with."""

    __slots__ = ("_borders", "matched", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        self._borders = _borders(text)

    def step(self, character: str) -> bool:
        """Whether the text now ends with all of it; it must then be started anew."""
        matched = self.matched
        while matched and self.text[matched] != character:
            matched = self._borders[matched - 1]
        if self.text[matched] == character:
            matched += 1
        self.matched = matched
        return matched == len(self.text)


class StopFinder:
    """Looks for `stops` until the first one is found, then starts anew."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Empty strings are in every text and are left out."""
        self._patterns = [_Pattern(stop) for stop in dict.fromkeys(stops) if stop]
        self._held = ""

    def feed(self, text: str) -> Found:
        """More text; what may begin a stop string waits for the next piece."""
        if not self._patterns:
            return Found(text)
        for index, character in enumerate(text):
            complete = [pattern.text for pattern in self._patterns if pattern.step(character)]
            if complete:
                stop = max(complete, key=len)
                whole = self._held + text[: index + 1]
                self._restart()
                return Found(whole[: len(whole) - len(stop)], stop, text[index + 1 :])
        whole = self._held + text
        free = len(whole) - max(pattern.matched for pattern in self._patterns)
        self._held = whole[free:]
        return Found(whole[:free])

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held = self._held
        self._restart()
        return held

    def check_integrity(self) -> None:
        """Raises AssertionError unless exactly the longest possible beginning is held."""
        longest = max((pattern.matched for pattern in self._patterns), default=0)
        assert len(self._held) == longest, "more or less is held back than may become a stop"
        for pattern in self._patterns:
            assert self._held.endswith(pattern.text[: pattern.matched]), "held text does not match"

    def _restart(self) -> None:
        self._held = ""
        for pattern in self._patterns:
            pattern.matched = 0


def _borders(text: str) -> list[int]:
    """For each prefix, the length of its longest proper prefix that is also its suffix."""
    borders = [0] * len(text)
    length = 0
    for index in range(1, len(text)):
        while length and text[index] != text[length]:
            length = borders[length - 1]
        if text[index] == text[length]:
            length += 1
        borders[index] = length
    return borders
