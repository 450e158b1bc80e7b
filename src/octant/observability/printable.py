"""Printable text: what a terminal may be shown of text that somebody else wrote.

Law: nothing a model, a caller or a stored record says may steer a terminal. Escape sequences, other
control characters and invisible direction marks are removed; line feeds and tabs stay.
"""

import re

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC with their text
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x9c]*|[ -/]*)$")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` without anything that could move a cursor, change a colour or reorder a line."""
    return _UNPRINTABLE.sub("", _ESCAPE_SEQUENCE.sub("", text))


class PrintableStream:
    """`printable` for text that arrives in pieces; a sequence cut in two is still recognised.

    An unfinished escape is held back until it is complete or longer than any real one.
    """

    MAX_HELD = 256

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """The part of everything so far that is safe to print now."""
        text = self._held + piece
        unfinished = _UNFINISHED.search(text)
        if unfinished is None or len(unfinished.group()) > self.MAX_HELD:
            self._held = ""
            return printable(text)
        self._held = unfinished.group()
        return printable(text[: unfinished.start()])

    def close(self) -> str:
        """What was held back and never became a sequence, made printable."""
        rest, self._held = self._held, ""
        return printable(rest)
