"""The built-in tools: what a model is told of each, and the program that runs it.

Law: a schema says all that a call may hold (nothing else is passed on), so whatever fits it is safe
to hand to the tool. A version changes whenever the same arguments may come to mean otherwise.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from octant.adapters.tools.settings import ToolSettings
from octant.core.content import ToolDefinition
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.core.tools import SideEffect, ToolSpec

NAMES = ("calculator", "clock", "lookup")

_PROGRAMS = Path(__file__).parent / "isolated"
_MAX_EXPRESSION_CHARS = 500
_MAX_KEY_CHARS = 200
_ZONE = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class ToolProgram(NamedTuple):
    """A tool, the file that runs it, and what of the settings its process is given.

    The file imports the standard library only and has `EVENTS`, `prepare` and `run`, as those in
    `isolated` do.
    """

    spec: ToolSpec
    file: Path
    settings: dict[str, Any]


def built_in(settings: ToolSettings) -> tuple[ToolProgram, ...]:
    """The enabled tools in the order of `NAMES`; `lookup` needs a database to exist.

    Raises Failed(INVALID_VALUE) for a tool, table or column that cannot be.
    """
    for name in settings.enabled:
        if name not in NAMES:
            _refuse(f"There is no tool {name!r}; there are {', '.join(NAMES)}.", "tools.enabled")
    makers = {"calculator": _calculator, "clock": _clock, "lookup": _lookup}
    made = (makers[name](settings) for name in NAMES if name in settings.enabled)
    return tuple(tool for tool in made if tool is not None)


def _calculator(settings: ToolSettings) -> ToolProgram:
    expression = {"type": "string", "minLength": 1, "maxLength": _MAX_EXPRESSION_CHARS}
    definition = ToolDefinition(
        name="calculator",
        description="Evaluate an arithmetic expression",
        parameters=_object({"expression": expression}, required=("expression",)),
    )
    return ToolProgram(_spec(definition, "1", settings), _PROGRAMS / "calculator.py", {})


def _clock(settings: ToolSettings) -> ToolProgram:
    definition = ToolDefinition(
        name="clock",
        description="Get the date and time",
        parameters=_object({"timezone": {"type": "string", "maxLength": 64, "pattern": _ZONE}}),
    )
    return ToolProgram(_spec(definition, "1", settings), _PROGRAMS / "clock.py", {})


def _lookup(settings: ToolSettings) -> ToolProgram | None:
    if settings.lookup_database is None:
        return None
    _check_lookup(settings)
    tables = {table: list(columns) for table, columns in settings.lookup_tables.items()}
    keys = ", ".join(f"{table} by {columns[0]}" for table, columns in tables.items())
    properties = {
        "table": {"type": "string", "enum": list(tables)},
        "key": {"type": "string", "minLength": 1, "maxLength": _MAX_KEY_CHARS},
    }
    definition = ToolDefinition(
        name="lookup",
        description=f"Look up an entry: {keys}",
        parameters=_object(properties, required=("table", "key")),
    )
    given = {"database": str(settings.lookup_database), "tables": tables}
    return ToolProgram(_spec(definition, "1", settings), _PROGRAMS / "lookup.py", given)


def _spec(definition: ToolDefinition, version: str, settings: ToolSettings) -> ToolSpec:
    return ToolSpec(
        definition=definition,
        version=version,
        side_effect=SideEffect.READ,
        timeout_ns=settings.timeout_ns,
        max_result_bytes=settings.max_result_bytes,
    )


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _check_lookup(settings: ToolSettings) -> None:
    database = settings.lookup_database
    if database is None or not database.is_file():
        _refuse(f"There is no file {database}.", "tools.lookup_database")
    if not settings.lookup_tables:
        _refuse("Name the tables that lookup may read, with their columns.", "tools.lookup_tables")
    for table, columns in settings.lookup_tables.items():
        for name in (table, *columns):
            if _IDENTIFIER.fullmatch(name) is None:
                _refuse(f"{name!r} is no name of a table or column.", "tools.lookup_tables")
        if len(columns) < 2:
            _refuse(
                f"Name the key column of {table!r} and at least one more.", "tools.lookup_tables"
            )


def _refuse(message: str, param: str) -> NoReturn:
    raise Failed(
        Failure(kind=FailureKind.INVALID_VALUE, stage=Stage.LOAD, message=message, param=param)
    )
