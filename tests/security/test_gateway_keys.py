"""Keys over real HTTP: checked before the body, cheap to refuse, never routed around."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.adapters.system.clock import SystemClock
from octant.adapters.system.entropy import SystemEntropy
from octant.core.failure import Failed
from octant.core.identity import Scope
from octant.core.ids import ActorId
from octant.gateway.api_keys import KeyGrant, mint_key
from octant.gateway.authentication import Authenticator, KeyCacheSettings
from octant.gateway.settings import GatewaySettings
from octant.ports.store import Tenant
from tests.support.gateway import ACME, PEPPER, Gateway, running_gateway


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running_gateway(GatewaySettings()) as running:
        yield running


async def code_with(gateway: Gateway, authorization: str) -> tuple[int, str]:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
    url = "/v1/chat/completions"
    response = await gateway.post(url, body, authorization=authorization)
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_the_key_is_checked_before_the_body_is_read(gateway: Gateway, path: str) -> None:
    """The body never comes, and the refusal does not wait for it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    request = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
    writer.write(request.encode())
    async with asyncio.timeout(10):
        response = await reader.readuntil(b"}}")
    writer.close()
    assert response.startswith(b"HTTP/1.1 401")
    assert b"www-authenticate: Bearer" in response


async def test_a_body_is_not_invited_without_a_key(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        b"expect: 100-continue\r\ncontent-length: 10\r\n\r\n"
    )
    async with asyncio.timeout(10):
        response = await reader.readuntil(b"}}")
    writer.close()
    assert response.startswith(b"HTTP/1.1 401")


async def test_every_refusal_has_its_code(gateway: Gateway) -> None:
    minted = gateway.keys.mint()
    replace = msgspec.structs.replace
    assert await code_with(gateway, "Bearer sk-1") == (401, "invalid_api_key")
    assert await code_with(gateway, minted.plaintext) == (401, "invalid_api_key")
    gateway.keys.keys[minted.record.prefix] = replace(minted.record, expires_unix_ns=1)
    assert await code_with(gateway, f"Bearer {minted.plaintext}") == (401, "expired_api_key")
    reader = gateway.keys.mint(scopes=(Scope.MODELS_READ,))
    assert await code_with(gateway, f"Bearer {reader.plaintext}") == (403, "permission_denied")


async def test_no_answer_repeats_a_secret(gateway: Gateway) -> None:
    wrong = gateway.key[:-4] + "aaaa"
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
    response = await gateway.post("/v1/chat/completions", body, authorization=f"Bearer {wrong}")
    assert response.status_code == 401
    assert wrong[17:] not in response.text + str(response.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "x/health/live?"},
        {"x-forwarded-prefix": "/health"},
        {"x-original-url": "/health/live"},
        {"x-rewrite-url": "/metrics"},
        {"x-http-method-override": "GET"},
    ],
)
async def test_headers_do_not_change_the_route(gateway: Gateway, headers: dict[str, str]) -> None:
    response = await gateway.http.get("/v1/models", headers=headers)
    assert response.status_code == 401


@pytest.mark.parametrize(
    "target",
    ["/health/live/../../v1/models", "/v1/models?x=/health/live", "/v1/%6dodels", "/v1/models;x"],
)
async def test_odd_targets_are_never_let_in_without_a_key(gateway: Gateway, target: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    async with asyncio.timeout(10):
        response = await reader.readuntil(b"}}")
    writer.close()
    assert response[9:12] in (b"401", b"404")


async def test_a_flood_of_bad_keys_asks_the_store_once_per_prefix(gateway: Gateway) -> None:
    unknown = gateway.keys.mint()
    del gateway.keys.keys[unknown.record.prefix]
    before = gateway.keys.lookups
    for _ in range(20):
        await code_with(gateway, f"Bearer {unknown.plaintext}")
        await code_with(gateway, "Bearer sk-malformed")
    # One lookup in each second of the cache's lifetime; twenty requests take a few at most.
    assert gateway.keys.lookups - before < 20


async def test_a_key_of_the_shipped_store_opens_until_it_is_revoked(tmp_path: Path) -> None:
    store, clock = SqliteStore(SqliteSettings(path=tmp_path / "octant.db")), SystemClock()
    tenant = Tenant(id=ACME, name="Acme", created_unix_ns=0)
    grant = KeyGrant(tenant=ACME, actor=ActorId("alice"), name="test")
    minted = mint_key(grant, SystemEntropy(), PEPPER, clock.unix_ns())
    header = f"Bearer {minted.plaintext}".encode()
    await store.open()
    try:
        await store.put_tenant(tenant)
        await store.put_key(minted.record)
        authenticator = Authenticator(store, clock, PEPPER, KeyCacheSettings())
        identity = await authenticator.authenticate(header, (Scope.INFERENCE,))
        assert identity.principal.key_id == minted.record.id
        await store.put_key(msgspec.structs.replace(minted.record, revoked_unix_ns=1))
        # Another server process, or this one after the lifetime of its cache.
        with pytest.raises(Failed):
            await Authenticator(store, clock, PEPPER, KeyCacheSettings()).authenticate(
                header, (Scope.INFERENCE,)
            )
        with pytest.raises(Failed):
            await Authenticator(store, clock, b"other", KeyCacheSettings()).authenticate(
                header, (Scope.INFERENCE,)
            )
    finally:
        await store.close()
