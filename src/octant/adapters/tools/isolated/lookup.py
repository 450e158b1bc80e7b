"""Lookup: one row of an allowed table of a read-only SQLite file, by its key.

Law: table and column names come from the settings, the key is always a bound parameter, and the
connection can only read what the settings allow: the file is opened read-only, and an authorizer
refuses every other table, column, function and statement. The read transaction begins before the
process is confined, because SQLite could open no file afterwards.
"""

import sqlite3
from typing import Any, NamedTuple
from urllib.parse import quote

EVENTS: frozenset[str] = frozenset()

# An answer is bounded as a whole by the runner; this keeps one long text from taking it all.
_MAX_TEXT_CHARS = 2_000


class Opened(NamedTuple):
    """A connection inside its read transaction, and the statement to run."""

    connection: sqlite3.Connection
    statement: str
    columns: tuple[str, ...]


def prepare(arguments: dict[str, Any], context: dict[str, Any]) -> Opened:
    """Opens the file. Raises ValueError when it cannot be read or the table is not allowed."""
    settings = context["settings"]
    columns = settings["tables"].get(arguments["table"])
    if columns is None:
        raise ValueError(f"there is no table {arguments['table']}")
    key, *shown = columns
    names = ", ".join(map(_quoted, columns))
    statement = (
        f"SELECT {names} FROM {_quoted(arguments['table'])} WHERE {_quoted(key)} = ? LIMIT 2"
    )
    try:
        connection = _connect(settings["database"])
    except sqlite3.Error:
        raise ValueError("the database cannot be read") from None
    connection.set_authorizer(_only_reading(arguments["table"], (key, *shown)))
    return Opened(connection, statement, tuple(columns))


def run(arguments: dict[str, Any], state: Opened) -> dict[str, Any]:
    """The row as an object, or `{"result": "not found"}`."""
    try:
        rows = state.connection.execute(state.statement, (arguments["key"],)).fetchall()
    except sqlite3.Error:
        raise ValueError("the table cannot be read") from None
    if not rows:
        return {"result": "not found"}
    if len(rows) > 1:
        raise ValueError("more than one row has this key")
    return dict(zip(state.columns, map(_shown, rows[0]), strict=True))


def _connect(path: str) -> sqlite3.Connection:
    uri = f"file:{quote(path)}?mode=ro&immutable=0"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return connection


def _only_reading(table: str, columns: tuple[str, ...]) -> Any:
    # SQLite names are compared without case; it reports them as the schema spells them.
    known_table, known_columns = table.lower(), {column.lower() for column in columns}

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_SELECT:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and (first or "").lower() == known_table:
            column = (second or "").lower()
            return sqlite3.SQLITE_OK if column in known_columns else sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_DENY

    return authorize


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if isinstance(value, str) and len(value) > _MAX_TEXT_CHARS:
        return value[:_MAX_TEXT_CHARS] + "…"
    return value
