"""Plain text: what a text reads as once its disguises are off.

Digits of every script become 0-9, wide letters ASCII, every kind of space a blank and every kind
of dash a hyphen; what shows nothing (zero-width characters, soft hyphens, combining marks) goes
away. Law: each character becomes one or none, so that every place in the plain text has its place
in the original.
"""

import unicodedata
from typing import NamedTuple

_MAX_REMEMBERED = 8_192
"""Characters whose plain form is kept: more than any text uses, and a bound against one that
tries them all."""


class PlainText(NamedTuple):
    """`places[i]` is where character `i` of `text` stands in the original; None: where it stands
    here."""

    text: str
    places: list[int] | None

    def original(self, index: int, end: int) -> int:
        """The place in the original of `index`, or `end` when it is behind the last character."""
        if self.places is None:
            return index
        return self.places[index] if index < len(self.places) else end


class _PlainForms(dict[int, str]):
    def __missing__(self, code: int) -> str:
        form = _plain_form(chr(code))
        if len(self) < _MAX_REMEMBERED:
            self[code] = form
        return form


_FORMS = _PlainForms()
_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def plain(text: str) -> PlainText:
    """The plain text with the places its characters came from."""
    if text.isascii():
        return PlainText(text, None)
    translated = text.translate(_FORMS)
    if len(translated) == len(text):
        return PlainText(translated, None)
    places = [place for place, character in enumerate(text) if _FORMS[ord(character)]]
    return PlainText(translated, places)


def plain_character(character: str) -> str:
    """The plain form of one character: one character, or none."""
    return character if character < "\x80" else _FORMS[ord(character)]


def lowered(text: str) -> str:
    """The text with A-Z in lower case, every character in its place."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _plain_form(character: str) -> str:
    if character < "\x80":
        return character
    if character in "\x85\u2028\u2029":
        return "\n"
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Zs":
        return " "
    if category == "Pd" or character == "\u2212":
        return "-"
    if category in ("Cf", "Mn", "Me"):
        return ""
    compatible = unicodedata.normalize("NFKC", character)
    return compatible if len(compatible) == 1 and compatible.isascii() else character
