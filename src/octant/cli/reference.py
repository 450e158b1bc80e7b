"""Reference: the page of every command and option, rendered from the commands themselves.

    python -m octant.cli.reference > docs/cli.md

Law: nothing on the page is written by hand, so it cannot say what a command does not do. A test
compares the page with this.
"""

import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, Union, cast, get_args, get_origin

from typer.main import get_command

_HEAD = """\
# Command line

Every command takes `--json` and prints one JSON value then (`serve` one line when it has started).
Results go to standard output, progress and errors to standard error.

| exit code | meaning |
|---|---|
| 0 | ok |
| 1 | a check failed (`doctor`, `audit verify`, `eval --min`, `bench serve --min-ratio`) \
or a policy refused |
| 2 | usage: an argument, a name or a setting has to change |
| 3 | unavailable: the server, the engine, the store or a model cannot be used now |
| 130 | ended by Ctrl-C; a server that answers drains instead and ends with 0 |

`OCTANT_BASE_URL` and `OCTANT_API_KEY` name a server and a key for commands that talk to one.
Without them, commands find the server that runs on the data directory and make a temporary key in
its store, which they revoke afterwards. Settings come from `octant.toml`, `OCTANT_SECTION__KEY`
variables and flags; the later one wins.

This page is made by `python -m octant.cli.reference`.
"""


def reference() -> str:
    """The whole page in Markdown."""
    from octant.cli.main import app

    root: Any = get_command(app)
    parts = [_HEAD]
    for path, command in commands(root, "octant"):
        parts.append(_section(path, command))
    return "\n".join(parts)


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command that can be run, with its full name, in the order of the help."""
    children = cast("dict[str, Any]", getattr(command, "commands", {}))
    if not children:
        yield path, command
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


def spelling(parameter: Any) -> str:
    """How a parameter is written: `--name N`, or `MESSAGE` for an argument."""
    options = ", ".join(cast("list[str]", parameter.opts))
    if not options.startswith("-"):
        return str(parameter.metavar or parameter.name.upper())
    if parameter.is_flag:
        return options
    return f"{options} {parameter.metavar or _value_name(parameter.type_descriptor.annotation)}"


def _section(path: str, command: Any) -> str:
    text, _, examples = cast("str", command.help).partition("Example")
    shown = [line.strip() for line in examples.splitlines()[1:] if line.strip()]
    lines = [f"## `{path}`\n", text.strip(), "\n```sh", *shown, "```\n"]
    lines += ["| parameter | meaning | default |", "|---|---|---|"]
    lines += [_row(parameter) for parameter in command.params]
    return "\n".join(lines) + "\n"


def _row(parameter: Any) -> str:
    cells = [f"`{spelling(parameter)}`", str(parameter.help), _default(parameter)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    value = parameter.default
    if value is None or value is False or value == "":
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _value_name(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType, list):
        inner = [part for part in get_args(annotation) if part is not types.NoneType]
        return _value_name(inner[0])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(member.value) for member in annotation)
    names: dict[Any, str] = {int: "N", float: "X"}
    return names.get(annotation, "TEXT")


if __name__ == "__main__":
    print(reference(), end="")
