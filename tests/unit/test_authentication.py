"""Keys open what they were made for, and nothing after they end."""

import hashlib
import re

import msgspec
import pytest

from octant.core.failure import Failed, FailureKind
from octant.core.identity import Scope
from octant.core.ids import ActorId
from octant.core.limits import TenantLimits
from octant.core.units import NS_PER_S
from octant.gateway.api_keys import KeyGrant, key_digest, mint_key, parse_key
from octant.gateway.authentication import Authenticator, KeyCacheSettings
from octant.ports.store import Tenant
from tests.support.gateway import ACME, PEPPER, KeyTable

INFERENCE = (Scope.INFERENCE,)


class SteppedClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 10 * NS_PER_S

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return self.now_ns

    async def sleep(self, duration_ns: int) -> None:
        self.now_ns += duration_ns


class CountedEntropy:
    """Different bytes at each call, the same in each run."""

    def __init__(self) -> None:
        self._calls = 0

    def bytes(self, count: int) -> bytes:
        self._calls += 1
        return hashlib.shake_256(b"%d" % self._calls).digest(count)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def keys() -> KeyTable:
    return KeyTable()


@pytest.fixture
def authenticator(keys: KeyTable, clock: SteppedClock) -> Authenticator:
    return Authenticator(keys, clock, PEPPER, KeyCacheSettings())


def bearer(plaintext: str) -> bytes:
    return b"Bearer " + plaintext.encode()


async def refusal(authenticator: Authenticator, header: bytes | None) -> tuple[FailureKind, str]:
    with pytest.raises(Failed) as raised:
        await authenticator.authenticate(header, INFERENCE)
    authenticator.check_integrity()
    return raised.value.failure.kind, raised.value.failure.message


def test_a_key_is_shown_once_and_stored_as_a_keyed_digest() -> None:
    grant = KeyGrant(tenant=ACME, actor=ActorId("alice"), name="k")
    minted = mint_key(grant, CountedEntropy(), PEPPER, 5)
    assert re.fullmatch(r"oct_[a-z2-7]{12}_[a-z2-7]{52}", minted.plaintext)
    parsed = parse_key(minted.plaintext)
    assert parsed is not None
    assert parsed.prefix == minted.record.prefix
    assert minted.record.digest == key_digest(parsed.secret, PEPPER)
    assert key_digest(parsed.secret, b"another pepper") != minted.record.digest
    assert parsed.secret.encode() not in repr(minted.record).encode()


async def test_a_key_gives_its_principal_and_allowance(
    keys: KeyTable, authenticator: Authenticator
) -> None:
    limits = TenantLimits(requests_per_minute=5)
    keys.tenants[ACME] = Tenant(
        id=ACME, name="Acme", limits=TenantLimits(max_concurrent=2), created_unix_ns=0
    )
    minted = keys.mint(models=("tiny",), limits=limits)
    identity = await authenticator.authenticate(bearer(minted.plaintext), INFERENCE)
    assert identity.principal.tenant == ACME
    assert identity.principal.key_id == minted.record.id
    assert identity.principal.models == ("tiny",)
    assert identity.allowance.key == limits
    assert identity.allowance.tenant.max_concurrent == 2


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer ", b"Basic abc", b"Bearer sk-123", b"Bearer oct_short_secret"],
)
async def test_a_malformed_key_costs_no_lookup(
    header: bytes | None, keys: KeyTable, authenticator: Authenticator
) -> None:
    assert (await refusal(authenticator, header))[0] is FailureKind.INVALID_API_KEY
    assert keys.lookups == 0


async def test_unknown_prefix_and_wrong_secret_read_alike(
    keys: KeyTable, authenticator: Authenticator
) -> None:
    known, other = keys.mint(), keys.mint()
    wrong = known.plaintext[:17] + other.plaintext[17:]
    del keys.keys[other.record.prefix]
    unknown = await refusal(authenticator, bearer(other.plaintext))
    assert await refusal(authenticator, bearer(wrong)) == unknown
    assert unknown[0] is FailureKind.INVALID_API_KEY


async def test_expiry_is_exact(
    keys: KeyTable, authenticator: Authenticator, clock: SteppedClock
) -> None:
    minted = keys.mint(expires_unix_ns=clock.now_ns + 1)
    await authenticator.authenticate(bearer(minted.plaintext), INFERENCE)
    clock.now_ns += 1
    kind, message = await refusal(authenticator, bearer(minted.plaintext))
    assert kind is FailureKind.EXPIRED_API_KEY
    assert minted.record.prefix in message


async def test_a_revoked_key_ends_within_the_lifetime_of_the_cache(
    keys: KeyTable, authenticator: Authenticator, clock: SteppedClock
) -> None:

    minted = keys.mint()
    await authenticator.authenticate(bearer(minted.plaintext), INFERENCE)
    revoked = msgspec.structs.replace(minted.record, revoked_unix_ns=clock.now_ns)
    keys.keys[minted.record.prefix] = revoked
    clock.now_ns += KeyCacheSettings().lifetime_ns
    kind, message = await refusal(authenticator, bearer(minted.plaintext))
    assert kind is FailureKind.INVALID_API_KEY
    assert "revoked" in message


async def test_a_key_of_a_deleted_tenant_opens_nothing(
    keys: KeyTable, authenticator: Authenticator
) -> None:
    minted = keys.mint()
    del keys.tenants[ACME]
    assert (await refusal(authenticator, bearer(minted.plaintext)))[
        0
    ] is FailureKind.INVALID_API_KEY


async def test_a_scope_that_is_missing_is_named(
    keys: KeyTable, authenticator: Authenticator
) -> None:
    minted = keys.mint(scopes=(Scope.METRICS_READ,))
    kind, message = await refusal(authenticator, bearer(minted.plaintext))
    assert kind is FailureKind.PERMISSION_DENIED
    assert "`inference`" in message


async def test_a_key_without_scopes_opens_nothing(
    keys: KeyTable, authenticator: Authenticator
) -> None:
    minted = keys.mint(scopes=())
    assert (await refusal(authenticator, bearer(minted.plaintext)))[
        0
    ] is FailureKind.PERMISSION_DENIED


async def test_one_lookup_serves_many_requests_good_or_bad(
    keys: KeyTable, authenticator: Authenticator
) -> None:
    minted = keys.mint()
    unknown = keys.mint()
    del keys.keys[unknown.record.prefix]
    for _ in range(5):
        await authenticator.authenticate(bearer(minted.plaintext), INFERENCE)
        await refusal(authenticator, bearer(unknown.plaintext))
    assert keys.lookups == 2


async def test_the_cache_is_bounded(keys: KeyTable, clock: SteppedClock) -> None:
    authenticator = Authenticator(keys, clock, PEPPER, KeyCacheSettings(max_entries=3))
    for _ in range(10):
        await authenticator.authenticate(bearer(keys.mint().plaintext), INFERENCE)
        authenticator.check_integrity()
