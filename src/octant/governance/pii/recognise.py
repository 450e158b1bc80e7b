"""Recogniser: where personal data and secrets stand in a text, and what could still become some.

    scan(text) -> findings, from left to right, none within another
    open_from(text) -> where the first value could begin that more text may still complete

Law: text is read once from left to right. Where a value begins is decided by at most
`LOOK_BEHIND` characters before it and by what follows until the value is closed; at the same place
the more telling kind wins. So a text cut at `open_from` gives, part by part, what it gives whole:
whoever streams needs nothing else.
"""

import re
from collections.abc import Iterator

from octant.governance.pii.addresses import (
    DOMAIN,
    LOCAL_PART,
    MAX_DOMAIN,
    MAX_LOCAL_PART,
    NORTH_AMERICA,
    emails,
    international_phones,
    ips,
    national_phones,
    north_american_phones,
)
from octant.governance.pii.kinds import Finding, PiiKind
from octant.governance.pii.national_ids import labelled_ids, lettered_ids, numbered_ids
from octant.governance.pii.payment import cards, ibans
from octant.governance.pii.plain import lowered
from octant.governance.pii.secrets import (
    LABELLED_SO_FAR,
    LONG_TOKEN,
    PEM_DASHES,
    PREFIXES,
    TOKEN_BODY,
    labelled_secrets,
    private_keys,
    tokens,
)

LOOK_BEHIND = 64
"""Characters before a value that can matter to it: the longest name of a labelled value, and the
longest local part of an e-mail address."""
_LONGEST_OPEN = 640
"""Characters of a text that can still be open: those of a long token and its name."""
_PRIORITY = {
    kind: place
    for place, kind in enumerate(
        (
            PiiKind.SECRET,
            PiiKind.CARD,
            PiiKind.IBAN,
            PiiKind.NATIONAL_ID,
            PiiKind.EMAIL,
            PiiKind.IP,
            PiiKind.PHONE,
        )
    )
}
_DIGIT = re.compile("[0-9]")
_LONG_NUMBER = re.compile(r"[0-9](?:[ .\-+/()]{0,2}[0-9]|-?[A-Z]){8}")
"""In every card, every identity number that begins with a digit, and every telephone number of
North America; dates, amounts and years have none."""
_BEFORE = "(?<![A-Za-z0-9])"
_NUMBER = _BEFORE + r"[+(]{0,2}[0-9](?:[ .\-/()+]{0,2}[0-9]|-?[A-Z]){0,40}[ .\-/()+]{0,2}"
_SIGN = _BEFORE + r"[+(]{1,2}"
_IDENTITY = _BEFORE + r"[A-Z]{1,2}[ -]?(?:[0-9][ -]?){0,7}[A-Z]?[-.]?"
_FISCAL_CODE = _BEFORE + r"[A-Z][A-Z0-9]{0,15}[-.]?"
_IBAN = (
    _BEFORE + r"[A-Za-z]{1,2}(?:(?<=[A-Za-z]{2})[0-9](?:[0-9](?:[ -]?[A-Za-z0-9]){0,31}[ -]?)?)?"
)
_EMAIL = rf"{LOCAL_PART}{{1,{MAX_LOCAL_PART}}}(?:@{DOMAIN}{{0,{MAX_DOMAIN}}})?"
_IPV6 = r"(?<![A-Za-z0-9:.])[0-9A-Fa-f:][0-9A-Fa-f:.]{0,60}"
_PEM = r"-{1,5}(?:[A-Z][A-Z0-9 ]{0,64})?-{0,5}"
_OPEN_NUMBERS = (PiiKind.CARD, PiiKind.NATIONAL_ID, PiiKind.PHONE, PiiKind.IP)


def _token_start() -> str:
    parts = {prefix[:count] for prefix in PREFIXES for count in range(1, len(prefix))}
    whole = "|".join(map(re.escape, PREFIXES))
    begun = "|".join(map(re.escape, sorted(parts)))
    return f"{_BEFORE}(?:(?:{whole}){TOKEN_BODY}{{0,{LONG_TOKEN}}}|{begun})"


