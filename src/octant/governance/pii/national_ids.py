"""National identity numbers: those whose form or check digits tell them from other numbers.

    by digits   US SSN and ITIN, DE IdNr, PL PESEL, BR CPF, BE NN, FR NIR, ES DNI, FI HETU,
                SE personnummer, CH AVS, IN Aadhaar, CA SIN
    by letters  GB NINO, ES NIE, IT codice fiscale
    by label    US SSN and NL BSN written as nine bare digits: only behind their name

Law: a bare number is one only where its check leaves few others (11 digits and more), and a short
one only in its customary grouping; nine bare digits are everybody's order number. No check reads
a calendar of today: the same text is the same finding tomorrow.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.ch import ssn as avs
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.us import itin, ssn

from octant.governance.pii.kinds import Finding, PiiKind
from octant.governance.pii.payment import luhn_fits
from octant.governance.pii.plain import lowered

Check = Callable[[str], bool]

_BEHIND = r"(?![A-Za-z0-9])(?![-.][0-9])"
# A digit first and a test behind it: the search then skips to digits, which is twice as fast.
_DIGITS_BEGIN = re.compile(r"[0-9](?<![A-Za-z0-9].)(?<![0-9][.,/-].)")
_LETTERS_BEGIN = re.compile(
    r"[A-Z](?<![A-Za-z0-9].)(?<![0-9][.,/-].)"
    r"(?=[A-Z] ?[0-9]|(?<=[XYZ])[0-9 -]|[A-Z]{5}[0-9A-Z])"
)
_LABELLED = re.compile(
    r"(?i:\b(ssn|social security|bsn|burgerservicenummer)"
    r"(?: (?:number|no\.?|nr\.?|nummer))?(?: is)?(?:[:#=] ?| ))(?=([0-9]{9})(?![A-Za-z0-9]))"
)
_NAMES = ("ssn", "social sec", "bsn", "burgerserv")
_MAX_LABEL = 48
_DATE_6 = re.compile(r"[0-9]{2}(?:0[0-9]|1[0-2])(?:[0-2][0-9]|3[01])")
_DATE_8 = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_NINO = re.compile(
    r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?[0-9]{2}){3} ?[A-D]" + _BEHIND
)
_NIE = re.compile(r"[XYZ][ -]?[0-9]{7}[ -]?[A-Z]" + _BEHIND)
_FISCAL_CODE = re.compile(r"[A-Z]{6}[0-9A-Z]{2}[A-Z][0-9A-Z]{2}[A-Z][0-9A-Z]{3}[A-Z]" + _BEHIND)


class _Form(NamedTuple):
    pattern: re.Pattern[str]
    checks: tuple[Check, ...]


def _form(pattern: str, *checks: Check) -> _Form:
    return _Form(re.compile(pattern + _BEHIND), checks)


def _digits(check: Check) -> Check:
    """The check on the digits alone."""
    return lambda number: check("".join(c for c in number if c.isalnum()))


def _is_formed(_: str) -> bool:
    """For numbers without check digits, whose form says enough."""
    return True


def _is_belgian(number: str) -> bool:
    digits = "".join(c for c in number if c.isdigit())
    if not _DATE_6.match(digits):
        return False
    given, last = int(digits[:9]), int(digits[9:])
    return last in (97 - given % 97, 97 - (2_000_000_000 + given) % 97)


def _is_swedish(number: str) -> bool:
    digits = "".join(c for c in number if c.isdigit())
    dated = _DATE_8.match(digits) if len(digits) == 12 else _DATE_6.match(digits)
    return bool(dated) and luhn_fits(digits[-10:])


_FORMS = (
    _form(
        r"(?:[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{3} [0-9]{2} [0-9]{4})",
        _digits(ssn.is_valid),
        _digits(itin.is_valid),
    ),
    _form(r"[0-9]{11}", idnr.is_valid, pesel.is_valid, cpf.is_valid, _is_belgian),
    _form(r"[0-9]{2} [0-9]{3} [0-9]{3} [0-9]{3}", idnr.is_valid),
    _form(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", cpf.is_valid),
    _form(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", _is_belgian),
    _form(
        r"[1-478] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        nir.is_valid,
    ),
    _form(r"[0-9]{8}-?[A-Z]", dni.is_valid),
    _form(r"[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-Y]", hetu.is_valid),
    _form(r"(?:(?:[0-9]{8}|[0-9]{6})[-+][0-9]{4}|[0-9]{12})", _is_swedish),
    _form(r"756(?:\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}|[0-9]{10})", avs.is_valid),
    _form(r"[2-9][0-9]{3} [0-9]{4} [0-9]{4}(?! [0-9])", aadhaar.is_valid),
    _form(r"[0-9]{3}-[0-9]{3}-[0-9]{3}", sin.is_valid),
)
_ANY_FORM = re.compile("|".join(f"(?:{form.pattern.pattern})" for form in _FORMS))
_LETTER_FORMS = (
    _Form(_NINO, (_is_formed,)),
    _Form(_NIE, (_digits(nie.is_valid),)),
    _Form(_FISCAL_CODE, (codicefiscale.is_valid,)),
)


def numbered_ids(text: str, start: int) -> Iterator[Finding]:
    """Numbers that begin with a digit, at or after `start`, overlapping ones too."""
    for match in _DIGITS_BEGIN.finditer(text, start):
        # One look for all forms: most numbers in a text have none of them.
        if _ANY_FORM.match(text, match.start()):
            yield from _fitting(text, match.start(), _FORMS)


def lettered_ids(text: str, start: int) -> Iterator[Finding]:
    """Numbers that begin with letters, at or after `start`, overlapping ones too."""
    for match in _LETTERS_BEGIN.finditer(text, start):
        yield from _fitting(text, match.start(), _LETTER_FORMS)


def labelled_ids(text: str, start: int) -> Iterator[Finding]:
    """Nine bare digits behind the name of such a number; the name may stand before `start`."""
    told = lowered(text)
    if not any(name in told for name in _NAMES):
        return
    for match in _LABELLED.finditer(text, max(0, start - _MAX_LABEL)):
        check = ssn.is_valid if match[1].lower().startswith("s") else bsn.is_valid
        if match.end() >= start and check(match[2]):
            yield Finding(match.end(), match.end(2), PiiKind.NATIONAL_ID)


def _fitting(text: str, start: int, forms: tuple[_Form, ...]) -> Iterator[Finding]:
    for form in forms:
        match = form.pattern.match(text, start)
        if match and any(check(match[0]) for check in form.checks):
            yield Finding(start, match.end(), PiiKind.NATIONAL_ID)
