"""StreamLane: one text that arrives in pieces, let through as soon as no value can begin in it.

    pieces -> placeholders restored, values replaced -> pieces

Law: what comes out depends on the text alone, not on how it was cut, and no character of a value
that is to be replaced ever comes out. Held back is only what `Recogniser.open_from` names and a
placeholder that is not yet complete, so at most a long token and a private key.
"""

from collections import Counter
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from octant.governance.json_text import ESCAPED_QUOTE, QUOTE, JsonUnits, inside, meaning
from octant.governance.pii.kinds import PiiAction, PiiKind
from octant.governance.pii.plain import plain_character
from octant.governance.pii.recognise import LOOK_BEHIND, Recogniser
from octant.governance.pii.secrets import (
    LONG_TOKEN,
    PEM_DASHES,
    PEM_HEAD,
    TOKEN_TAIL,
    pem_end,
)
from octant.governance.screening import redacted
from octant.governance.vault import PLACEHOLDER, PLACEHOLDER_SO_FAR, Vault

_LONGEST_KEY = 16_384
"""Characters of a private key that are held to see its end; RSA keys of 16,384 bits have 12,700.
What is longer is nothing that an answer could need: the rest of the text goes with it."""
_KEY_LINE = 256
"""Behind so many other characters a key that has no END line is over; a line of one has 76."""
_KEY_STEP = 64
"""A key is looked at again after so many characters, or when it may have come to its end."""
_LARGEST_PIECE = 512
"""More text at once is taken in parts, so that many values in it cost no more than its length."""


class OutputRules(NamedTuple):
    """What is looked for in the output, and what happens to it."""

    recogniser: Recogniser
    actions: dict[PiiKind, PiiAction]


class Released(NamedTuple):
    """Text that may go out. `changed`: a part of it is not as the model wrote it."""

    text: str
    changed: bool


class _Replacement(NamedTuple):
    start: int
    end: int
    text: str
    kind: PiiKind | None


class _Swallow(Enum):
    TOKEN = auto()
    KEY = auto()
    REST = auto()


