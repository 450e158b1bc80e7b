"""The configuration file: TOML, with the line of every key so that errors can name it."""

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from octant.app.settings_problems import missing_file, not_toml, unreadable_file
from octant.core.toml_text import lines_of


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
        return FileTable(path, tomllib.loads(text), lines_of(text))
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except OSError as error:
        raise unreadable_file(path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise not_toml(path, error) from error
