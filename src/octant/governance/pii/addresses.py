"""Addresses at which somebody is reached: e-mail, telephone, IP.

Law: an e-mail address is ASCII or of the Latin, Greek and Cyrillic scripts; a telephone number is
international (`+`), or national in a form customary in one of the regions of the policy and valid
there; an IP address is not that of the machine itself.
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import phonenumbers

from octant.governance.pii.kinds import Finding, PiiKind

_LETTERS = "A-Za-z\u00c0-\u024f\u0370-\u052f"
LOCAL_PART = rf"[{_LETTERS}0-9._%+'-]"
DOMAIN = rf"[{_LETTERS}0-9.-]"
MAX_LOCAL_PART = 64
MAX_DOMAIN = 255
_LOCAL_END = re.compile(rf"{LOCAL_PART}{{1,{MAX_LOCAL_PART}}}\Z")
_AT_DOMAIN = re.compile(
    rf"@(?:[{_LETTERS}0-9-]{{1,63}}\.){{1,8}}[{_LETTERS}]{{2,24}}(?![{_LETTERS}0-9])"
)
# The first character stands before what is said of those before it: searches skip to it.
_PHONE = re.compile(
    r"\+(?<![A-Za-z0-9+].)(?=("
    r"[0-9]{1,3}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9](?:[ .\-/]{0,2}[0-9]){4,12}))"
)
_NATIONAL = re.compile(
    r"[0(](?<![A-Za-z0-9+].)(?<![0-9][.,/-].)(?=((?:(?<=0)|0)(?:[ .\-/()]{0,2}[0-9]){6,14}))"
)
_NORTH_AMERICAN = re.compile(
    r"[1-9(](?<![A-Za-z0-9+].)(?<![0-9][.,/-].)"
    r"(?=((?:(?<=1)[ .-](?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])"
    r"|(?<=\()[2-9][0-9]{2}\) ?|(?<=[2-9])[0-9]{2}[ .-])"
    r"[2-9][0-9]{2}[ .-][0-9]{4}))"
)
NORTH_AMERICA = ("US", "CA")
_TRIED_ENDS = 3
_DOTTED = re.compile(r"\.[0-9]{1,3}\.[0-9]")
_MORE_PARTS = re.compile(r"\.[0-9]")
_IPV4 = re.compile(
    r"[0-9](?<![A-Za-z0-9.].)(?=([0-9]{0,2}(?:\.[0-9]{1,3}){3}))"
    # Not the end of a longer number, nor a version of five parts.
    r"(?=[0-9.]{6,14}(?![0-9]))"
)
_IPV6 = re.compile(
    r"(?<![A-Za-z0-9:.])(?=((?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{1,4})?)"
    r"(?![A-Za-z0-9:]))"
)


def emails(text: str, start: int) -> Iterator[Finding]:
    """E-mail addresses that begin at or after `start`, one at the most for each `@`."""
    at = text.find("@", start)
    while at >= 0:
        local = _LOCAL_END.search(text, max(0, at - MAX_LOCAL_PART), at)
        domain = _AT_DOMAIN.match(text, at)
        if local and domain:
            begin = at - len(local[0].lstrip(".'-"))
            if start <= begin < at and text[at - 1] != ".":
                yield Finding(begin, domain.end(), PiiKind.EMAIL)
        at = text.find("@", at + 1)


def international_phones(text: str, start: int) -> Iterator[Finding]:
    """Valid telephone numbers with `+` that begin at or after `start`."""
    if "+" in text:
        yield from _valid(_PHONE, text, start, (None,))


def north_american_phones(text: str, start: int, regions: tuple[str, ...]) -> Iterator[Finding]:
    """Numbers of ten digits in groups, valid in one of the regions, at or after `start`."""
    if regions:
        yield from _valid(_NORTH_AMERICAN, text, start, regions)


def national_phones(text: str, start: int, regions: tuple[str, ...]) -> Iterator[Finding]:
    """Numbers with a leading 0, valid in one of the regions, that begin at or after `start`."""
    if regions:
        yield from _valid(_NATIONAL, text, start, regions)


def ips(text: str, start: int) -> Iterator[Finding]:
    """Addresses of IP 4 and 6 that begin at or after `start`."""
    if _DOTTED.search(text, start):
        yield from _ipv4s(text, start)
    if text.count(":", start) >= 2:
        yield from _ipv6s(text, start)


def _ipv4s(text: str, start: int) -> Iterator[Finding]:
    for match in _IPV4.finditer(text, start):
        end = match.end(1)
        if text[end : end + 1].isalnum() or _MORE_PARTS.match(text, end):
            continue
        if _is_of_somebody(text[match.start() : end]):
            yield Finding(match.start(), end, PiiKind.IP)


def _ipv6s(text: str, start: int) -> Iterator[Finding]:
    for match in _IPV6.finditer(text, start):
        written = match[1]
        if any(c.isdigit() for c in written) and _is_of_somebody(written):
            yield Finding(match.start(), match.end(1), PiiKind.IP)


def _valid(
    pattern: re.Pattern[str], text: str, start: int, regions: tuple[str | None, ...]
) -> Iterator[Finding]:
    for match in pattern.finditer(text, start):
        candidate = match[0] + match[1]
        if text[match.end(1) : match.end(1) + 1].isalnum():
            # The last group goes on: at most what stands before it is a number.
            candidate = _without_last_group(candidate)
        for _ in range(_TRIED_ENDS):
            if any(_is_phone(candidate, region) for region in regions):
                yield Finding(match.start(), match.start() + len(candidate), PiiKind.PHONE)
                break
            candidate = _without_last_group(candidate)


def _without_last_group(candidate: str) -> str:
    return re.sub(r"[ .\-/()]{1,2}[0-9]*\Z|\A[+(]?[0-9]*\Z", "", candidate)


def _is_phone(candidate: str, region: str | None) -> bool:
    if not candidate:
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(candidate, region))
    except phonenumbers.NumberParseException:
        return False


def _is_of_somebody(written: str) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(written)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)
