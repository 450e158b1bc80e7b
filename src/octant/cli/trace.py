"""`octant trace`: what happened to requests, from the store of the data directory."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from octant.cli.hints import hint
from octant.cli.moments import usd, utc
from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, console, print_json, print_rows
from octant.core.ids import TenantId
from octant.core.outcome import OutcomeStatus
from octant.core.units import ms_from_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octant.app.settings import Settings
    from octant.core.manifest import ExecutionManifest
    from octant.core.outcome import Outcome
    from octant.observability.trace import Trace

trace = typer.Typer(
    help="Traces of requests. Works with and without a running server.", no_args_is_help=True
)


@trace.command("list")
def list_traces(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    status: Annotated[
        OutcomeStatus | None, typer.Option(help="Only requests that ended so.", show_default=False)
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Only this tenant's requests.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List settled requests, newest first.

    Examples:

      octant trace list

      octant trace list --status failed --limit 5 --json
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local
    from octant.core.record import to_builtins
    from octant.ports.store import RequestFilter

    loaded = load(config, data_dir)
    wanted = RequestFilter(
        tenant=TenantId(tenant) if tenant else None,
        status=status.value if status else None,
        limit=limit,
    )

    async def read() -> "Sequence[Outcome]":
        async with open_local(loaded.settings) as local:
            return await local.store.outcomes(wanted)

    outcomes = asyncio.run(read())
    if as_json:
        print_json([to_builtins(outcome) for outcome in outcomes])
        return
    print_rows(
        ["request", "at", "tenant", "model", "status", "ms", "first ms", "in", "out", "cost"],
        [_row(outcome) for outcome in outcomes],
        empty="No request has been settled yet.",
    )


@trace.command("show")
def show_trace(
    request: Annotated[
        str, typer.Argument(metavar="ID", help="Request id (x-request-id); a unique start does.")
    ],
    manifest: Annotated[
        bool,
        typer.Option(
            "--manifest", help="Show what exactly ran instead: artifact, engine, hardware, steps."
        ),
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one request as a waterfall: every stage, when it began and how long it took.

    Examples:

      octant trace show req_3f2a...

      octant trace show req_3f2a... --json

      octant trace show req_3f2a... --manifest
    """
    from octant.cli.loading import load
    from octant.observability.waterfall import as_json as plain
    from octant.observability.waterfall import waterfall

    loaded = load(config, data_dir)
    if manifest:
        _show_manifest(asyncio.run(_read_manifest(loaded.settings, request)), as_json=as_json)
        return
    found = asyncio.run(_read_trace(loaded.settings, request))
    if as_json:
        print_json(plain(found))
        return
    terminal = console()
    begun = utc(found.start_unix_ns)
    named = f"request {found.request_id}  trace {found.trace_id}  {begun}"
    terminal.print(named, style="dim", soft_wrap=True)
    terminal.print(waterfall(found, bar_width=max(16, min(60, terminal.width - 80))))


async def _read_trace(settings: "Settings", named: str) -> "Trace":
    from octant.cli.local_store import not_found, open_local
    from octant.cli.request_lookup import find_outcome
    from octant.observability.trace import fold

    async with open_local(settings) as local:
        outcome = await find_outcome(local, named)
        events = await local.store.events(outcome.request_id)
    if not events:
        raise not_found(
            f"The events of {outcome.request_id} are no longer kept (store.keep_traces). Its "
            f"outcome: {outcome.status.value}; "
            f"`{hint('trace list --json', settings.data_dir)}` shows all of it."
        )
    return fold(events, outcome)


async def _read_manifest(settings: "Settings", named: str) -> "ExecutionManifest":
    from octant.cli.local_store import not_found, open_local
    from octant.cli.request_lookup import find_outcome

    async with open_local(settings) as local:
        outcome = await find_outcome(local, named)
        manifest = await local.store.manifest(outcome.request_id)
    if manifest is None:
        raise not_found(
            f"{outcome.request_id} reached no route ({outcome.status.value}), so nothing ran and "
            "there is no manifest."
        )
    return manifest


def _show_manifest(manifest: "ExecutionManifest", *, as_json: bool) -> None:
    from octant.core.record import to_builtins

    plain: dict[str, Any] = to_builtins(manifest)
    if as_json:
        print_json(plain)
        return
    print_rows(["pinned", "value"], [[name, text] for name, text in _flat("", plain)], empty="")


def _flat(prefix: str, value: Any) -> "Iterator[tuple[str, str]]":
    """Leaves by dotted name; what is empty says nothing and is left out."""
    if isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, inner)
    elif isinstance(value, list):
        inside = cast("list[Any]", value)
        if any(isinstance(inner, dict) for inner in inside):
            for number, inner in enumerate(inside, 1):
                yield from _flat(f"{prefix}.{number}", inner)
        elif inside:
            yield prefix, " ".join(str(inner) for inner in inside)
    elif value is not None and value != "":
        yield prefix, str(value)


def _row(outcome: "Outcome") -> list[str]:
    first_ns = outcome.time_to_first_token_ns
    status = outcome.status.value
    return [
        outcome.request_id,
        utc(outcome.received_unix_ns),
        outcome.tenant,
        outcome.model,
        f"{status} ({outcome.failure.kind.value})" if outcome.failure else status,
        f"{ms_from_ns(outcome.duration_ns):.1f}",
        "" if first_ns is None else f"{ms_from_ns(first_ns):.1f}",
        str(outcome.usage.prompt_tokens),
        str(outcome.usage.completion_tokens),
        usd(outcome.cost_nano_usd),
    ]
