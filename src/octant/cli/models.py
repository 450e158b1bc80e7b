"""`octant models`: what a server serves."""

import asyncio
from typing import Any

import typer

from octant.cli.options import ConfigOption, DataDirOption, KeyOption, UrlOption
from octant.cli.output import JsonOption, print_json, print_rows

models = typer.Typer(help="Models of a running server.", no_args_is_help=True)


@models.command("list")
def list_models(
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the models that a running server serves.

    Examples:

      octant models list

      octant models list --url http://localhost:9000 --key oct_... --json
    """
    from octant.cli.loading import load
    from octant.cli.session import open_session

    loaded = load(config, data_dir)

    async def ask() -> list[dict[str, Any]]:
        async with open_session(loaded, url, key) as session:
            return (await session.get("/v1/models"))["data"]

    served = asyncio.run(ask())
    if as_json:
        print_json(served)
        return
    details = sorted({name for model in served for name in model} - _STANDARD)
    print_rows(
        ["model", "owned by", *(name.replace("_", " ") for name in details)],
        [
            [str(m["id"]), str(m["owned_by"]), *(str(m.get(name, "")) for name in details)]
            for m in served
        ],
        empty="No model is served.",
    )


_STANDARD = {"id", "object", "created", "owned_by"}