class StreamLane:
    """One text of one choice: its content, or the arguments of one call when `as_json`."""

    def __init__(self, rules: OutputRules, vault: Vault, *, as_json: bool = False) -> None:
        self._rules = rules
        self._vault = vault
        self._json = JsonUnits() if as_json else None
        self._before = ""
        self._text = ""
        self._spelled: list[str] | None = [] if as_json else None
        self._unseen = ""
        self._quotes = 0
        self._swallow: _Swallow | None = None
        self._look_again = 0
        self._changed = False
        self.findings: Counter[PiiKind] = Counter()
        self.blocked: PiiKind | None = None

    @property
    def held(self) -> int:
        """Characters, as they were written, that wait for what follows them."""
        waiting = len(self._text) if self._spelled is None else sum(map(len, self._spelled))
        unread = 0 if self._json is None else self._json.unfinished
        return waiting + len(self._unseen) + unread

    def feed(self, text: str) -> Released:
        """What the text sets free. After a blocked value: nothing, and `blocked` is set."""
        if len(text) <= _LARGEST_PIECE:
            return self._feed(text)
        starts = range(0, len(text), _LARGEST_PIECE)
        pieces = [self._feed(text[start : start + _LARGEST_PIECE]) for start in starts]
        changed = any(piece.changed for piece in pieces)
        return Released("".join(piece.text for piece in pieces), changed)

    def finish(self) -> Released:
        """What was still held; nothing follows."""
        if self._json is not None:
            self._take(self._json.flush())
        released = self._release(final=True)
        unseen, self._unseen = self._unseen, ""
        return released._replace(text=released.text + unseen)

    def check_integrity(self) -> None:
        """Raises AssertionError when held text and its spelling are not of one length."""
        assert self._spelled is None or len(self._spelled) == len(self._text), "spelling is lost"
        assert len(self._before) <= LOOK_BEHIND, "more is remembered than can matter"

    def _feed(self, text: str) -> Released:
        if self._json is not None:
            self._take(self._json.feed(text))
        elif text.isascii() and not self._unseen:
            self._text += text
            if self._spelled is not None:
                self._spelled.extend(text)
        else:
            self._take(text)
        return self._release(final=False)

    def _take(self, units: Sequence[str]) -> None:
        if self._spelled is None:
            self._spelled = list(self._text)
        for unit in units:
            character = plain_character(meaning(unit))
            if character:
                self._text += character
                self._spelled.append(self._unseen + unit)
                self._unseen = ""
            else:
                # What shows nothing belongs to the character behind it.
                self._unseen += unit

    def _release(self, *, final: bool) -> Released:
        self._changed = False
        parts: list[str] = []
        while self.blocked is None and self._skip_swallowed(final=final):
            if not self._step(parts, final=final):
                break
        return Released("".join(parts), self._changed)

    def _step(self, parts: list[str], *, final: bool) -> bool:
        """Lets out what is decided; True when the rest of a value has to be skipped first."""
        place = len(self._before)
        text = self._before + self._text
        end = len(text) if final else self._open_from(text, place)
        if end == place:
            return False
        for found in self._replacements(text, place):
            if found.start >= end:
                break
            if found.start < place:
                continue
            parts.append(self._pass(found.start - place))
            if not self._replace(found, parts):
                return False
            place = self._end_of(text, found, final=final)
            self._pass(place - found.start)
            if self._swallow is not None:
                return True
        if place < end:
            parts.append(self._pass(end - place))
        return False

    def _open_from(self, text: str, start: int) -> int:
        place = self._rules.recogniser.open_from(text, start)
        if self._vault and "<" in self._text:
            spelled = PLACEHOLDER_SO_FAR.search(text, start)
            if spelled:
                place = min(place, spelled.start())
        return place

    def _replacements(self, text: str, start: int) -> list[_Replacement]:
        found = [
            _Replacement(value.start, value.end, redacted(value.kind), value.kind)
            for value in self._rules.recogniser.scan(text, start)
        ]
        if self._vault and "<" in text:
            for spelled in PLACEHOLDER.finditer(text, start):
                value = self._vault.get(spelled[0])
                if value is not None:
                    found.append(_Replacement(*spelled.span(), value, None))
            found.sort(key=lambda replacement: replacement.start)
        return found

    def _replace(self, found: _Replacement, parts: list[str]) -> bool:
        """Writes what stands for a value; False when the value ends the answer."""
        if found.kind is not None:
            self.findings[found.kind] += 1
            if self._rules.actions[found.kind] is PiiAction.BLOCK:
                self.blocked = found.kind
                return False
        self._changed = True
        if self._json is None:
            parts.append(found.text)
        else:
            written = inside(found.text)
            parts.append(written if self._quotes % 2 else f'"{written}"')
        return True

    def _end_of(self, text: str, found: _Replacement, *, final: bool) -> int:
        """Where the value ends; one that may go on is skipped as it arrives."""
        if found.kind is not PiiKind.SECRET:
            return found.end
        if head := PEM_HEAD.match(text, found.start):
            self._swallow = _Swallow.KEY
            return head.end()
        if found.end == len(text) and found.end - found.start >= LONG_TOKEN and not final:
            self._swallow = _Swallow.TOKEN
        return found.end

    def _skip_swallowed(self, *, final: bool) -> bool:
        """Drops what belongs to a value that is gone already; False while that may go on."""
        match self._swallow:
            case None:
                return True
            case _Swallow.TOKEN:
                tail = TOKEN_TAIL.match(self._text)
                self._drop(tail.end() if tail else 0)
                over = final or bool(self._text)
            case _Swallow.KEY:
                if not (final or self._text.endswith("-") or len(self._text) >= self._look_again):
                    return False
                self._look_again = len(self._text) + _KEY_STEP
                held = self._text[:_LONGEST_KEY]
                end = pem_end(held, 0)
                closed = held[:end].endswith(PEM_DASHES)
                over = final or closed or len(held) - end > _KEY_LINE
                if over:
                    self._drop(end)
                elif len(held) == _LONGEST_KEY:
                    self._swallow = _Swallow.REST
                    return self._skip_swallowed(final=final)
            case _Swallow.REST:
                self._drop(len(self._text))
                over = False
        if over:
            self._swallow, self._look_again = None, 0
        return over

    def _drop(self, count: int) -> None:
        self._changed = self._changed or count > 0
        self._pass(count)

    def _pass(self, count: int) -> str:
        """Takes characters off the front, as they were written."""
        taken, self._text = self._text[:count], self._text[count:]
        self._before = (self._before + taken[-LOOK_BEHIND:])[-LOOK_BEHIND:]
        if self._spelled is None:
            return taken
        units = self._spelled[:count]
        del self._spelled[:count]
        if self._json is not None:
            self._quotes += sum(map(_is_quote, units))
        elif not self._spelled:
            self._spelled = None
        return "".join(units)


def _is_quote(spelled: str) -> bool:
    """Whether a string begins or ends here; what shows nothing may stand before the quote."""
    return spelled.endswith(QUOTE) and not spelled.endswith(ESCAPED_QUOTE)
