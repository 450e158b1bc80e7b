"""Scopes: what one key or one tenant is using, against the limits that came with the request.

Law: `refusal` only looks, `enter` only takes, so several scopes are checked before any is touched
and a request holds all of them or none. A scope that nobody is in and whose buckets are full knows
nothing that a fresh one would not, so it may be forgotten.
"""

from collections import OrderedDict
from collections.abc import Container
from enum import StrEnum
from typing import NamedTuple

from octant.admission.bucket import RateBucket
from octant.core.limits import TenantLimits

_EVICTION_PROBES = 16


class ScopeKind(StrEnum):
    """Whose limits: those of the credential or those of its tenant."""

    KEY = "key"
    TENANT = "tenant"


class ScopeKey(NamedTuple):
    """One key of one tenant, or the tenant itself (then `name` is the tenant's id)."""

    kind: ScopeKind
    name: str


class Scope:
    """Requests inside, and a bucket for each rate that is limited."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests: RateBucket | None = None
        self.tokens: RateBucket | None = None

    def adopt(self, limits: TenantLimits, now_ns: int) -> None:
        """Follows the limits of the newest request; they may have changed since the last."""
        self.requests = _adopted(self.requests, limits.requests_per_minute, now_ns)
        self.tokens = _adopted(self.tokens, limits.tokens_per_minute, now_ns)

    def wait_ns(self, tokens: int, now_ns: int) -> int:
        """The exact time until the rates let a request of `tokens` in, 0 for now."""
        requests_ns = self.requests.wait_ns(1, now_ns) if self.requests else 0
        tokens_ns = self.tokens.wait_ns(tokens, now_ns) if self.tokens else 0
        return max(requests_ns, tokens_ns)

    def enter(self, tokens: int, now_ns: int) -> RateBucket | None:
        """Takes one request and its tokens, which the caller has found to fit.

        Returns the bucket that gave the tokens; limits may change before the request leaves.
        """
        self.in_flight += 1
        if self.requests:
            self.requests.take(1, now_ns)
        if self.tokens:
            self.tokens.take(tokens, now_ns)
        return self.tokens

    def leave(self) -> None:
        """Ends one request; its tokens go back to the bucket that `enter` returned."""
        self.in_flight -= 1

    def is_idle(self, now_ns: int) -> bool:
        """True when forgetting this scope changes nothing."""
        buckets = (self.requests, self.tokens)
        return self.in_flight == 0 and all(
            bucket is None or bucket.full_in_ns(now_ns) == 0 for bucket in buckets
        )

    def check_integrity(self, held: int) -> None:
        """Raises AssertionError unless exactly `held` requests are inside."""
        assert self.in_flight == held, f"{self.in_flight} counted inside, {held} held"
        for bucket in (self.requests, self.tokens):
            if bucket:
                bucket.check_integrity()


class Scopes:
    """The scopes in memory, at most `max_scopes` of them, the longest unused first."""

    def __init__(self, max_scopes: int) -> None:
        self._max = max_scopes
        self._known: OrderedDict[ScopeKey, Scope] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: ScopeKey) -> Scope | None:
        """The scope if it is in memory."""
        return self._known.get(key)

    def inside(self, key: ScopeKey) -> Scope:
        """The scope of a request that has entered it, which therefore is in memory."""
        return self._known[key]

    def touch(
        self, wanted: dict[ScopeKey, TenantLimits], now_ns: int
    ) -> dict[ScopeKey, Scope] | None:
        """The scopes under their present limits, or None when there is no room for another."""
        scopes: dict[ScopeKey, Scope] = {}
        for key, limits in wanted.items():
            scope = self._known.get(key)
            if scope is None:
                if len(self._known) >= self._max and not self._forget_one(wanted, now_ns):
                    return None
                scope = self._known[key] = Scope()
            self._known.move_to_end(key)
            scope.adopt(limits, now_ns)
            scopes[key] = scope
        return scopes

    def check_integrity(self, held: dict[ScopeKey, int]) -> None:
        """Raises AssertionError unless exactly the requests in `held` are inside."""
        assert len(self._known) <= self._max, "more scopes than the bound"
        for key, scope in self._known.items():
            scope.check_integrity(held.get(key, 0))
        assert held.keys() <= self._known.keys(), "a request has lost its scope"

    def _forget_one(self, wanted: Container[ScopeKey], now_ns: int) -> bool:
        """Busy scopes met on the way count as used, so they never hide idle ones for long."""
        for _ in range(min(_EVICTION_PROBES, len(self._known))):
            key = next(iter(self._known))
            if key not in wanted and self._known[key].is_idle(now_ns):
                del self._known[key]
                return True
            self._known.move_to_end(key)
        return False


def _adopted(bucket: RateBucket | None, per_minute: int | None, now_ns: int) -> RateBucket | None:
    if per_minute is None:
        return None
    if bucket is None:
        return RateBucket(per_minute, now_ns)
    bucket.change_limit(per_minute, now_ns)
    return bucket
