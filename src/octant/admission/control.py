"""AdmissionControl: decides at once whether a request may start, and holds what it reserved.

    envelope + Estimate -> Admitted, or Failed with the limit that said no and when to come back

Law: one synchronous call checks every scope before it takes from any, so a request holds all its
reservations or none, and no interleaving of requests gets past a limit. What `admit` took, `settle`
releases exactly once. No clock: every question names its instant (GW3 to GW6).
"""

from collections import Counter
from typing import NamedTuple

from octant.admission import refusals
from octant.admission.accounts import AccountKey, Accounts
from octant.admission.bucket import RateBucket
from octant.admission.cost_model import CostModel, Observation, Prediction
from octant.admission.scopes import Scope, ScopeKey, ScopeKind, Scopes
from octant.admission.settings import AdmissionSettings
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failed
from octant.core.ids import KeyId, RequestId, TenantId
from octant.core.limits import Profile, TenantLimits
from octant.core.record import Record
from octant.core.route import RouteLoad
from octant.core.units import NS_PER_S, NanoUsd
from octant.core.usage import Usage

# Rare enough to waste little when the predictions are right.
_PROBE_INTERVAL_NS = 10 * NS_PER_S


class Admitted(Record, frozen=True, kw_only=True):
    """Proof of admission. Predictions are None until the cost model has seen enough."""

    request_id: RequestId
    tenant: TenantId
    key_id: KeyId
    profile: Profile
    reserved_tokens: int
    reserved_nano_usd: NanoUsd
    predicted_queue_ns: int | None
    predicted_ttft_ns: int | None


class Estimate(NamedTuple):
    """What is reserved for a request: the tokens it may use and the most it can cost."""

    prompt_tokens: int
    max_output_tokens: int
    max_cost_nano_usd: NanoUsd

    @property
    def tokens(self) -> int:
        """Prompt and output together."""
        return self.prompt_tokens + self.max_output_tokens


class RateStatus(NamedTuple):
    """One rate limit: per minute, what is left of it, and the time until it is full again."""

    limit: int
    remaining: int
    reset_ns: int


class RateLimitStatus(NamedTuple):
    """The tightest scope of each kind of rate; None where nothing limits it."""

    requests: RateStatus | None
    tokens: RateStatus | None


class _Held(NamedTuple):
    admitted: Admitted
    account: AccountKey
    scopes: tuple[ScopeKey, ...]
    charged: tuple[RateBucket, ...]


