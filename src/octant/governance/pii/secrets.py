"""Secrets: tokens by their issuer's prefix, private keys, JWTs, and what stands behind `key=`.

Law: every token has a digit in it, so text without digits has none; a value behind a name such as
`password` is one only if it looks drawn at random or chosen as a password, so that prose about
passwords stays prose. A token ends where its alphabet ends, however long it is.
"""

import re
from collections import Counter
from collections.abc import Iterator
from math import log2

from octant.governance.pii.kinds import Finding, PiiKind
from octant.governance.pii.plain import lowered

_TOKEN = "[A-Za-z0-9_-]"
_ISSUERS: tuple[tuple[str, str], ...] = (
    ("sk-", _TOKEN + "{20,}"),
    ("sk_live_", "[A-Za-z0-9]{16,}"),
    ("sk_test_", "[A-Za-z0-9]{16,}"),
    ("rk_live_", "[A-Za-z0-9]{16,}"),
    ("ghp_", "[A-Za-z0-9]{36,}"),
    ("gho_", "[A-Za-z0-9]{36,}"),
    ("ghu_", "[A-Za-z0-9]{36,}"),
    ("ghs_", "[A-Za-z0-9]{36,}"),
    ("ghr_", "[A-Za-z0-9]{36,}"),
    ("github_pat_", "[A-Za-z0-9_]{22,}"),
    ("glpat-", _TOKEN + "{20,}"),
    ("xoxb-", "[A-Za-z0-9-]{16,}"),
    ("xoxp-", "[A-Za-z0-9-]{16,}"),
    ("xoxa-", "[A-Za-z0-9-]{16,}"),
    ("xoxs-", "[A-Za-z0-9-]{16,}"),
    ("AKIA", "[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("ASIA", "[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("AIza", _TOKEN + "{35,}"),
    ("npm_", "[A-Za-z0-9]{36,}"),
    ("hf_", "[A-Za-z0-9]{30,}"),
    ("SG.", _TOKEN + r"{16,64}\." + _TOKEN + "{16,}"),
    ("pypi-", _TOKEN + "{32,}"),
    ("dop_v1_", "[a-f0-9]{64}"),
    ("shpat_", "[A-Fa-f0-9]{32,}"),
    ("oct_", "[a-z2-7]{4,}_[a-z2-7]{16,}"),
    ("eyJ", _TOKEN + r"{8,400}\." + _TOKEN + r"{8,}(?:\." + _TOKEN + "*)?"),
)
PREFIXES = tuple(prefix for prefix, _ in _ISSUERS)
_BY_PREFIX = tuple(
    (prefix, re.compile(rf"(?<![A-Za-z0-9]){re.escape(prefix)}{body}")) for prefix, body in _ISSUERS
)
MAX_LABEL = 24
"""Characters from the start of a name such as `passphrase` to its value, at the most."""
VALUE = r"[A-Za-z0-9_\-.+/=~!@#$%^&*]"
_NAMES = ("passw", "passphrase", "pwd", "token", "secret", "credential", "key", "bearer")
_NAME = r"(?i:passw(?:or)?d|passphrase|pwd|token|secret|credential|key)"
_ASSIGNED = r"""["']?[ \t]{0,2}(?::=|=>|[:=])[ \t]{0,2}["']?"""
_LABEL = rf"(?:{_NAME}{_ASSIGNED}|(?i:\bbearer)[ \t]{{1,2}})"
_LABELLED = re.compile(rf"{_LABEL}({VALUE}{{8,}})")
LABELLED_SO_FAR = re.compile(rf"{_LABEL}(?P<value>{VALUE}{{0,512}})\Z")
"""What can still become a value behind a name; 512 is `LONG_TOKEN`."""
_CHOSEN = ("passw", "passphrase", "pwd")
_SHORTEST_KEY = 16
_LEAST_BITS = 3.2
"""Shannon entropy of a character. Hexadecimal keys of 32 digits have 3.5 and more, words of
English and paths less than 3.2 unless they are long; measured on the corpus of the tests."""
PEM_DASHES = "-----"
PEM_HEAD = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_SPACE = r"(?:\s|\\[nr]){0,8}"
_PEM_LINE = re.compile(
    _PEM_SPACE + r"(?:(?:Proc-Type|DEK-Info|Version|Comment): ?[^\n\\]{1,80}|[A-Za-z0-9+/=]{16,})"
)
_PEM_END = re.compile(
    _PEM_SPACE + r"(?:[A-Za-z0-9+/=]{1,76})?" + _PEM_SPACE + r"-----END [A-Z0-9 ]{0,40}-----"
)
LONG_TOKEN = 512
"""So long a token is one before its end is seen, and all that goes on with it goes too."""
TOKEN_BODY = "[A-Za-z0-9_.-]"
TOKEN_TAIL = re.compile(rf"{VALUE}*")


def tokens(text: str, start: int) -> Iterator[Finding]:
    """Tokens of known issuers that begin at or after `start`."""
    lined = "_" in text
    for prefix, pattern in _BY_PREFIX:
        if ("_" in prefix and not lined) or prefix not in text:
            continue
        for match in pattern.finditer(text, start):
            if any(c.isdigit() for c in match[0]):
                yield _secret(text, match.start(), match.end())


def labelled_secrets(text: str, start: int) -> Iterator[Finding]:
    """Values behind a name; the name may stand before `start`."""
    told = lowered(text)
    for name in _NAMES:
        place = told.find(name, max(0, start - MAX_LABEL))
        while place >= 0:
            match = _LABELLED.match(text, place)
            if match and match.start(1) >= start:
                chosen = _looks_chosen if name in _CHOSEN else _looks_drawn
                if chosen(match[1]):
                    yield _secret(text, match.start(1), match.end())
            place = told.find(name, place + 1)


def private_keys(text: str, start: int) -> Iterator[Finding]:
    """Private keys in PEM that begin at or after `start`, also those that are cut off."""
    for match in PEM_HEAD.finditer(text, start):
        yield Finding(match.start(), pem_end(text, match.end()), PiiKind.SECRET)


def pem_end(text: str, start: int) -> int:
    """Where the body that begins at `start` ends: behind its END line, or with its last line."""
    end = start
    while True:
        if last := _PEM_END.match(text, end):
            return last.end()
        line = _PEM_LINE.match(text, end)
        if line is None:
            return end
        end = line.end()


def _secret(text: str, start: int, end: int) -> Finding:
    if end - start >= LONG_TOKEN and (tail := TOKEN_TAIL.match(text, end)):
        end = tail.end()
    return Finding(start, end, PiiKind.SECRET)


def _looks_drawn(value: str) -> bool:
    """Random characters, digits among them."""
    value = value.rstrip(".!=")
    if len(value) < _SHORTEST_KEY or not any(c.isdigit() for c in value):
        return False
    return any(c.isalpha() for c in value) and _bits(value) >= _LEAST_BITS


def _looks_chosen(value: str) -> bool:
    """Eight characters or more, with a digit, and letters or signs."""
    value = value.rstrip(".")
    return len(value) >= 8 and any(c.isdigit() for c in value) and not value.isdigit()


def _bits(value: str) -> float:
    counts = Counter(value).values()
    return -sum(count / len(value) * log2(count / len(value)) for count in counts)
