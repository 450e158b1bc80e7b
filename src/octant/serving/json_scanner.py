"""JsonScanner: reads JSON letter by letter and says at once when it is none.

Law: what was accepted so far is the beginning of some valid JSON text (RFC 8259), and when `done`
it is one. Memory grows with nesting only, which is bounded.
"""

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

MAX_DEPTH = 128
MAX_NUMBER_LENGTH = 400

_SPACE = " \t\n\r"
_NUMBER_LETTERS = frozenset("0123456789+-.eE")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LITERALS = {"t": "rue", "f": "alse", "n": "ull"}
_HEX = frozenset("0123456789abcdefABCDEF")


class Mark(Enum):
    """What a letter begins or ends; a number's end is not marked."""

    KEY_OPENED = auto()
    KEY_CLOSED = auto()
    VALUE_OPENED = auto()
    VALUE_CLOSED = auto()


class Marked(NamedTuple):
    """A mark and how many objects and arrays stand around what it marks."""

    mark: Mark
    depth: int


class JsonScanner:
    """The state between two letters: what may come next, and which brackets are open."""

    __slots__ = ("_expect", "_in_key", "_left", "_number", "_open")

    def __init__(self) -> None:
        self._open: list[str] = []
        self._expect: Callable[[str], Marked | None] = self._value
        self._in_key = False
        self._left = ""
        self._number = ""

    @property
    def done(self) -> bool:
        """Whether a whole value has been read."""
        return self._expect == self._nothing

    def step(self, letter: str) -> Marked | None:
        """Reads one letter. Raises ValueError when no JSON text goes on like that."""
        return self._expect(letter)

    def _value(self, letter: str) -> Marked | None:
        if letter in _SPACE:
            return None
        marked = Marked(Mark.VALUE_OPENED, len(self._open))
        if letter == '"':
            self._in_key = False
            self._expect = self._string
        elif letter in "{[":
            self._enter(letter)
        elif letter in _LITERALS:
            self._left = _LITERALS[letter]
            self._expect = self._literal
        elif letter in "-0123456789":
            self._number = letter
            self._expect = self._digits
        else:
            raise ValueError(f"{letter!r} begins no JSON value")
        return marked

    def _enter(self, bracket: str) -> None:
        if len(self._open) == MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} objects and arrays within each other")
        self._open.append(bracket)
        self._expect = self._first_key if bracket == "{" else self._first_item

    def _first_key(self, letter: str) -> Marked | None:
        return self._leave() if letter == "}" else self._key(letter)

    def _first_item(self, letter: str) -> Marked | None:
        return self._leave() if letter == "]" else self._value(letter)

    def _key(self, letter: str) -> Marked | None:
        if letter in _SPACE:
            return None
        _require(letter == '"', letter)
        self._in_key = True
        self._expect = self._string
        return Marked(Mark.KEY_OPENED, len(self._open))

    def _colon(self, letter: str) -> Marked | None:
        if letter not in _SPACE:
            _require(letter == ":", letter)
            self._expect = self._value
        return None

    def _string(self, letter: str) -> Marked | None:
        if letter == '"':
            if not self._in_key:
                return self._close()
            self._expect = self._colon
            return Marked(Mark.KEY_CLOSED, len(self._open))
        _require(letter >= " ", letter)
        if letter == "\\":
            self._expect = self._escape
        return None

    def _escape(self, letter: str) -> Marked | None:
        _require(letter in '"\\/bfnrtu', letter)
        self._left = "0000"
        self._expect = self._unicode if letter == "u" else self._string
        return None

    def _unicode(self, letter: str) -> Marked | None:
        _require(letter in _HEX, letter)
        self._left = self._left[1:]
        if not self._left:
            self._expect = self._string
        return None

    def _literal(self, letter: str) -> Marked | None:
        _require(letter == self._left[0], letter)
        self._left = self._left[1:]
        return None if self._left else self._close()

    def _digits(self, letter: str) -> Marked | None:
        if letter in _NUMBER_LETTERS and len(self._number) < MAX_NUMBER_LENGTH:
            self._number += letter
            return None
        _require(_NUMBER.fullmatch(self._number) is not None, letter)
        self._close()
        return self._expect(letter)

    def _next(self, letter: str) -> Marked | None:
        in_object = self._open[-1] == "{"
        if letter == ("}" if in_object else "]"):
            return self._leave()
        if letter not in _SPACE:
            _require(letter == ",", letter)
            self._expect = self._key if in_object else self._value
        return None

    def _nothing(self, letter: str) -> Marked | None:
        _require(letter in _SPACE, letter)
        return None

    def _leave(self) -> Marked:
        self._open.pop()
        return self._close()

    def _close(self) -> Marked:
        self._expect = self._next if self._open else self._nothing
        return Marked(Mark.VALUE_CLOSED, len(self._open))


def _require(fits: bool, letter: str) -> None:
    if not fits:
        raise ValueError(f"{letter!r} does not fit here")
