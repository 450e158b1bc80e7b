"""`octant trace`: what happened to requests, from the store of the data directory."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from octant.cli.hints import hint
from octant.cli.moments import usd, utc
from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, console, print_json, print_rows
from octant.core.ids import RequestId, TenantId
from octant.core.outcome import OutcomeStatus
from octant.core.units import ms_from_ns

if TYPE_CHECKING:
    from octant.app.settings import Settings
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
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one request as a waterfall: every stage, when it began and how long it took.

    Examples:

      octant trace show req_3f2a...

      octant trace show req_3f2a... --json
    """
    from octant.cli.loading import load
    from octant.observability.waterfall import as_json as plain
    from octant.observability.waterfall import waterfall

    loaded = load(config, data_dir)
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
    from octant.observability.trace import fold
    from octant.ports.store import RequestFilter

    async with open_local(settings) as local:
        request, outcome = RequestId(named), await local.store.outcome(RequestId(named))
        if outcome is None:
            recent = await local.store.outcomes(RequestFilter(limit=1000))
            matches = [o for o in recent if o.request_id.startswith(named)]
            if len(matches) != 1:
                found = "several requests" if matches else "no request"
                listing = hint("trace list", settings.data_dir)
                raise not_found(f"`{named}` names {found}. `{listing}` shows their ids.")
            outcome, request = matches[0], matches[0].request_id
        events = await local.store.events(request)
    if not events:
        raise not_found(
            f"The events of {request} are no longer kept (store.keep_traces). Its outcome: "
            f"{outcome.status.value}; `{hint('trace list --json', settings.data_dir)}` shows "
            "all of it."
        )
    return fold(events, outcome)


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
