"""The settings as text: the commented file written at the first start, and the reference page.

Law: both are rendered from the declarations, so a setting cannot be missing from either.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Literal, NamedTuple, cast, get_args, get_origin

from pydantic import BaseModel

from octant.app.settings import Leaf, leaves, sections
from octant.app.settings_fields import table_of

_HEAD = """\
# Octant. Every setting stands here with its default; take the # away to change one.
# Environment variables (OCTANT_SERVER__PORT=8080) come before this file, flags before both.
# `octant config show --origin` tells which one won.
"""


def default_config_text() -> str:
    """A file with every setting, commented out, objectives first."""
    parts = [_HEAD]
    for table in _tables():
        parts.append(f"\n# {table.doc}\n")
        if table.listed:
            parts.append(f"# [[{table.name}]]\n")
            parts.extend(_example(leaf) for leaf in table.leaves)
        else:
            parts.append(f"[{table.name}]\n")
            parts.extend(_commented(leaf) for leaf in table.leaves)
    return "".join(parts)


def reference_markdown() -> str:
    """The tables of `docs/configuration.md`."""
    parts: list[str] = []
    for table in _tables():
        title = f"[[{table.name}]]" if table.listed else f"[{table.name}]"
        parts.append(f"### `{title}`\n\n{table.doc}\n\n")
        parts.append("| setting | default | type | meaning |\n|---|---|---|---|\n")
        parts.extend(_reference_row(leaf) for leaf in table.leaves)
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


class _Table(NamedTuple):
    """A table that holds settings itself; a listed one can stand several times, or not at all."""

    name: str
    doc: str
    leaves: list[Leaf]
    listed: bool


def _tables() -> Iterator[_Table]:
    docs = {name: _doc_of(kind) for name, kind in sections()}
    for name, entries in groupby(leaves(), key=_table_of_leaf):
        found = list(entries)
        kind = table_of(found[0].field.annotation)
        if kind is None:
            yield _Table(name, docs[name], found, listed=False)
        else:
            yield _Table(name, _doc_of(kind), _entry_leaves(kind), listed=True)


def _table_of_leaf(leaf: Leaf) -> str:
    """A list of tables is a table of its own."""
    listed = table_of(leaf.field.annotation) is not None
    return leaf.name if listed else leaf.name.rpartition(".")[0]


def _entry_leaves(kind: type[BaseModel]) -> list[Leaf]:
    fields = kind.model_fields.items()
    return [
        Leaf(name, field, "" if field.is_required() else field.default) for name, field in fields
    ]


def _doc_of(kind: type[BaseModel]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _commented(leaf: Leaf) -> str:
    chosen = chosen_by(leaf)
    because = f" ({chosen})" if chosen else ""
    key = leaf.name.rpartition(".")[2]
    value = _toml(leaf.default) if leaf.default is not None else ""
    return f"# {leaf.field.description}{because}\n#{key} = {value}".rstrip() + "\n"


def _example(leaf: Leaf) -> str:
    """A setting of a table that has no default place in the file."""
    return f"#   {leaf.field.description}\n# {leaf.name} = {_toml(leaf.default)}\n"


def _reference_row(leaf: Leaf) -> str:
    key = leaf.name.rpartition(".")[2]
    default = f"`{_toml(leaf.default)}`" if leaf.default is not None else "unset"
    if leaf.field.is_required():
        default = "required"
    chosen = chosen_by(leaf)
    because = f" Chosen by: {chosen}." if chosen else ""
    kind = type_name(leaf.field.annotation).replace("|", "\\|")
    return f"| `{key}` | {default} | {kind} | {leaf.field.description}{because} |\n"


def chosen_by(leaf: Leaf) -> str:
    """The measurement or reason behind a default; empty where there is none."""
    return str(cast("dict[str, str]", leaf.field.json_schema_extra)["chosen_by"])


def type_name(annotation: Any) -> str:
    """A type in words, its choices for a closed set."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is dict:
        return "table of lists"
    if get_origin(annotation) is tuple:
        return "list of text"
    options = [option for option in get_args(annotation) if option is not type(None)]
    kind = options[0] if options else annotation
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    return names[kind]


def _toml(value: Any) -> str:
    """A default as TOML; JSON spells scalars and empty tables the same way."""
    return json.dumps(value)
