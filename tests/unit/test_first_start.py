"""First start: made once, found again, and whole or not at all."""

import os
from pathlib import Path

import pytest

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.adapters.system.clock import SystemClock
from octant.adapters.system.directory_lock import hold_directory
from octant.adapters.system.entropy import SystemEntropy
from octant.app import first_start
from octant.app.settings import Settings, load_settings
from octant.core.failure import Failed, FailureKind
from octant.core.ids import TenantId
from octant.ports.store import Tenant

ENTROPY = SystemEntropy()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(None, {"server.data_dir": str(tmp_path / "data")}).settings


def test_the_pepper_is_made_once_private_and_whole(settings: Settings) -> None:
    pepper = first_start.key_pepper(settings, ENTROPY)
    assert first_start.key_pepper(settings, ENTROPY) == pepper
    (file,) = settings.data_dir.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700


def test_a_damaged_pepper_is_named_and_never_replaced(settings: Settings) -> None:
    first_start.prepare_data_dir(settings)
    path = settings.data_dir / first_start.PEPPER_FILE
    path.write_bytes(b"short")
    with pytest.raises(Failed, match="5 bytes instead of 32"):
        first_start.key_pepper(settings, ENTROPY)
    assert path.read_bytes() == b"short"


def test_a_writer_that_died_leaves_no_pepper_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    first_start.prepare_data_dir(settings)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(Failed, match="No space left"):
            first_start.key_pepper(settings, ENTROPY)
    assert list(settings.data_dir.iterdir()) == []
    assert len(first_start.key_pepper(settings, ENTROPY)) == 32


async def test_the_first_key_comes_once_also_when_tenants_were_made_before(
    tmp_path: Path, settings: Settings
) -> None:
    store = SqliteStore(SqliteSettings(path=tmp_path / "octant.db"))
    await store.open()
    try:
        await store.put_tenant(Tenant(id=TenantId("acme"), name="Acme", created_unix_ns=0))
        pepper = first_start.key_pepper(settings, ENTROPY)
        made = [
            await first_start.first_key(settings, store, pepper, SystemClock(), ENTROPY)
            for _ in range(2)
        ]
        assert made[0] is not None and made[0].startswith("oct_")
        assert made[1] is None
        assert {tenant.id for tenant in await store.tenants()} == {"acme", "default"}
    finally:
        await store.close()


def test_a_held_directory_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    with hold_directory(tmp_path):
        with pytest.raises(Failed) as caught, hold_directory(tmp_path):
            pass
        assert caught.value.failure.kind is FailureKind.CONFLICT
    with hold_directory(tmp_path):
        pass


def test_a_directory_that_cannot_be_locked_is_named() -> None:
    with pytest.raises(Failed) as caught, hold_directory(Path("/proc/self/no-such")):
        pass
    assert caught.value.failure.kind is FailureKind.RECORD_NOT_STORED
