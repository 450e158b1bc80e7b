"""Authentication: from an `Authorization` header to a principal with its allowance.

Law: it runs before the body is read; a malformed key costs no lookup, a wrong one no more than a
right one, and no answer tells whether a prefix exists. What the store said is remembered for at
most the cache's lifetime, which therefore bounds how long a revoked key still works.
"""

import hmac
from collections import OrderedDict
from typing import NamedTuple, Protocol

from octant.core.envelope import RiskClass
from octant.core.failure import FailureKind
from octant.core.identity import Principal, Scope
from octant.core.ids import TenantId
from octant.core.limits import Allowance
from octant.core.units import NS_PER_S
from octant.gateway.api_keys import key_digest, parse_key
from octant.gateway.failures import refuse
from octant.ports.clock import Clock
from octant.ports.store import ApiKey, Tenant

_NO_DIGEST = bytes(32)
_INCORRECT = (
    "Incorrect API key provided. Send `Authorization: Bearer oct_...` with a key of this server; "
    "`octant keys create` makes one."
)


class KeyDirectory(Protocol):
    """The part of `ports.store.Store` that authentication reads."""

    async def key_by_prefix(self, prefix: str) -> ApiKey | None: ...

    async def tenant(self, tenant: TenantId) -> Tenant | None: ...


class Identity(NamedTuple):
    """Who calls, within which limits, and the least risk class of what is asked."""

    principal: Principal
    allowance: Allowance
    risk: RiskClass


class KeyCacheSettings(NamedTuple):
    """Bounds on what is remembered of the store. `lifetime_ns` is how long a revoked key works."""

    lifetime_ns: int = NS_PER_S
    max_entries: int = 4_096


class _Known(NamedTuple):
    """What the store said about a prefix, and until when that is believed."""

    key: ApiKey | None
    tenant: Tenant | None
    until_ns: int


class Authenticator:
    """Verifies API keys. The cache holds prefixes, unknown ones too."""

    def __init__(
        self,
        store: KeyDirectory,
        clock: Clock,
        pepper: bytes,
        cache: KeyCacheSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pepper = pepper
        self._bounds = cache
        self._cache: OrderedDict[str, _Known] = OrderedDict()

    async def authenticate(
        self, authorization: bytes | None, any_of: tuple[Scope, ...]
    ) -> Identity:
        """The caller's identity, when its key holds one of the scopes.

        Raises Failed: INVALID_API_KEY, EXPIRED_API_KEY or PERMISSION_DENIED, and what the store
        raises when it cannot be read.
        """
        presented = parse_key(_bearer(authorization))
        if presented is None:
            refuse(FailureKind.INVALID_API_KEY, _INCORRECT)
        known = await self._look_up(presented.prefix)
        digest = known.key.digest if known.key else _NO_DIGEST
        # Compared also when the prefix is unknown, so that both refusals take the same time.
        matches = hmac.compare_digest(key_digest(presented.secret, self._pepper), digest)
        if known.key is None or known.tenant is None or not matches:
            refuse(FailureKind.INVALID_API_KEY, _INCORRECT)
        self._check_in_force(known.key)
        _check_scope(known.key, any_of)
        return _identity(known.key, known.tenant)

    def check_integrity(self) -> None:
        """The cache is within its bound and files every key under its own prefix."""
        assert len(self._cache) <= self._bounds.max_entries
        for prefix, known in self._cache.items():
            assert known.key is None or known.key.prefix == prefix

    async def _look_up(self, prefix: str) -> _Known:
        now_ns = self._clock.monotonic_ns()
        known = self._cache.get(prefix)
        if known is not None and now_ns < known.until_ns:
            return known
        key = await self._store.key_by_prefix(prefix)
        tenant = await self._store.tenant(key.tenant) if key else None
        known = _Known(key, tenant, now_ns + self._bounds.lifetime_ns)
        self._cache[prefix] = known
        self._cache.move_to_end(prefix)
        if len(self._cache) > self._bounds.max_entries:
            self._cache.popitem(last=False)
        return known

    def _check_in_force(self, key: ApiKey) -> None:
        if key.revoked_unix_ns is not None:
            refuse(
                FailureKind.INVALID_API_KEY,
                f"The API key oct_{key.prefix}_... has been revoked. Use another key.",
            )
        if key.expires_unix_ns is not None and key.expires_unix_ns <= self._clock.unix_ns():
            refuse(
                FailureKind.EXPIRED_API_KEY,
                f"The API key oct_{key.prefix}_... has expired. `octant keys create` makes one.",
            )


def _bearer(authorization: bytes | None) -> str:
    if not authorization:
        refuse(
            FailureKind.INVALID_API_KEY,
            "You didn't provide an API key. Send it as `Authorization: Bearer oct_...`.",
        )
    scheme, _, credentials = authorization.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        refuse(
            FailureKind.INVALID_API_KEY,
            "The Authorization header must have the form `Bearer oct_...`.",
        )
    return credentials.strip()


def _check_scope(key: ApiKey, any_of: tuple[Scope, ...]) -> None:
    if not set(any_of) & set(key.scopes):
        wanted = " or ".join(f"`{scope.value}`" for scope in any_of)
        refuse(
            FailureKind.PERMISSION_DENIED,
            f"This endpoint needs the scope {wanted}, which the key does not hold. "
            "Use a key that was created with it.",
        )


def _identity(key: ApiKey, tenant: Tenant) -> Identity:
    principal = Principal(
        actor=key.actor,
        tenant=key.tenant,
        key_id=key.id,
        role=key.role,
        scopes=key.scopes,
        models=key.models,
    )
    allowance = Allowance(
        key=key.limits, tenant=tenant.limits, budget_nano_usd=tenant.budget_nano_usd
    )
    return Identity(principal, allowance, tenant.risk)
