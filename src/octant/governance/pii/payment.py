"""Payment cards (brand, length, Luhn) and IBANs (country, length, mod 97)."""

import re
from collections.abc import Iterator
from itertools import pairwise

from octant.governance.pii.kinds import Finding, PiiKind

# A digit stands first and what is said of the characters before it behind: searches skip to digits.
_CARD = re.compile(r"[2-6](?<![A-Za-z0-9].)(?<![0-9][.,].)(?=((?:[ .-]{0,2}[0-9]){11,18}))")
_IBAN = re.compile(
    r"[0-9](?<=[A-Za-z]{2}.)(?<![A-Za-z0-9][A-Za-z]{2}.)(?=([0-9](?:[ -]?[A-Za-z0-9]){11,30}))"
)
_SHORTEST_CARD, _LONGEST_CARD = 13, 19
_BRANDS: tuple[tuple[str, frozenset[int]], ...] = (
    (r"4", frozenset({13, 16, 19})),
    (r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", frozenset({16})),
    (r"3[47]", frozenset({15})),
    (r"30[0-5]|36|3[89]", frozenset({14})),
    (r"35(?:2[89]|[3-8])", frozenset({16, 17, 18, 19})),
    (r"6011|64[4-9]|65|62|50|5[6-9]|6[0137]", frozenset({16, 17, 18, 19})),
)
_LENGTHS_BY_BRAND = tuple((re.compile(start), lengths) for start, lengths in _BRANDS)
_DOUBLED = "0246813579"

_LENGTHS = (
    "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 "
    "CY:28 CZ:24 DE:22 DJ:27 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 "
    "GE:22 GI:23 GL:18 GR:27 GT:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 "
    "KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 "
    "MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 "
    "SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 "
    "VA:22 VG:24 XK:20 YE:30"
)
IBAN_LENGTHS = {entry[:2]: int(entry[3:]) for entry in _LENGTHS.split()}
"""Characters of an IBAN by country (SWIFT registry)."""


def cards(text: str, start: int) -> Iterator[Finding]:
    """Card numbers that begin at or after `start`, overlapping ones too; the longest of a place."""
    for match in _CARD.finditer(text, start):
        behind = text[match.end(1) : match.end(1) + 1]
        length = _card_length(match[0] + match[1], behind)
        if length:
            yield Finding(match.start(), match.start() + length, PiiKind.CARD)


def ibans(text: str, start: int) -> Iterator[Finding]:
    """IBANs that begin at or after `start`, compact or in groups, in either case."""
    for match in _IBAN.finditer(text, start):
        begin = match.start() - 2
        behind = text[match.end(1) : match.end(1) + 1]
        if begin >= start and (length := _iban_length(text[begin : match.end(1)], behind)):
            yield Finding(begin, begin + length, PiiKind.IBAN)


def luhn_fits(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of those before it."""
    total = sum(map(int, digits[-1::-2])) + sum(int(_DOUBLED[int(d)]) for d in digits[-2::-2])
    return total % 10 == 0


def _card_length(candidate: str, behind: str) -> int:
    """Characters of the longest card number at the start of `candidate`, 0 without one."""
    places = [place for place, character in enumerate(candidate) if character.isdigit()]
    digits = "".join(candidate[place] for place in places)
    for count in range(len(digits), _SHORTEST_CARD - 1, -1):
        end = places[count - 1] + 1
        next_character = candidate[end : end + 1] or behind
        if next_character.isalnum() or not _is_card(digits[:count]):
            continue
        if not _reads_otherwise(candidate[:end]):
            return end
    return 0


def _is_card(digits: str) -> bool:
    for starts, lengths in _LENGTHS_BY_BRAND:
        if len(digits) in lengths and starts.match(digits):
            return luhn_fits(digits) and len(set(digits)) > 1
    return False


def _reads_otherwise(candidate: str) -> bool:
    """Digits in threes are an amount, and numbers that count up are a list."""
    groups = re.split(r"[ .-]+", candidate)
    if len(groups) == 1:
        return False
    counted = all(int(b) - int(a) == 1 for a, b in pairwise(groups))
    return counted or all(len(group) == 3 for group in groups[1:])


def _iban_length(candidate: str, behind: str) -> int:
    """Characters of the IBAN at the start of `candidate`, 0 without one."""
    count = IBAN_LENGTHS.get(candidate[:2].upper())
    if count is None:
        return 0
    places = [place for place, character in enumerate(candidate) if character.isalnum()]
    if len(places) < count:
        return 0
    end = places[count - 1] + 1
    next_character = candidate[end : end + 1] or behind
    if next_character.isalnum():
        return 0
    compact = "".join(candidate[place] for place in places[:count]).upper()
    moved = compact[4:] + compact[:4]
    return end if int("".join(str(int(c, 36)) for c in moved)) % 97 == 1 else 0
