"""TOML text: on which line each name of it stands, so that errors can say so."""

import re
from collections import Counter

_TABLE = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?$")
_ENTRY = re.compile(r"\s*\[\[([^\[\]]+)\]\]\s*(#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=")


def lines_of(text: str) -> dict[str, int]:
    """Line numbers, from 1, by dotted name; entry `n` of a list of tables is `name.n`, from 0."""
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
