"""The configuration file: TOML, with the line of every key so that errors can name it."""

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from octant.app.settings_problems import missing_file, not_toml, unreadable_file

_TABLE = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?$")
_ENTRY = re.compile(r"\s*\[\[([^\[\]]+)\]\]\s*(#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=")


class FileTable(NamedTuple):
    """The values of a file, and the line on which each dotted name stands.

    Tables of a list are numbered: `upstreams.0.name`.
    """

    path: Path
    values: dict[str, Any]
    lines: dict[str, int]

    def place(self, name: str) -> str:
        """`file:line` of a dotted name, or of what it stands in."""
        while name and name not in self.lines:
            name = name.rpartition(".")[0]
        return f"{self.path}:{self.lines[name]}" if name else str(self.path)


def read(path: Path) -> FileTable:
    """Raises Failed(NOT_FOUND) without the file and Failed(INVALID_VALUE) when it is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        return FileTable(path, tomllib.loads(text), _lines(text))
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except OSError as error:
        raise unreadable_file(path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise not_toml(path, error) from error


def _lines(text: str) -> dict[str, int]:
    lines: dict[str, int] = {}
    table = ""
    entries: Counter[str] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        if entry := _ENTRY.match(line):
            name = _bare(entry[1])
            table = f"{name}.{entries[name]}"
            entries[name] += 1
            lines.setdefault(name, number)
            lines[table] = number
        elif header := _TABLE.match(line):
            table = _bare(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault(f"{table}.{_bare(key[1])}".lstrip("."), number)
    return lines


def _bare(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