class AdmissionControl:
    """Limits, budgets and queue bounds of one server process."""

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._scopes = Scopes(settings.max_scopes)
        self._accounts = Accounts(settings.max_accounts)
        self._cost = CostModel(settings.smoothing, settings.min_observations)
        self._held: dict[RequestId, _Held] = {}
        self._inside: Counter[Profile] = Counter()
        self._probed_ns: dict[Profile, int] = {}

    def has_account(self, tenant: TenantId, month: str) -> bool:
        """Whether `admit` knows what the tenant has spent in the month."""
        return AccountKey(tenant, month) in self._accounts

    def open_account(self, tenant: TenantId, month: str, spent: NanoUsd) -> None:
        """Tells what the store has settled so far; an account that is open already stays.

        Raises Failed(OVERLOADED) when no further account fits into memory.
        """
        if not self._accounts.open(AccountKey(tenant, month), spent):
            raise Failed(refusals.no_room(self._settings.retry_floor_ns))

    def admit(
        self, envelope: RequestEnvelope, estimate: Estimate, month: str, now_ns: int
    ) -> Admitted:
        """Reserves all that the request may use.

        Raises Failed with INSUFFICIENT_QUOTA (its own or the tenant's budget), REQUEST_TOO_LARGE
        (more tokens than a minute's limit), CONCURRENCY_EXCEEDED, RATE_LIMIT_EXCEEDED or
        OVERLOADED; then nothing is reserved.
        """
        account = AccountKey(envelope.principal.tenant, month)
        self._check_new(envelope.request_id, account)
        self._check_money(envelope, estimate, account)
        wanted = _limits(envelope)
        scopes = self._scopes.touch(wanted, now_ns)
        if scopes is None:
            raise Failed(refusals.no_room(self._settings.retry_floor_ns))
        self._check_concurrency(envelope.profile, scopes, wanted)
        _check_rates(scopes, estimate.tokens, now_ns)
        self._check_queue(envelope.profile)
        return self._take(envelope, estimate, account, scopes, now_ns)

    def settle(self, admitted: Admitted, usage: Usage, cost_nano_usd: NanoUsd, now_ns: int) -> None:
        """Releases everything and charges what was used; a second call changes nothing."""
        held = self._held.pop(admitted.request_id, None)
        if held is None:
            return
        unused = held.admitted.reserved_tokens - usage.total_tokens
        for bucket in held.charged:
            bucket.give_back(unused, now_ns)
        for key in held.scopes:
            self._scopes.inside(key).leave()
        self._inside[held.admitted.profile] -= 1
        self._accounts.charge(held.account, held.admitted.reserved_nano_usd, cost_nano_usd)

    def check_deadline(
        self, envelope: RequestEnvelope, load: RouteLoad, prompt_tokens: int, now_ns: int
    ) -> Prediction | None:
        """The prediction for this request on a route in this condition; None without data.

        Raises Failed with DEADLINE_EXCEEDED when the deadline has passed, DEADLINE_UNREACHABLE when
        not even the first token can be expected before it. That the last one comes in time is not
        asked: how long the answer will be is not known. Once in a while such a request is let
        through all the same: only work that is done can prove a prediction wrong.
        """
        remaining_ns = envelope.deadline.remaining_ns(now_ns)
        if remaining_ns <= 0:
            raise Failed(refusals.deadline_passed(envelope.deadline.origin))
        prediction = self._cost.predict(envelope.profile, prompt_tokens, load)
        if prediction is None or prediction.ttft_ns <= remaining_ns:
            return prediction
        if not self._probes(envelope.profile, now_ns):
            raise Failed(refusals.deadline_unreachable(prediction, remaining_ns))
        return prediction

    def observe(self, seen: Observation) -> None:
        """Teaches the cost model one finished request."""
        self._cost.observe(seen)

    def rate_limits(self, envelope: RequestEnvelope, now_ns: int) -> RateLimitStatus:
        """What is left of the caller's rates now, for `x-ratelimit-*` headers."""
        key_scope, tenant_scope = (
            _status_of(self._scopes.find(key), limits, now_ns)
            for key, limits in _limits(envelope).items()
        )
        return RateLimitStatus(
            requests=_tightest(key_scope.requests, tenant_scope.requests),
            tokens=_tightest(key_scope.tokens, tenant_scope.tokens),
        )

    def check_integrity(self) -> None:
        """Raises AssertionError unless what is reserved is what admitted requests hold."""
        accounts: dict[AccountKey, list[int]] = {}
        for held in self._held.values():
            accounts.setdefault(held.account, []).append(held.admitted.reserved_nano_usd)
        self._accounts.check_integrity(accounts)
        self._scopes.check_integrity(
            Counter(key for held in self._held.values() for key in held.scopes)
        )
        inside = Counter(held.admitted.profile for held in self._held.values())
        assert inside == +self._inside, f"counted {self._inside}, held {inside}"
        for profile, count in inside.items():
            assert count <= self._room(profile), f"{profile} holds {count} requests"

    def _check_new(self, request_id: RequestId, account: AccountKey) -> None:
        if request_id in self._held:
            raise Failed(refusals.admitted_twice(request_id))
        if account not in self._accounts:
            raise Failed(refusals.account_not_open(account))

    def _check_money(self, envelope: RequestEnvelope, estimate: Estimate, key: AccountKey) -> None:
        # Its budget of tokens is held to when the prompt has been counted (context.assembly).
        budget, cost = envelope.budget, estimate.max_cost_nano_usd
        if budget.cost_nano_usd is not None and cost > budget.cost_nano_usd:
            raise Failed(refusals.run_budget(cost, budget.cost_nano_usd))
        limit = envelope.allowance.budget_nano_usd
        account = self._accounts.get(key)
        if limit is not None and account is not None and cost > account.free(limit):
            raise Failed(refusals.tenant_budget(account, limit, cost, key.month))

    def _check_concurrency(
        self,
        profile: Profile,
        scopes: dict[ScopeKey, Scope],
        wanted: dict[ScopeKey, TenantLimits],
    ) -> None:
        for key, scope in scopes.items():
            limit = wanted[key].max_concurrent
            if limit is not None and scope.in_flight >= limit:
                retry_ns = self._retry_ns(profile, scope.in_flight)
                raise Failed(refusals.concurrency(key.kind, limit, retry_ns))

    def _check_queue(self, profile: Profile) -> None:
        room, inside = self._room(profile), self._inside[profile]
        if inside >= room:
            raise Failed(refusals.queue_full(profile, room, self._retry_ns(profile, inside)))

    def _take(
        self,
        envelope: RequestEnvelope,
        estimate: Estimate,
        account: AccountKey,
        scopes: dict[ScopeKey, Scope],
        now_ns: int,
    ) -> Admitted:
        expected = self._cost.expect(envelope.profile, estimate.prompt_tokens)
        admitted = Admitted(
            request_id=envelope.request_id,
            tenant=envelope.principal.tenant,
            key_id=envelope.principal.key_id,
            profile=envelope.profile,
            reserved_tokens=estimate.tokens,
            reserved_nano_usd=estimate.max_cost_nano_usd,
            predicted_queue_ns=expected.queue_ns if expected else None,
            predicted_ttft_ns=expected.ttft_ns if expected else None,
        )
        entered = [scope.enter(estimate.tokens, now_ns) for scope in scopes.values()]
        charged = tuple(bucket for bucket in entered if bucket is not None)
        self._inside[envelope.profile] += 1
        self._accounts.reserve(account, estimate.max_cost_nano_usd)
        self._held[envelope.request_id] = _Held(admitted, account, tuple(scopes), charged)
        return admitted

    def _probes(self, profile: Profile, now_ns: int) -> bool:
        """Whether refusals of the profile have gone unproved long enough."""
        since_ns = self._probed_ns.setdefault(profile, now_ns)
        if now_ns - since_ns < _PROBE_INTERVAL_NS:
            return False
        self._probed_ns[profile] = now_ns
        return True

    def _room(self, profile: Profile) -> int:
        return self._settings.queues[profile].max_inside

    def _retry_ns(self, profile: Profile, in_flight: int) -> int:
        """When a place should come free, within the bounds that settings give."""
        floor_ns, ceiling_ns = self._settings.retry_floor_ns, self._settings.retry_ceiling_ns
        expected_ns = self._cost.next_release_ns(profile, in_flight)
        return floor_ns if expected_ns is None else min(max(expected_ns, floor_ns), ceiling_ns)


