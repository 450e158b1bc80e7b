"""The settings as text: the commented file written at the first start, and the reference page.

Law: both are rendered from the declarations, so a setting cannot be missing from either.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel

from octant.app.settings import Leaf, leaves, sections

_HEAD = """\
# Octant. Every setting stands here with its default; take the # away to change one.
# Environment variables (OCTANT_SERVER__PORT=8080) come before this file, flags before both.
# `octant config show --origin` tells which one won.
"""


def default_config_text() -> str:
    """A file with every setting, commented out, objectives first."""
    parts = [_HEAD]
    for table, doc, entries in _tables():
        parts.append(f"\n# {doc}\n[{table}]\n")
        parts.extend(_commented(leaf) for leaf in entries)
    return "".join(parts)


def reference_markdown() -> str:
    """The tables of `docs/configuration.md`."""
    parts: list[str] = []
    for table, doc, entries in _tables():
        parts.append(f"### `[{table}]`\n\n{doc}\n\n| setting | default | type | meaning |\n")
        parts.append("|---|---|---|---|\n")
        parts.extend(_reference_row(leaf) for leaf in entries)
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def _tables() -> Iterator[tuple[str, str, list[Leaf]]]:
    """Tables that hold settings themselves, with their sentence and their settings."""
    docs = {name: _doc_of(kind) for name, kind in sections()}
    for table, entries in groupby(leaves(), key=lambda leaf: leaf.name.rpartition(".")[0]):
        yield table, docs[table], list(entries)


def _doc_of(kind: type[BaseModel]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _commented(leaf: Leaf) -> str:
    chosen = chosen_by(leaf)
    because = f" ({chosen})" if chosen else ""
    key = leaf.name.rpartition(".")[2]
    value = _toml(leaf.default) if leaf.default is not None else ""
    return f"# {leaf.field.description}{because}\n#{key} = {value}".rstrip() + "\n"


def _reference_row(leaf: Leaf) -> str:
    key = leaf.name.rpartition(".")[2]
    default = f"`{_toml(leaf.default)}`" if leaf.default is not None else "unset"
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
    options = [option for option in get_args(annotation) if option is not type(None)]
    kind = options[0] if options else annotation
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    return names[kind]


def _toml(value: Any) -> str:
    """A default as TOML; JSON spells scalars and empty tables the same way."""
    return json.dumps(value)
