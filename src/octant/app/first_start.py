"""First start: what a data directory holds before anything is served from it.

Law: everything here is made once and found again afterwards; the key's secret is returned to be
shown and is kept nowhere.
"""

import os
from contextlib import suppress
from pathlib import Path

from octant.app.settings import LoadedSettings, Settings
from octant.app.settings_text import default_config_text
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import PrincipalRole, Scope
from octant.core.ids import ActorId, TenantId
from octant.core.limits import TenantLimits
from octant.core.stage import Stage
from octant.core.units import NanoUsd
from octant.gateway.api_keys import KeyGrant, mint_key
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.store import Store, Tenant

DEFAULT_TENANT = TenantId("default")
# Whoever starts a server for the first time may do with it whatever it can do.
OWNER_SCOPES = tuple(Scope)
PEPPER_FILE = "pepper"
CONFIG_FILE = "octant.toml"

_PEPPER_BYTES = 32
_PRIVATE = 0o600


def prepare_data_dir(settings: Settings) -> None:
    """Makes the directory, readable by its owner only. Raises Failed(RECORD_NOT_STORED)."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(settings.data_dir, error) from error


def key_pepper(settings: Settings, entropy: Entropy) -> bytes:
    """The secret under which API keys are hashed; made at the first call, then read again.

    Without it no stored key can be verified, so it belongs into every backup of the store.
    """
    path = settings.data_dir / PEPPER_FILE
    prepare_data_dir(settings)
    if not path.exists():
        try:
            _write_once(path, entropy.bytes(_PEPPER_BYTES), entropy)
        except OSError as error:
            raise _unusable(path, error) from error
    return _read_pepper(path)


def _write_once(path: Path, content: bytes, entropy: Entropy) -> None:
    """The file appears whole or not at all; of two writers, the first one's content stays."""
    draft = path.with_name(f".{path.name}.{entropy.bytes(8).hex()}")
    try:
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def configuration_file(loaded: LoadedSettings) -> Path:
    """The file in force; without one, a commented file with every default is written."""
    if loaded.file is not None:
        return loaded.file
    path = loaded.settings.data_dir / CONFIG_FILE
    prepare_data_dir(loaded.settings)
    try:
        path.write_text(default_config_text(), encoding="utf-8")
    except OSError as error:
        raise _unusable(path, error) from error
    return path


async def first_key(
    settings: Settings, store: Store, pepper: bytes, clock: Clock, entropy: Entropy
) -> str | None:
    """Makes the default tenant and its first key, and returns the key's text; None ever after."""
    if await store.keys():
        return None
    if await store.tenant(DEFAULT_TENANT) is None:
        await store.put_tenant(_default_tenant(settings, clock))
    grant = KeyGrant(
        tenant=DEFAULT_TENANT,
        actor=ActorId("owner"),
        name="first key",
        role=PrincipalRole.ADMINISTRATOR,
        scopes=OWNER_SCOPES,
    )
    minted = mint_key(grant, entropy, pepper, clock.unix_ns())
    await store.put_key(minted.record)
    return minted.plaintext


def _default_tenant(settings: Settings, clock: Clock) -> Tenant:
    defaults = settings.admission.tenant_defaults
    budget = defaults.budget_nano_usd
    return Tenant(
        id=DEFAULT_TENANT,
        name="Default tenant",
        limits=TenantLimits(
            requests_per_minute=defaults.requests_per_minute,
            tokens_per_minute=defaults.tokens_per_minute,
            max_concurrent=defaults.max_concurrent,
        ),
        budget_nano_usd=None if budget is None else NanoUsd(budget),
        created_unix_ns=clock.unix_ns(),
    )


def _read_pepper(path: Path) -> bytes:
    try:
        pepper = path.read_bytes()
    except OSError as error:
        raise _unusable(path, error) from error
    if len(pepper) != _PEPPER_BYTES:
        raise Failed(
            Failure(
                kind=FailureKind.RECORD_NOT_STORED,
                stage=Stage.BOUNDARY,
                message=f"{path} holds {len(pepper)} bytes instead of {_PEPPER_BYTES}. Restore it "
                "from a backup; without it no stored API key can be verified.",
            )
        )
    return pepper


def _unusable(path: Path, error: OSError) -> Failed:
    return Failed(
        Failure(
            kind=FailureKind.RECORD_NOT_STORED,
            stage=Stage.BOUNDARY,
            message=f"{path} cannot be used: {error.strerror}. Choose another directory with "
            "--data-dir, or change its permissions.",
        )
    )
