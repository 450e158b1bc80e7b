"""Vault: values that were taken out of a text, each under the placeholder that stands for it.

Law: a value has one placeholder and a placeholder one value, for the whole session. Text that
already spells a placeholder is itself put away, under a `LITERAL` one, so that it comes back as
what it was and never as somebody's value. Only what the vault gave out is ever restored.
"""

import re
from collections.abc import Mapping

from octant.governance.json_text import rewrite_json
from octant.governance.pii.kinds import PiiKind

MAX_VALUES = 4_096
"""Values of a session that are kept; more are redacted. A person names fewer in a lifetime, and
they travel with every turn of the session."""
_LITERAL = "LITERAL"
_LABELS: dict[PiiKind, str] = {
    PiiKind.CARD: "CARD",
    PiiKind.IBAN: "IBAN",
    PiiKind.NATIONAL_ID: "NATIONAL_ID",
    PiiKind.EMAIL: "EMAIL",
    PiiKind.PHONE: "PHONE",
    PiiKind.IP: "IP",
    PiiKind.SECRET: "SECRET",
}
_EXACT = (_LABELS[PiiKind.SECRET], _LITERAL)
_SPELLED = re.compile(rf"<(?i:{'|'.join((*_LABELS.values(), _LITERAL))})_[0-9]{{1,6}}>", re.ASCII)
PLACEHOLDER = re.compile(rf"<({'|'.join((*_LABELS.values(), _LITERAL))})_([0-9]{{1,6}})>")
PLACEHOLDER_SO_FAR = re.compile(r"<[A-Z_]{0,12}[0-9]{0,6}\Z")


class Vault:
    """The placeholders of one request, or of the session it goes on with."""

    def __init__(self, placeholders: Mapping[str, str] | None = None) -> None:
        """`placeholders` are those that a session kept."""
        self._values: dict[str, str] = dict(placeholders or {})
        self._given: dict[tuple[str, str], str] = {}
        self._last: dict[str, int] = {}
        for placeholder, value in self._values.items():
            if spelled := PLACEHOLDER.fullmatch(placeholder):
                label, number = spelled[1], int(spelled[2])
                self._given[label, _same(label, value)] = placeholder
                self._last[label] = max(self._last.get(label, 0), number)

    def __bool__(self) -> bool:
        return bool(self._values)

    @property
    def placeholders(self) -> dict[str, str]:
        """Values by placeholder, to be kept with the session."""
        return dict(self._values)

    def put(self, kind: PiiKind, value: str) -> str | None:
        """The placeholder that stands for the value; None when the vault is full."""
        return self._put(_LABELS[kind], value)

    def put_literal(self, text: str) -> str | None:
        """The placeholder of text that only looks like one; None when the vault is full."""
        return self._put(_LITERAL, text)

    def get(self, placeholder: str) -> str | None:
        """The value, if this vault gave the placeholder out."""
        return self._values.get(placeholder)

    def restore(self, text: str) -> str:
        """The text with values in place of placeholders."""
        if not self._values or "<" not in text:
            return text
        return PLACEHOLDER.sub(lambda found: self._values.get(found[0], found[0]), text)

    def restore_json(self, text: str) -> str:
        """JSON text with values, escaped, in place of placeholders; also where it is no JSON."""
        if not self._values:
            return text
        return rewrite_json(text, self._edits)

    def check_integrity(self) -> None:
        """Raises AssertionError when values and placeholders do not belong to each other."""
        assert len(self._values) <= MAX_VALUES, "the vault holds more than it may"
        assert set(self._given.values()) <= self._values.keys(), "a placeholder lost its value"
        for label, number in self._last.items():
            assert f"<{label}_{number}>" in self._values, f"the last {label} is not there"

    def _edits(self, text: str) -> list[tuple[int, int, str]]:
        return [
            (found.start(), found.end(), self._values[found[0]])
            for found in PLACEHOLDER.finditer(text)
            if found[0] in self._values
        ]

    def _put(self, label: str, value: str) -> str | None:
        known = self._given.get((label, _same(label, value)))
        if known is not None:
            return known
        if len(self._values) >= MAX_VALUES:
            return None
        self._last[label] = self._last.get(label, 0) + 1
        placeholder = f"<{label}_{self._last[label]}>"
        self._values[placeholder] = value
        self._given[label, _same(label, value)] = placeholder
        return placeholder


def spelled_placeholders(text: str) -> list[tuple[int, int]]:
    """Where plain text spells something that reads as a placeholder."""
    if "<" not in text:
        return []
    return [found.span() for found in _SPELLED.finditer(text)]


def _same(label: str, value: str) -> str:
    """What two spellings of one value have in common."""
    if label in _EXACT:
        return value
    if label in (_LABELS[PiiKind.EMAIL], _LABELS[PiiKind.IP]):
        return value.lower()
    return "".join(c for c in value if c.isalnum() or c == "+").upper()
