"""What is looked for, where, and what may be done with it: the closed sets of the policy file."""

from enum import StrEnum
from typing import NamedTuple


class PiiKind(StrEnum):
    """What a recogniser finds. The value is its name in policies, findings and `[redacted:…]`."""

    CARD = "card"
    IBAN = "iban"
    NATIONAL_ID = "national_id"
    EMAIL = "email"
    PHONE = "phone"
    IP = "ip"
    SECRET = "secret"


class PiiAction(StrEnum):
    """What happens to a value that was found."""

    ALLOW = "allow"
    REDACT = "redact"
    PSEUDONYMISE = "pseudonymise"
    BLOCK = "block"


class Where(StrEnum):
    """Which way text goes. CONTEXT is what is data: documents and the results of tools."""

    INPUT = "input"
    CONTEXT = "context"
    OUTPUT = "output"
    TELEMETRY = "telemetry"


class Finding(NamedTuple):
    """Characters `start` to `end` of a text are a value of `kind`."""

    start: int
    end: int
    kind: PiiKind