def _limits(envelope: RequestEnvelope) -> dict[ScopeKey, TenantLimits]:
    principal, allowance = envelope.principal, envelope.allowance
    return {
        ScopeKey(ScopeKind.KEY, principal.key_id): allowance.key,
        ScopeKey(ScopeKind.TENANT, principal.tenant): allowance.tenant,
    }


def _check_rates(scopes: dict[ScopeKey, Scope], tokens: int, now_ns: int) -> None:
    """Raises Failed unless every rate lets the request in; the wait is that of the slowest."""
    for key, scope in scopes.items():
        if scope.tokens is not None and tokens > scope.tokens.limit:
            raise Failed(refusals.never_fits(key.kind, tokens, scope.tokens.limit))
        if scope.requests is not None and scope.requests.limit == 0:
            raise Failed(refusals.closed(key.kind))
    waits = {key.kind: scope.wait_ns(tokens, now_ns) for key, scope in scopes.items()}
    slowest = max(waits, key=waits.__getitem__)
    if waits[slowest] > 0:
        raise Failed(refusals.rate(slowest, waits[slowest]))


def _status_of(scope: Scope | None, limits: TenantLimits, now_ns: int) -> RateLimitStatus:
    return RateLimitStatus(
        requests=_rate_status(scope and scope.requests, limits.requests_per_minute, now_ns),
        tokens=_rate_status(scope and scope.tokens, limits.tokens_per_minute, now_ns),
    )


def _rate_status(
    bucket: RateBucket | None, per_minute: int | None, now_ns: int
) -> RateStatus | None:
    if per_minute is None:
        return None
    if bucket is None:
        return RateStatus(per_minute, per_minute, 0)
    return RateStatus(bucket.limit, max(0, bucket.remaining(now_ns)), bucket.full_in_ns(now_ns))


def _tightest(first: RateStatus | None, second: RateStatus | None) -> RateStatus | None:
    known = [status for status in (first, second) if status is not None]
    return min(known, key=lambda status: status.remaining) if known else None
