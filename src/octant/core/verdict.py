"""Verdict: what policy said about an input, an output or an action, and on what ground (GV1)."""

from enum import StrEnum

from octant.core.record import Record


class Decision(StrEnum):
    """Only ALLOW and WARN let a request go on."""

    ALLOW = "allow"
    WARN = "warn"
    BLOCK = "block"


class Verdict(Record, frozen=True, kw_only=True):
    """One decision with the policy version and rule that made it; `reason` may be shown."""

    decision: Decision
    policy_version: str
    rule: str
    reason: str
