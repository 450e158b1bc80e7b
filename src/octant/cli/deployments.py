"""`octant deployments`: which recipes run as routes of a server, and how they stand."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from octant.cli.options import ConfigOption, DataDirOption, KeyOption, UrlOption
from octant.cli.output import JsonOption, notices, print_json, print_rows
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Scope
from octant.core.stage import Stage

if TYPE_CHECKING:
    from octant.cli.session import Session

deployments = typer.Typer(help="Deployments of a running server.", no_args_is_help=True)

_PATH = "/admin/v1/deployments"
_POLL_S = 0.1
_MIB = 1 << 20

DeploymentArgument = Annotated[
    str, typer.Argument(metavar="ID", help="As `octant deployments list` shows it.")
]
WaitOption = Annotated[
    bool, typer.Option("--wait", metavar="", help="Return when it has got there.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0, metavar="S", help="Seconds to wait at most.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", metavar="", help="Also when callers are left without a route.")
]


@deployments.command("list")
def list_deployments(
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List deployments with their state.

    Examples:

      octant deployments list

      octant deployments list --json
    """
    from octant.cli.loading import load
    from octant.cli.session import open_session

    loaded = load(config, data_dir)

    async def ask() -> list[dict[str, Any]]:
        async with open_session(loaded, url, key, (Scope.DEPLOYMENTS,)) as session:
            return (await session.get(_PATH))["data"]

    _print(asyncio.run(ask()), as_json=as_json)


@deployments.command("add")
def add_deployment(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME", help="A recipe file, a bundled recipe, or what the server knows."
        ),
    ],
    release: Annotated[
        str, typer.Option(help="Release to make, or to add a route to.", show_default=False)
    ],
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deploy a recipe beside what runs. It takes requests once its release has traffic.

    Examples:

      octant deployments add octant-mini-fast --release octant-mini-2 --wait

      octant deployments add ./mine.toml --release mine-1 --wait --timeout 1200
    """
    from octant.cli.loading import load
    from octant.cli.session import open_session

    loaded = load(config, data_dir)

    async def add() -> dict[str, Any]:
        async with open_session(loaded, url, key, (Scope.DEPLOYMENTS,)) as session:
            named = await _registered(session, recipe)
            asked = {"recipe": named, "release": release}
            told: dict[str, Any] = (await session.post(_PATH, asked)).json()
            if wait:
                told = await _wait(session, told, lambda d: d["state"] == "ready", timeout)
            return told

    _print([asyncio.run(add())], as_json=as_json)


@deployments.command("drain")
def drain_deployment(
    deployment: DeploymentArgument,
    force: ForceOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a deployment's requests finish, then end its engine; it can be added again.

    Example:

      octant deployments drain fast@octant-mini-1 --wait
    """
    from octant.cli.loading import load
    from octant.cli.session import open_session

    async def drain(session: "Session") -> dict[str, Any]:
        return (await session.post(f"{_path(deployment)}/drain{_query(force)}", {})).json()

    scope = open_session(load(config, data_dir), url, key, (Scope.DEPLOYMENTS,))
    _print([asyncio.run(_ended(scope, drain, timeout if wait else None))], as_json=as_json)


@deployments.command("remove")
def remove_deployment(
    deployment: DeploymentArgument,
    force: ForceOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drain a deployment, end its engine and forget it.

    Example:

      octant deployments remove fast@octant-mini-1 --wait
    """
    from octant.cli.loading import load
    from octant.cli.session import open_session

    async def remove(session: "Session") -> dict[str, Any]:
        return await session.delete(_path(deployment) + _query(force))

    scope = open_session(load(config, data_dir), url, key, (Scope.DEPLOYMENTS,))
    _print([asyncio.run(_ended(scope, remove, timeout if wait else None))], as_json=as_json)


async def _ended(
    scope: "AbstractAsyncContextManager[Session]",
    ask: "Callable[[Session], Awaitable[dict[str, Any]]]",
    timeout_s: float | None,
) -> dict[str, Any]:
    """The deployment after `ask`; with a time it has stopped by then, as `_wait` says."""
    async with scope as session:
        told = await ask(session)
        return told if timeout_s is None else await _wait(session, told, _is_stopped, timeout_s)


async def _registered(session: "Session", recipe: str) -> str:
    """The digest of a recipe that is here, registered first; else it is one the server knows."""
    from octant.app.artifacts import find_recipe
    from octant.core.record import to_builtins
    from octant.lifecycle.recipe_files import to_values

    source = await asyncio.to_thread(find_recipe, recipe)
    if source is None:
        return recipe
    body = {
        "recipe": to_values(source.file),
        "measurement": to_builtins(source.measurement) if source.measurement else None,
    }
    return str((await session.post("/admin/v1/recipes", body)).json()["digest"])


async def _wait(
    session: "Session",
    deployment: dict[str, Any],
    arrived: Callable[[dict[str, Any]], bool],
    timeout_s: float,
) -> dict[str, Any]:
    """Follows a deployment; one that is gone has stopped.

    Raises Failed(ENGINE_UNAVAILABLE) when it fails, Failed(REQUEST_TIMEOUT) when it takes longer.
    """
    name = deployment["id"]
    try:
        with notices().status(f"{name} is {deployment['state']} ...") as status:
            async with asyncio.timeout(timeout_s):
                while not arrived(deployment):
                    if deployment["state"] == "failed" and deployment["wanted"]:
                        message = f"{name} failed: {deployment['reason']}"
                        raise Failed(_failure(FailureKind.ENGINE_UNAVAILABLE, message))
                    await asyncio.sleep(_POLL_S)
                    deployment = await _standing(session, deployment)
                    status.update(f"{name} is {deployment['state']} ...")
    except TimeoutError as error:
        message = (
            f"{name} is still {deployment['state']} after {timeout_s:g} s. It goes on; "
            "`octant deployments list` shows how far it is."
        )
        raise Failed(_failure(FailureKind.REQUEST_TIMEOUT, message)) from error
    return deployment


async def _standing(session: "Session", deployment: dict[str, Any]) -> dict[str, Any]:
    try:
        return await session.get(_path(deployment["id"]))
    except Failed as error:
        if error.failure.kind is not FailureKind.NOT_FOUND:
            raise
        return deployment | {"state": "stopped", "wanted": False, "engine_pid": None}


def _is_stopped(deployment: dict[str, Any]) -> bool:
    return deployment["state"] == "stopped"


def _path(deployment: str) -> str:
    return f"{_PATH}/{quote(deployment, safe='@')}"


def _query(force: bool) -> str:
    return "?force=true" if force else ""


def _print(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_rows(
        ["id", "model", "release", "recipe", "state", "inside", "memory", "why"],
        [
            [
                d["id"],
                d["model"],
                d["release"],
                d["recipe"],
                d["state"],
                str(d["outstanding"]),
                f"{d['resident_bytes'] / _MIB:.0f} MiB" if d["resident_bytes"] else "",
                d["reason"],
            ]
            for d in found
        ],
        empty="Nothing is deployed.",
    )


def _failure(kind: FailureKind, message: str) -> Failure:
    return Failure(kind=kind, stage=Stage.LOAD, message=message)
