"""Verdict: what policy said about an input, an output or an action, and on what ground (GV1)."""

from enum import StrEnum

from octant.core.record import Record


class Decision(StrEnum):
    """Only BLOCK ends what was asked. CHANGE lets it go on with parts of it replaced."""

    ALLOW = "allow"
    CHANGE = "change"
    WARN = "warn"
    BLOCK = "block"


class Verdict(Record, frozen=True, kw_only=True):
    """One decision with the policy version and rule that made it; `reason` may be shown.

    `findings` counts what was recognised, by kind; never what it was.
    """

    decision: Decision
    policy_version: str
    rule: str
    reason: str
    findings: dict[str, int] = {}
