"""How much and how long: workload profiles, objectives, limits, budgets, deadlines.

Every value here is a bound that admission, scheduling or settlement enforces.
"""

from enum import StrEnum

from octant.core.record import Record
from octant.core.units import NanoUsd


class Profile(StrEnum):
    """The workload profiles (GW5): each has its own queue and objectives."""

    INTERACTIVE = "interactive"
    LONG_CONTEXT = "long_context"
    BATCH = "batch"
    CRITICAL = "critical"


class Objective(Record, frozen=True, kw_only=True):
    """What a profile promises: time to first token, time per output token, total; all in ms."""

    ttft_ms: int
    tpot_ms: int
    total_ms: int


class QueueLimit(Record, frozen=True, kw_only=True):
    """Requests of one profile inside at once, running and waiting; more are refused."""

    max_inside: int


class TenantLimits(Record, frozen=True, kw_only=True):
    """Limits of one key or tenant; None means unlimited (GW3)."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None


class Allowance(Record, frozen=True, kw_only=True):
    """What the credential and its tenant may use; resolved at authentication, with the key."""

    key: TenantLimits = TenantLimits()
    tenant: TenantLimits = TenantLimits()
    budget_nano_usd: NanoUsd | None = None


class RunBudget(Record, frozen=True, kw_only=True):
    """What one request may spend at most; None means what the tenant has left."""

    tokens: int | None = None
    cost_nano_usd: NanoUsd | None = None


class DeadlineOrigin(StrEnum):
    """Whose limit became the deadline; the smallest wins."""

    HEADER = "x-octant-deadline-ms"
    BODY = "octant.deadline_ms"
    CLIENT_TIMEOUT = "x-stainless-read-timeout"
    PROFILE = "profile"


class Deadline(Record, frozen=True, kw_only=True):
    """The absolute end of a request on the monotonic clock, charged to every stage."""

    at_ns: int
    origin: DeadlineOrigin

    def remaining_ns(self, now_ns: int) -> int:
        """Time left; negative when it has passed."""
        return self.at_ns - now_ns
