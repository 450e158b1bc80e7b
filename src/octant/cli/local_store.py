"""Local store: what commands do to keys, tenants and traces in the data directory itself.

Law: the store is SQLite in WAL mode, so this works beside a running server, which sees a change
within the short life of its key cache. Only `app.wiring` knows which store it is. A command that
only looks or changes never makes a store: it was meant for another data directory.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from octant.app import wiring
from octant.app.settings import Settings
from octant.cli.hints import hint
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import TenantId
from octant.core.stage import Stage
from octant.gateway.api_keys import KeyGrant, MintedKey, mint_key
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.store import ApiKey, Store, Tenant


class LocalStore(NamedTuple):
    """An open store and what is needed to make keys for it."""

    store: Store
    pepper: bytes
    clock: Clock
    entropy: Entropy
    data_dir: Path

    async def tenant(self, tenant: str) -> Tenant:
        """Raises Failed(NOT_FOUND) with the tenants that exist."""
        found = await self.store.tenant(TenantId(tenant))
        if found is None:
            known = ", ".join(sorted(t.id for t in await self.store.tenants())) or "none yet"
            raise not_found(
                f"There is no tenant `{tenant}`. Tenants: {known}. Make one with "
                f"`{hint(f'tenants create {tenant}', self.data_dir)}`."
            )
        return found

    async def create_key(self, grant: KeyGrant) -> MintedKey:
        """Mints and stores a key for an existing tenant."""
        await self.tenant(grant.tenant)
        minted = mint_key(grant, self.entropy, self.pepper, self.clock.unix_ns())
        await self.store.put_key(minted.record)
        return minted

    async def revoke_key(self, named: str) -> ApiKey:
        """Revokes the key with this id or prefix; one already revoked stays as it is."""
        wanted = named.removeprefix("key_").removeprefix("oct_").partition("_")[0]
        for key in await self.store.keys():
            if wanted in (key.prefix, key.id.removeprefix("key_")):
                if key.revoked_unix_ns is not None:
                    return key
                revoked = replace(key, revoked_unix_ns=self.clock.unix_ns())
                await self.store.put_key(revoked)
                return revoked
        listing = hint("keys list --all", self.data_dir)
        raise not_found(f"There is no key `{named}`. `{listing}` shows all of them.")


@asynccontextmanager
async def open_local(settings: Settings, *, make: bool = False) -> AsyncGenerator[LocalStore, None]:
    """The store of the data directory; one that is not there yet is made only with `make`.

    Raises Failed(RECORD_NOT_STORED) when there is none or it cannot be used.
    """
    if not make and not settings.store_path.exists():
        raise _no_store(settings)
    async with wiring.open_store(settings) as store:
        pepper = wiring.key_pepper(settings)
        yield LocalStore(store, pepper, wiring.clock(), wiring.entropy(), settings.data_dir)


def _no_store(settings: Settings) -> Failed:
    return Failed(
        Failure(
            kind=FailureKind.RECORD_NOT_STORED,
            stage=Stage.BOUNDARY,
            message=f"There is no store at {settings.store_path}. Name the data directory of your "
            f"server with --data-dir, or make a store with "
            f"`{hint('serve', settings.data_dir)}`.",
        )
    )


def not_found(message: str) -> Failed:
    """The failure of a name that nothing has."""
    return Failed(Failure(kind=FailureKind.NOT_FOUND, stage=Stage.BOUNDARY, message=message))


def conflict(message: str) -> Failed:
    """The failure of a name that is taken."""
    return Failed(Failure(kind=FailureKind.CONFLICT, stage=Stage.BOUNDARY, message=message))
