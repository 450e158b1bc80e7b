"""Stores on real files, for tests of what every implementation of the Store port promises."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.ports.store import Store
from tests.support.settlements import ACME, UMBRELLA

OpenStore = Callable[[], Store]


@pytest.fixture(params=["sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Makes store after store on the same durable state, whatever holds it."""
    assert request.param == "sqlite"
    return lambda: SqliteStore(SqliteSettings(path=tmp_path / "octant.db"))


@pytest.fixture
async def store(make: OpenStore) -> AsyncGenerator[Store]:
    """An open store with two tenants."""
    opened = make()
    await opened.open()
    await opened.put_tenant(ACME)
    await opened.put_tenant(UMBRELLA)
    yield opened
    await opened.close()
