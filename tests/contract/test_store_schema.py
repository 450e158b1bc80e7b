"""The schema: migrations lead to the tables that the code expects, forwards and back."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, inspect

from octant.adapters.sqlite import database
from octant.adapters.sqlite.schema import HEAD, metadata
from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.core.failure import Failed, FailureKind

MIGRATIONS = Path(database.__file__).parent / "migrations"


def in_transaction(path: Path, work: Callable[[Connection], object]) -> object:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            return work(connection)
    finally:
        engine.dispose()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_migrations_lead_to_the_tables_of_the_code(tmp_path: Path) -> None:
    def differences(connection: Connection) -> object:
        database.upgrade(connection)
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert in_transaction(tmp_path / "new.db", differences) == []


def test_the_named_head_is_the_newest_migration_and_the_line_is_straight() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    assert script.get_heads() == [HEAD]
    assert script.get_bases() == [revision.revision for revision in script.walk_revisions()][-1:]


def test_every_migration_goes_back_and_forth(tmp_path: Path) -> None:
    path = tmp_path / "octant.db"
    in_transaction(path, database.upgrade)
    wanted = in_transaction(path, tables)
    in_transaction(path, lambda connection: database.downgrade(connection, "base"))
    assert in_transaction(path, tables) == set()
    in_transaction(path, database.upgrade)
    assert in_transaction(path, tables) == wanted


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "octant.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE manifests (mine TEXT)")
    connection.close()
    with pytest.raises(Exception, match="already exists"):
        in_transaction(path, database.upgrade)
    assert in_transaction(path, tables) == {"manifests"}


async def test_opening_creates_and_reopening_leaves_alone(tmp_path: Path) -> None:
    settings = SqliteSettings(path=tmp_path / "below" / "octant.db")
    for _ in range(2):
        store = SqliteStore(settings)
        await store.open()
        await store.check_integrity()
        await store.close()
    assert in_transaction(settings.path, database.schema_version) == HEAD


async def test_a_file_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    settings = SqliteSettings(path=tmp_path / "octant.db")
    in_transaction(settings.path, database.upgrade)

    def advance(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    in_transaction(settings.path, advance)
    with pytest.raises(Failed, match="Upgrade Octant") as caught:
        await SqliteStore(settings).open()
    assert caught.value.failure.kind is FailureKind.RECORD_NOT_STORED
    assert in_transaction(settings.path, database.schema_version) == "9999"


def test_opening_an_existing_file_needs_no_migration_tool(tmp_path: Path) -> None:
    settings = SqliteSettings(path=tmp_path / "octant.db")
    in_transaction(settings.path, database.upgrade)
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from octant.adapters.sqlite.settings import SqliteSettings\n"
        "from octant.adapters.sqlite.store import SqliteStore\n"
        "async def main():\n"
        "    store = SqliteStore(SqliteSettings(path=Path(sys.argv[1])))\n"
        "    await store.open()\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(settings.path)], check=True)


async def test_a_commit_reaches_the_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    engine = database.writing_engine(SqliteSettings(path=tmp_path / "octant.db"))
    async with engine.connect() as connection:
        found = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    await engine.dispose()
    full = 2
    assert found == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 5_000,
    }


async def test_several_processes_may_create_the_file_at_once(tmp_path: Path) -> None:
    stores = [SqliteStore(SqliteSettings(path=tmp_path / "octant.db")) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    await stores[0].check_integrity()
    for store in stores:
        await store.close()
