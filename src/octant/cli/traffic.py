"""`octant traffic`: how a model's new requests are split over its releases."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from octant.cli.moments import utc
from octant.cli.options import ConfigOption, DataDirOption, KeyOption, UrlOption
from octant.cli.output import JsonOption, console, print_json, print_rows
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Scope
from octant.core.stage import Stage

traffic = typer.Typer(help="Traffic over releases of a model.", no_args_is_help=True)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Public name of the model.")]


@traffic.command("show")
def show_traffic(
    model: ModelArgument,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the split in force and those before it.

    Example:

      octant traffic show octant-mini
    """
    from octant.cli.loading import load
    from octant.cli.session import open_session

    loaded = load(config, data_dir)

    async def ask() -> dict[str, Any]:
        async with open_session(loaded, url, key, (Scope.DEPLOYMENTS,)) as session:
            return await session.get(_path(model))

    _print(asyncio.run(ask()), as_json=as_json)


@traffic.command("set")
def set_traffic(
    model: ModelArgument,
    weights: Annotated[
        list[str],
        typer.Argument(metavar="RELEASE=WEIGHT...", help="Relative weights; others get nothing."),
    ],
    expected_version: Annotated[
        int | None,
        typer.Option(
            "--expect",
            min=0,
            metavar="VERSION",
            help="Change nothing unless this version is in force.",
            show_default=False,
        ),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Split a model's new requests; running ones stay where they are.

    Examples:

      octant traffic set octant-mini octant-mini-1=90 octant-mini-2=10

      octant traffic set octant-mini octant-mini-1=100 --expect 2
    """
    from octant.cli.loading import load
    from octant.cli.session import open_session

    loaded = load(config, data_dir)
    asked = {"weights": _weights(weights), "expected_version": expected_version}

    async def change() -> dict[str, Any]:
        async with open_session(loaded, url, key, (Scope.DEPLOYMENTS,)) as session:
            return await session.put(_path(model), asked)

    _print(asyncio.run(change()), as_json=as_json)


def _path(model: str) -> str:
    return f"/admin/v1/models/{quote(model)}/traffic"


def _weights(given: Sequence[str]) -> dict[str, int]:
    """Raises Failed(INVALID_VALUE) naming the part that is none."""
    found: dict[str, int] = {}
    for part in given:
        release, _, weight = part.rpartition("=")
        if not release or not weight.isdecimal():
            raise Failed(
                Failure(
                    kind=FailureKind.INVALID_VALUE,
                    stage=Stage.BOUNDARY,
                    message=f"`{part}` is not RELEASE=WEIGHT, such as octant-mini-2=10.",
                    param="weights",
                )
            )
        found[release] = int(weight)
    return found


def _print(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    current = told["current"]
    if current is None:
        console().print(f"All releases of {told['model']} are equal.", markup=False)
    print_rows(
        ["version", "weights", "since", "by"],
        [
            [
                str(split["version"]),
                "  ".join(f"{release}={weight}" for release, weight in split["weights"].items()),
                utc(split["changed_unix_ns"]),
                split["changed_by"],
            ]
            for split in told["history"]
        ],
        empty="The split was never changed.",
    )
