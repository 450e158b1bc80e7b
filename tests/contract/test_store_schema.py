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
from octant.core.audit_walk import FROM_THE_START
from octant.core.failure import Failed, FailureKind
from octant.core.record import encode
from octant.ports.store import RequestFilter
from tests.support.settlements import (
    ACME,
    MONTH,
    audited,
    outcome,
    request_id,
    session,
    session_id,
    settlement,
    whole_settlement,
)

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


AUDITED = 2_500
"""More than the migration copies at once."""


def fill_0001(connection: Connection) -> None:
    """A file as version 0001 left it: requests, and audit records with gaps between them."""
    database.upgrade(connection, "0001")
    add = connection.exec_driver_sql
    add("INSERT INTO tenants VALUES (?, 'Acme', NULL, 1, ?)", (ACME.id, encode(ACME).decode()))
    for number in range(3):
        settled = outcome(number)
        shared = (settled.request_id, settled.tenant)
        add(
            "INSERT INTO outcomes VALUES "
            "(?, ?, ?, 'k1', 'm', 'interactive', 'completed', NULL, ?, ?)",
            (number + 1, *shared, settled.received_unix_ns, encode(settled).decode()),
        )
        add("INSERT INTO ledger VALUES (?, ?, ?, 'k1', 'm', 10, 4, 5, 7)", (*shared, MONTH))
        add("INSERT INTO traces VALUES (?, ?, ?)", (number + 1, settled.request_id, b"\x90"))
    add("INSERT INTO budgets VALUES (?, ?, 3, 21)", (ACME.id, MONTH))
    for number in range(AUDITED):
        record = audited(f"change-{number}", at_unix_ns=number)
        add(
            "INSERT INTO audit VALUES (?, ?, NULL, ?, ?, ?)",
            (3 * number + 5, ACME.id, record.action, number, encode(record).decode()),
        )


def audit_0001(connection: Connection) -> list[tuple[object, ...]]:
    query = "SELECT tenant, request_id, action, at_unix_ns, record FROM audit ORDER BY seq"
    return [tuple(row) for row in connection.exec_driver_sql(query)]


async def test_a_file_of_version_0001_is_chained_and_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "octant.db"
    in_transaction(path, fill_0001)
    before = in_transaction(path, audit_0001)
    store = SqliteStore(SqliteSettings(path=path))
    await store.open()
    await store.check_integrity()
    assert [each.request_id for each in await store.outcomes(RequestFilter())] == [
        request_id(number) for number in (2, 1, 0)
    ]
    assert await store.spent(ACME.id, MONTH) == 21
    assert (await store.usage(ACME.id, MONTH))[0].requests == 3
    assert await store.summary(request_id(1)) is None
    chain = await store.audit_chain(FROM_THE_START, 2 * AUDITED)
    assert [link.seq for link in chain] == list(range(1, AUDITED + 1))
    assert [link.record.action for link in chain[:2]] == ["change-0", "change-1"]
    await store.settle(settlement(3))
    await store.check_integrity()
    await store.close()
    after = in_transaction(path, audit_0001)
    assert isinstance(after, list) and after[:-1] == before


async def test_going_back_to_0001_keeps_what_0001_knew(tmp_path: Path) -> None:
    path = tmp_path / "octant.db"
    in_transaction(path, fill_0001)
    before = in_transaction(path, audit_0001)
    for _ in range(2):
        in_transaction(path, database.upgrade)
        in_transaction(path, lambda connection: database.downgrade(connection, "0001"))
        assert in_transaction(path, audit_0001) == before
        assert in_transaction(path, database.schema_version) == "0001"
    store = SqliteStore(SqliteSettings(path=path))
    await store.open()
    await store.check_integrity()
    await store.close()


async def test_a_used_file_goes_back_and_forth(tmp_path: Path) -> None:
    path = tmp_path / "octant.db"
    store = SqliteStore(SqliteSettings(path=path))
    await store.open()
    await store.put_tenant(ACME)
    await store.put_session(session(1))
    await store.settle(whole_settlement(0, session=1, version=0))
    head = (await store.audit_chain(FROM_THE_START, 9))[-1].digest
    await store.close()
    in_transaction(path, lambda connection: database.downgrade(connection, "0001"))
    await store.open()
    await store.check_integrity()
    assert (await store.audit_chain(FROM_THE_START, 9))[-1].digest == head
    assert await store.conversation(ACME.id, session_id(1)) is None
    assert await store.recording(request_id(0)) is None
    assert await store.outcome(request_id(0)) == outcome(0)
    await store.close()


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
