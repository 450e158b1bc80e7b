"""The built-in tools through real processes, and what the settings decide of them."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from octant.adapters.system.clock import SystemClock
from octant.adapters.tools.catalogue import NAMES, built_in
from octant.adapters.tools.runner import IsolatedToolRunner
from octant.adapters.tools.settings import ToolSettings
from octant.core.failure import Failed, FailureKind
from octant.core.tools import SideEffect, ToolStatus
from octant.core.units import NS_PER_S
from tests.support.tools import invocation, result, tool_runner

TABLES = {"orders": ("id", "status"), "customers": ("email", "name")}


class _Noon(SystemClock):
    """Always the same instant: 2026-09-21 14:13:20 UTC."""

    def unix_ns(self) -> int:
        return 1_790_000_000 * NS_PER_S


@pytest.fixture(params=["delete", "wal"])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file with two tables, a column and a table that nobody may read."""
    path = tmp_path / "a b?#%.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {request.param}")
    connection.executescript(
        """
        CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT, margin INTEGER);
        INSERT INTO orders VALUES (7, 'open', 12), (8, 'shipped', 40);
        CREATE TABLE customers (email TEXT, name TEXT);
        INSERT INTO customers VALUES ('a@x.example', 'Ann'), ('b@x.example', 'Bo');
        INSERT INTO customers VALUES ('twice@x.example', 'C'), ('twice@x.example', 'D');
        INSERT INTO customers VALUES ('odd@x.example', x'00ff'), ('long@x.example', 'x');
        UPDATE customers SET name = printf('%.*c', 5000, 'y') WHERE email = 'long@x.example';
        CREATE TABLE secrets (id INTEGER PRIMARY KEY, value TEXT);
        INSERT INTO secrets VALUES (7, 'hunter2');
        """
    )
    connection.close()
    return path


async def test_the_calculator_calculates() -> None:
    async with tool_runner() as runner:
        run = await runner.run(invocation("calculator", expression="1,200 * 0.15"))
        assert (run.status, run.content) == (ToolStatus.SUCCEEDED, '{"result": 180}')
        assert run.duration_ns > 0
        wrong = await runner.run(invocation("calculator", expression="1 / 0"))
        assert (wrong.status, result(wrong)) == (ToolStatus.FAILED, {"error": "division by zero"})


async def test_the_clock_tells_the_time_that_it_is_given() -> None:
    runner = IsolatedToolRunner(ToolSettings(), _Noon())
    assert result(await runner.run(invocation("clock"))) == {
        "date": "2026-09-21",
        "time": "14:13:20",
        "weekday": "Monday",
        "timezone": "UTC",
        "utc_offset": "+00:00",
    }
    there = await runner.run(invocation("clock", timezone="Asia/Kolkata"))
    if there.status is ToolStatus.SUCCEEDED:
        assert result(there)["time"] == "19:43:20"
        assert result(there)["utc_offset"] == "+05:30"
    else:
        assert "use a name such as Europe/Berlin, or UTC" in there.content
    await runner.close()


@pytest.mark.parametrize("zone", ["No/Where", "../../../etc/passwd", "/etc/passwd", "Europe", ""])
async def test_a_zone_that_is_none_is_said_to_be_none(zone: str) -> None:
    async with tool_runner() as runner:
        run = await runner.run(invocation("clock", timezone=zone))
        assert run.status is ToolStatus.FAILED
        assert "such as Europe/Berlin" in result(run)["error"]


async def test_lookup_reads_one_row(database: Path) -> None:
    async with tool_runner(lookup_database=database, lookup_tables=TABLES) as runner:

        async def found(table: str, key: Any) -> Any:
            return result(await runner.run(invocation("lookup", table=table, key=key)))

        assert await found("orders", "7") == {"id": 7, "status": "open"}
        assert await found("customers", "a@x.example") == {"email": "a@x.example", "name": "Ann"}
        assert await found("orders", "9") == {"result": "not found"}
        assert await found("customers", "twice@x.example") == {
            "error": "more than one row has this key"
        }
        assert (await found("customers", "odd@x.example"))["name"] == "(2 bytes)"
        assert len((await found("customers", "long@x.example"))["name"]) == 2_001
        assert await found("secrets", "7") == {"error": "there is no table secrets"}


async def test_lookup_sees_what_others_write(database: Path) -> None:
    async with tool_runner(lookup_database=database, lookup_tables=TABLES) as runner:
        connection = sqlite3.connect(database)
        connection.execute("UPDATE orders SET status = 'paid' WHERE id = 7")
        connection.commit()
        run = await runner.run(invocation("lookup", table="orders", key="7"))
        connection.close()
        assert result(run) == {"id": 7, "status": "paid"}


async def test_lookup_says_when_its_file_has_gone(database: Path) -> None:
    async with tool_runner(lookup_database=database, lookup_tables=TABLES) as runner:
        await asyncio.to_thread(database.unlink)
        run = await runner.run(invocation("lookup", table="orders", key="7"))
        assert (run.status, result(run)) == (
            ToolStatus.FAILED,
            {"error": "the database cannot be read"},
        )


async def test_another_version_is_another_tool() -> None:
    async with tool_runner() as runner:
        other = invocation("calculator", expression="1")
        for changed in ({"version": "0"}, {"tool": "abacus"}):
            run = await runner.run(type(other)(**{**_fields(other), **changed}))
            assert run.status is ToolStatus.FAILED
            assert "there is no tool" in run.content


def test_specs_are_complete_and_in_order(database: Path) -> None:
    settings = ToolSettings(
        enabled=("lookup", "clock", "calculator"), lookup_database=database, lookup_tables=TABLES
    )
    specs = [tool.spec for tool in built_in(settings)]
    assert tuple(spec.name for spec in specs) == NAMES
    for spec in specs:
        assert spec.side_effect is SideEffect.READ
        assert spec.definition.parameters["additionalProperties"] is False
        json.dumps(spec.definition.parameters)
    assert specs[2].definition.parameters["properties"]["table"]["enum"] == list(TABLES)
    assert "orders by id" in specs[2].definition.description


def test_lookup_is_there_only_with_a_database() -> None:
    assert [tool.spec.name for tool in built_in(ToolSettings())] == ["calculator", "clock"]
    assert built_in(ToolSettings(enabled=())) == ()


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"enabled": ("abacus",)}, "tools.enabled"),
        ({"lookup_database": Path("/nonexistent")}, "tools.lookup_database"),
        ({"lookup_tables": {}}, "tools.lookup_tables"),
        ({"lookup_tables": {"orders": ("id",)}}, "tools.lookup_tables"),
        ({"lookup_tables": {"orders; DROP TABLE x": ("id", "b")}}, "tools.lookup_tables"),
        ({"lookup_tables": {"orders": ("id", 'b"')}}, "tools.lookup_tables"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_start(
    database: Path, changes: dict[str, Any], param: str
) -> None:
    given = {"lookup_database": database, "lookup_tables": TABLES} | changes
    with pytest.raises(Failed) as raised:
        built_in(ToolSettings(**given))
    assert raised.value.failure.kind is FailureKind.INVALID_VALUE
    assert raised.value.failure.param == param


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}
