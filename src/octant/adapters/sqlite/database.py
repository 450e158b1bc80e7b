"""The file: connections with the right pragmas, and the schema brought to its newest version.

Law: WAL with synchronous=FULL, so a commit that returned survives a power cut. Transactions begin
as writers do (`BEGIN IMMEDIATE`), so two processes never deadlock on an upgrade of a read lock.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from octant.adapters.sqlite.schema import HEAD
from octant.adapters.sqlite.settings import SqliteSettings

_MIGRATIONS = Path(__file__).parent / "migrations"


class UnknownSchema(Exception):
    """The file was written by a version of Octant that this one does not know."""


def writing_engine(settings: SqliteSettings) -> AsyncEngine:
    """One connection, whose transactions take the write lock at their beginning.

    A plain engine on a thread of its own was measured against this: no faster for one caller, and a
    third slower for 64, because it fights the event loop for the interpreter.
    """
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{settings.path}",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
        max_overflow=0,
    )
    pragmas = (
        f"busy_timeout={settings.busy_timeout_ms}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        # What is deleted on request (a session) is overwritten and not only unlinked.
        "secure_delete=ON",
    )
    _prepare_connections(engine, pragmas)

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reading_engine(settings: SqliteSettings) -> AsyncEngine:
    """Connections that cannot write; each statement sees the newest commit."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{settings.path}",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=settings.read_connections,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
    )
    _prepare_connections(engine, (f"busy_timeout={settings.busy_timeout_ms}", "query_only=ON"))
    return engine


async def migrate(connection: AsyncConnection) -> None:
    """Brings the schema to HEAD. Raises UnknownSchema on a file newer than this program."""
    async with connection.begin():
        # Looked at under the write lock: of several processes that start, one migrates.
        if await connection.run_sync(schema_version) != HEAD:
            await connection.run_sync(upgrade)


async def check_writable(connection: AsyncConnection) -> None:
    """Commits a row that changes nothing."""
    async with connection.begin():
        await connection.execute(text("UPDATE alembic_version SET version_num = version_num"))


async def empty_log(connection: AsyncConnection) -> bool:
    """Moves what the write-ahead log holds into the file, so that nothing older is left in it.

    False when readers kept it from being emptied. Raises sqlite3.Error; not within a transaction.
    """
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert driver is not None, "the connection is open"
    cursor = await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    busy, *_ = await cursor.fetchone()
    await cursor.close()
    return not busy


def schema_version(connection: Connection) -> str | None:
    """The revision of the file, None when it is new. Costs a query, no import of alembic."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs the missing migrations up to `revision` inside the caller's transaction."""
    from alembic import command
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = _alembic_config(connection)
    version = schema_version(connection)
    if version is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(version)
        except CommandError as error:
            raise UnknownSchema(version) from error
    command.upgrade(config, revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Undoes migrations down to `revision`, `base` for all, inside the caller's transaction."""
    from alembic import command

    command.downgrade(_alembic_config(connection), revision)


def _alembic_config(connection: Connection) -> Any:
    # Imported here: alembic takes 0.2 s, and a start that has nothing to migrate needs none of it.
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _prepare_connections(engine: AsyncEngine, pragmas: tuple[str, ...]) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _: object) -> None:  # pyright: ignore[reportUnusedFunction]
        # The driver's own BEGIN would not cover DDL, so the `begin` event emits it instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
