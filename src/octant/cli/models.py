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
    details = [_details(model) for model in served]
    columns = sorted({name for detail in details for name in detail})
    print_rows(
        ["model", "owned by", *(name.replace("_", " ") for name in columns)],
        [
            [str(m["id"]), str(m["owned_by"]), *(str(detail.get(name, "")) for name in columns)]
            for m, detail in zip(served, details, strict=True)
        ],
        empty="No model is served.",
    )


@models.command("routes")
def list_routes(
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the routes behind each model: release, state and why it is in it.

    Examples:

      octant models routes

      octant models routes --json
    """
    from octant.cli.loading import load
    from octant.cli.session import open_session

    loaded = load(config, data_dir)

    async def ask() -> dict[str, Any]:
        async with open_session(loaded, url, key) as session:
            return (await session.health("/health/models"))["models"]

    served = asyncio.run(ask())
    if as_json:
        print_json(served)
        return
    print_rows(
        ["route", "model", "release", "label", "state", "breaker", "why"],
        [
            [name, model, *(str(route[part]) for part in _OF_A_ROUTE)]
            for model, told in served.items()
            for name, route in told["routes"].items()
        ],
        empty="No route is served.",
    )


def _details(model: dict[str, Any]) -> dict[str, Any]:
    """What a server says beyond OpenAI's fields; what it says in an object comes out flat."""
    told: dict[str, Any] = {}
    for name, value in model.items():
        if name not in _STANDARD:
            told |= value if isinstance(value, dict) else {name: value}
    return told


_STANDARD = {"id", "object", "created", "owned_by"}
_OF_A_ROUTE = ("release", "label", "state", "breaker", "reason")
