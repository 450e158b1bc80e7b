"""Whatever a model puts into a lookup, it reads one allowed row or nothing."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octant.adapters.tools.isolated import lookup

SETTINGS = {"orders": ["id", "status"]}
_INJECTED = [
    "' OR '1'='1",
    "7 OR 1=1",
    "7; DROP TABLE orders",
    "7' UNION SELECT value, value FROM secrets --",
    '" OR ""="',
    "7/**/OR/**/1",
    "x'37'",
    "%",
    "\x00",
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT, margin INTEGER);
            INSERT INTO orders VALUES (7, 'open', 12);
            CREATE TABLE secrets (id INTEGER PRIMARY KEY, value TEXT);
            INSERT INTO secrets VALUES (7, 'hunter2');
            """
        )
    connection.close()
    return path


def _opened(database: Path, table: str = "orders") -> lookup.Opened:
    context = {"settings": {"database": str(database), "tables": SETTINGS}}
    return lookup.prepare({"table": table}, context)


def _found(opened: lookup.Opened, key: Any) -> Any:
    try:
        return lookup.run({"key": key}, opened)
    finally:
        opened.connection.close()


@pytest.mark.parametrize("key", _INJECTED)
def test_a_key_is_only_ever_a_value(database: Path, key: str) -> None:
    before = database.read_bytes()
    assert _found(_opened(database), key) == {"result": "not found"}
    assert database.read_bytes() == before


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_finds_the_row_of_its_number_or_none(database: Path, key: str) -> None:
    found = _found(_opened(database), key)
    assert found in ({"result": "not found"}, {"id": 7, "status": "open"})


@pytest.mark.parametrize(
    "table", ["secrets", "orders; DROP TABLE orders", 'orders" --', "sqlite_schema", "ORDERS"]
)
def test_a_table_that_is_not_listed_does_not_exist(database: Path, table: str) -> None:
    with pytest.raises(ValueError, match="there is no table"):
        _opened(database, table)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT margin FROM orders",
        "SELECT value FROM secrets",
        "SELECT name FROM sqlite_schema",
        "SELECT status FROM orders UNION SELECT value FROM secrets",
        "SELECT load_extension('x')",
        "SELECT hex(status) FROM orders",
        "SELECT * FROM pragma_table_info('secrets')",
        "DELETE FROM orders",
        "UPDATE orders SET status = 'x'",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "ATTACH '/tmp/x.db' AS x",
        "PRAGMA query_only = OFF",
        "COMMIT",
        "VACUUM",
    ],
)
def test_the_connection_itself_refuses_everything_else(database: Path, statement: str) -> None:
    """In case a statement could be injected after all."""
    opened = _opened(database)
    with pytest.raises(sqlite3.DatabaseError, match="prohibited|not authorized|cannot VACUUM"):
        opened.connection.execute(statement)
    opened.connection.close()
