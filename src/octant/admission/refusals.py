"""Refusals: the failures of admission, each with its reason and the instant to come back.

Messages name the limit and its size, so that a caller can act without asking an operator.
"""

from octant.admission.accounts import Account, AccountKey
from octant.admission.cost_model import Prediction
from octant.admission.scopes import ScopeKind
from octant.core.failure import Failure, FailureKind
from octant.core.ids import RequestId
from octant.core.limits import DeadlineOrigin, Profile
from octant.core.stage import Stage
from octant.core.units import NANO_USD_PER_USD, ms_from_ns, s_from_ns


def rate(kind: ScopeKind, wait_ns: int) -> Failure:
    """A rate per minute is used up; the wait is exact as long as nobody else takes from it."""
    return Failure(
        kind=FailureKind.RATE_LIMIT_EXCEEDED,
        stage=Stage.ADMISSION,
        message=(
            f"The rate limit of this {kind} is used up; try again in {s_from_ns(wait_ns):.3f} s."
        ),
        retry_after_ns=wait_ns,
        detail={"scope": kind.value},
    )


def closed(kind: ScopeKind) -> Failure:
    """A limit of no requests at all."""
    return Failure(
        kind=FailureKind.INSUFFICIENT_QUOTA,
        stage=Stage.ADMISSION,
        message=f"This {kind} may not send requests: its limit is 0 requests per minute.",
        detail={"scope": kind.value},
    )


def never_fits(kind: ScopeKind, tokens: int, limit: int) -> Failure:
    """No amount of waiting helps a request that is larger than a full bucket."""
    return Failure(
        kind=FailureKind.REQUEST_TOO_LARGE,
        stage=Stage.ADMISSION,
        message=(
            f"This request may use {tokens} tokens (prompt and maximum output), but this {kind} is "
            f"limited to {limit} tokens per minute. Lower max_tokens or shorten the prompt."
        ),
        param="max_tokens",
        detail={"scope": kind.value, "tokens": tokens, "limit": limit},
    )


def concurrency(kind: ScopeKind, limit: int, retry_ns: int) -> Failure:
    """The key or tenant has as many requests running as it may."""
    return Failure(
        kind=FailureKind.CONCURRENCY_EXCEEDED,
        stage=Stage.ADMISSION,
        message=(
            f"This {kind} has {limit} requests running, as many as it may; wait for one to end."
        ),
        retry_after_ns=retry_ns,
        detail={"scope": kind.value, "limit": limit},
    )


def queue_full(profile: Profile, room: int, retry_ns: int) -> Failure:
    """The profile's queue is at its bound; other profiles are not concerned."""
    return Failure(
        kind=FailureKind.OVERLOADED,
        stage=Stage.ADMISSION,
        message=(
            f"The server is overloaded: {room} requests of profile {profile} are running or "
            f"queued. Try again in {s_from_ns(retry_ns):.1f} s."
        ),
        retry_after_ns=retry_ns,
        detail={"profile": profile.value, "room": room},
    )


def no_room(retry_ns: int) -> Failure:
    """More keys and tenants are active at once than admission keeps in memory."""
    return Failure(
        kind=FailureKind.OVERLOADED,
        stage=Stage.ADMISSION,
        message="The server is overloaded: too many keys and tenants are active at once.",
        retry_after_ns=retry_ns,
    )


def run_budget(needed: int, allowed: int) -> Failure:
    """The request could cost more nano-USD than its own budget allows."""
    return Failure(
        kind=FailureKind.INSUFFICIENT_QUOTA,
        stage=Stage.ADMISSION,
        message=(
            f"This request may cost up to {_usd(needed)}, but its own budget allows "
            f"{_usd(allowed)}. Lower max_tokens or raise the budget."
        ),
        param="budget",
        detail={"needed_nano_usd": needed, "allowed_nano_usd": allowed},
    )


def tenant_budget(account: Account, limit: int, cost: int, month: str) -> Failure:
    """The tenant's money for the month is spent or reserved by running requests."""
    free = account.free(limit)
    return Failure(
        kind=FailureKind.INSUFFICIENT_QUOTA,
        stage=Stage.ADMISSION,
        message=(
            f"The budget of this tenant for {month} leaves {_usd(max(0, free))} of {_usd(limit)}, "
            f"and this request may cost {_usd(cost)}. Raise the budget or wait for the next month."
        ),
        detail={
            "limit_nano_usd": limit,
            "spent_nano_usd": account.spent,
            "reserved_nano_usd": account.reserved,
            "needed_nano_usd": cost,
        },
    )


def deadline_passed(origin: DeadlineOrigin) -> Failure:
    """Too late to begin."""
    return Failure(
        kind=FailureKind.DEADLINE_EXCEEDED,
        stage=Stage.ADMISSION,
        message=f"The deadline of this request (set by {origin}) passed before it could start.",
    )


def deadline_unreachable(prediction: Prediction, remaining_ns: int) -> Failure:
    """Work that nobody would wait for is not begun."""
    return Failure(
        kind=FailureKind.DEADLINE_UNREACHABLE,
        stage=Stage.ADMISSION,
        message=(
            f"The first token is expected in {ms_from_ns(prediction.ttft_ns):.0f} ms "
            f"({ms_from_ns(prediction.queue_ns):.0f} ms of it in the queue), but the deadline is "
            f"in {ms_from_ns(remaining_ns):.0f} ms. Allow more time or send a shorter prompt."
        ),
        detail={
            "predicted_queue_ns": prediction.queue_ns,
            "predicted_ttft_ns": prediction.ttft_ns,
            "remaining_ns": remaining_ns,
        },
    )


def admitted_twice(request_id: RequestId) -> Failure:
    """A defect of the caller inside Octant: ids are minted once."""
    return Failure(
        kind=FailureKind.INTERNAL_ERROR,
        stage=Stage.ADMISSION,
        message=f"Request {request_id} is already admitted.",
    )


def account_not_open(key: AccountKey) -> Failure:
    """A defect of the caller inside Octant: spending must be known before more is allowed."""
    return Failure(
        kind=FailureKind.INTERNAL_ERROR,
        stage=Stage.ADMISSION,
        message=f"The account of tenant {key.tenant} for {key.month} is not open.",
    )


def _usd(nano_usd: int) -> str:
    return f"{nano_usd / NANO_USD_PER_USD:.6f} USD"
