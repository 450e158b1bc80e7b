r"""JSON text read character by character, so that values in it can be replaced where they stand.

    {"to": "a\u0040b.c"}   ->   what each character means, and how it was written

Law: what is not replaced stays as it was written. What is replaced stands inside a string, whether
the value did or not, so valid JSON stays valid; text that is no JSON is treated in the same way.
"""

import json
import re
from collections.abc import Callable, Sequence

Edit = tuple[int, int, str]
"""From, to, and what is to stand there instead; in order, none within another."""

QUOTE = '"'
ESCAPED_QUOTE = '\\"'
_UNICODE_LENGTH = len("\\u0041")
_UNIT = re.compile(r"\\u[0-9A-Fa-f]{4}|\\.|.", re.DOTALL)
_UNFINISHED = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class JsonUnits:
    """Splits JSON text, in whatever parts it comes, into characters and their spelling."""

    def __init__(self) -> None:
        self._kept = ""

    @property
    def unfinished(self) -> int:
        """Letters of an escape that is not complete."""
        return len(self._kept)

    def feed(self, text: str) -> list[str]:
        """The spellings of the characters that are complete."""
        text = self._kept + text
        unfinished = _UNFINISHED.search(text)
        # An even number of backslashes before it means that the last one is itself escaped.
        if unfinished and _ends_escaped(text, unfinished.start()):
            unfinished = None
        self._kept = text[unfinished.start() :] if unfinished else ""
        return _UNIT.findall(text[: unfinished.start()] if unfinished else text)

    def flush(self) -> list[str]:
        """What was left unfinished, as it is."""
        kept, self._kept = self._kept, ""
        return list(kept)


def meaning(unit: str) -> str:
    """The character that a spelling stands for."""
    if len(unit) == 1:
        return unit
    if len(unit) == _UNICODE_LENGTH:
        return chr(int(unit[2:], 16))
    return _ESCAPES.get(unit[1], unit[1])


def inside(text: str) -> str:
    """The text as it stands within a JSON string, without the quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def rewrite_json(text: str, edits_of: Callable[[str], Sequence[Edit]]) -> str:
    """The JSON text with the edits that `edits_of` wants to what it means."""
    units = _UNIT.findall(text) if "\\" in text else None
    edits = edits_of(text if units is None else "".join(map(meaning, units)))
    if not edits:
        return text
    spelled: Sequence[str] = text if units is None else units
    parts: list[str] = []
    place, quotes = 0, 0
    for start, end, replacement in edits:
        parts.extend(spelled[place:start])
        quotes += sum(unit == QUOTE for unit in spelled[place:start])
        written = inside(replacement)
        parts.append(written if quotes % 2 else f'"{written}"')
        quotes += sum(unit == QUOTE for unit in spelled[start:end])
        place = end
    parts.extend(spelled[place:])
    return "".join(parts)


def _ends_escaped(text: str, place: int) -> bool:
    before = len(text[:place]) - len(text[:place].rstrip("\\"))
    return before % 2 == 1
