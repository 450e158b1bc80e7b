"""`octant config`: which settings are in force, where each came from, whether they fit."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, console, print_json, print_rows

if TYPE_CHECKING:
    from octant.app.settings import LoadedSettings, Origin

config = typer.Typer(help="The configuration in force.", no_args_is_help=True)


@config.command("show")
def show_config(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...", help="Only settings whose name starts so.", show_default="all"
        ),
    ] = None,
    origin: Annotated[
        bool, typer.Option("--origin", metavar="", help="Also tell where each value came from.")
    ] = False,
    changed: Annotated[
        bool, typer.Option("--changed", metavar="", help="Only values that are not the default.")
    ] = False,
    data_dir: DataDirOption = None,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every setting with its value: default, file, environment and flags together.

    Examples:

      octant config show --origin

      octant config show server engine.kv_bytes --json

      octant config show --changed --origin
    """
    from octant.cli.loading import load

    loaded = load(file, data_dir)
    shown = {
        name: value
        for name, value in _values(loaded).items()
        if (not names or any(name.startswith(prefix) for prefix in names))
        and (not changed or loaded.origins[name].kind != "default")
    }
    if as_json:
        print_json({name: _told(value, loaded.origins[name]) for name, value in shown.items()})
        return
    rows = [
        [name, _text(value), *([_origin(loaded.origins[name])] if origin else [])]
        for name, value in shown.items()
    ]
    headings = ["setting", "value", *(["origin"] if origin else [])]
    print_rows(headings, rows, empty="No setting fits.")


@config.command("path")
def show_path(
    data_dir: DataDirOption = None, file: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Print the path of the configuration file in force.

    Examples:

      octant config path

      octant config path --json
    """
    from octant.app.settings import FILE_NAME
    from octant.cli.loading import load

    loaded = load(file, data_dir)
    default = loaded.settings.data_dir / FILE_NAME
    if as_json:
        found = None if loaded.file is None else str(loaded.file.absolute())
        print_json({"path": found, "default_path": str(default)})
    elif loaded.file is not None:
        console().print(str(loaded.file.absolute()), soft_wrap=True)
    else:
        console().print(f"No file; everything is default. `octant serve` writes {default}.")


@config.command("check")
def check_config(
    data_dir: DataDirOption = None, file: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Check file and environment; every problem is told with its place and how to fix it.

    Examples:

      octant config check

      octant config check --config ./octant.toml --json
    """
    from octant.cli.loading import load

    loaded = load(file, data_dir)
    changed = sum(origin.kind != "default" for origin in loaded.origins.values())
    if as_json:
        path = str(loaded.file) if loaded.file else None
        print_json({"ok": True, "path": path, "changed": changed})
        return
    of_file = str(loaded.file) if loaded.file else "no file"
    console().print(
        Text.assemble(("ok", "bold green"), f"  {of_file}, {changed} values are not the default")
    )


def _values(loaded: "LoadedSettings") -> dict[str, Any]:
    nested = loaded.settings.model_dump(mode="json")
    values: dict[str, Any] = {}
    for name in loaded.origins:
        value: Any = nested
        for part in name.split("."):
            value = value[part]
        values[name] = value
    return values


def _told(value: Any, origin: "Origin") -> dict[str, Any]:
    return {"value": value, "origin": origin.kind, "where": origin.where or None}


def _text(value: Any) -> str:
    return "unset" if value is None else str(value)


def _origin(origin: "Origin") -> str:
    return origin.kind if not origin.where else f"{origin.kind} {origin.where}"