_OPEN: dict[PiiKind, tuple[str, ...]] = {
    PiiKind.CARD: (),
    PiiKind.IBAN: (_IBAN,),
    PiiKind.NATIONAL_ID: (_IDENTITY, _FISCAL_CODE),
    PiiKind.EMAIL: (_EMAIL,),
    PiiKind.PHONE: (_SIGN,),
    PiiKind.IP: (_IPV6,),
    PiiKind.SECRET: (_PEM, _token_start()),
}


class Recogniser:
    """Finds the kinds it was made for. Stateless and shared."""

    def __init__(self, kinds: frozenset[PiiKind], regions: tuple[str, ...]) -> None:
        """`regions` are those whose national telephone numbers are known, as `US`."""
        self.kinds = kinds
        self._north_american = tuple(r for r in regions if r in NORTH_AMERICA)
        self._trunk_regions = tuple(r for r in regions if r not in NORTH_AMERICA)
        forms = [form for kind in _OPEN if kind in kinds for form in _OPEN[kind]]
        if not kinds.isdisjoint(_OPEN_NUMBERS):
            forms.append(_NUMBER)
        self._open = re.compile("(?:" + "|".join(forms) + r")\Z") if forms else None

    def scan(self, text: str, start: int = 0) -> tuple[Finding, ...]:
        """Findings in plain text that begin at or after `start`; what is before is only seen."""
        candidates = list(self._candidates(text, start))
        if not candidates:
            return ()
        candidates.sort(key=lambda found: (found.start, _PRIORITY[found.kind], -found.end))
        taken: list[Finding] = []
        end = start
        for found in candidates:
            if found.start >= end:
                taken.append(found)
                end = found.end
        return tuple(taken)

    def open_from(self, text: str, start: int = 0) -> int:
        """The first place at or after `start` whose reading more text could change, or the end."""
        start = max(start, len(text) - _LONGEST_OPEN)
        place = len(text)
        if self._open is not None and (found := self._open.search(text, start)):
            place = found.start()
        if PiiKind.SECRET in self.kinds and (
            ":" in text or "=" in text or "earer" in lowered(text)
        ):
            labelled = LABELLED_SO_FAR.search(text, max(0, start - LOOK_BEHIND))
            if labelled:
                place = min(place, max(start, labelled.start("value")))
        return place

    def _candidates(self, text: str, start: int) -> Iterator[Finding]:
        kinds = self.kinds
        if PiiKind.EMAIL in kinds and "@" in text:
            yield from emails(text, start)
        if PiiKind.SECRET in kinds and PEM_DASHES in text:
            yield from private_keys(text, start)
        if _DIGIT.search(text, start):
            yield from self._with_digits(text, start)

    def _with_digits(self, text: str, start: int) -> Iterator[Finding]:
        kinds = self.kinds
        if _LONG_NUMBER.search(text, start):
            yield from self._with_long_numbers(text, start)
        if PiiKind.IBAN in kinds:
            yield from ibans(text, start)
        if PiiKind.NATIONAL_ID in kinds:
            yield from lettered_ids(text, start)
        if PiiKind.IP in kinds:
            yield from ips(text, start)
        if PiiKind.PHONE in kinds:
            yield from international_phones(text, start)
            yield from national_phones(text, start, self._trunk_regions)
        if PiiKind.SECRET in kinds:
            yield from tokens(text, start)
            yield from labelled_secrets(text, start)

    def _with_long_numbers(self, text: str, start: int) -> Iterator[Finding]:
        kinds = self.kinds
        if PiiKind.CARD in kinds:
            yield from cards(text, start)
        if PiiKind.NATIONAL_ID in kinds:
            yield from numbered_ids(text, start)
            yield from labelled_ids(text, start)
        if PiiKind.PHONE in kinds:
            yield from north_american_phones(text, start, self._north_american)
