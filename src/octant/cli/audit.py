"""`octant audit`: who did what under which rule, and whether anybody changed the log since."""

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, assert_never

import typer

from octant.cli.hints import hint
from octant.cli.moments import utc
from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import ExitCode, JsonOption, console, notices, print_json, print_rows
from octant.core.ids import TenantId

if TYPE_CHECKING:
    from octant.app.settings import Settings
    from octant.core.audit import AuditRecord, ChainedAudit
    from octant.core.audit_walk import Break, Walk

audit = typer.Typer(
    help="The audit log. Works with and without a running server.", no_args_is_help=True
)

# Records in memory at once while the chain is walked.
_PAGE = 1_000
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@audit.command("list")
def list_records(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    tenant: Annotated[
        str | None, typer.Option(help="Only what concerns this tenant.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List audit records, newest first: each action with its decision, rule and policy.

    Examples:

      octant audit list

      octant audit list --tenant research --limit 100 --json
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local
    from octant.core.record import to_builtins

    loaded = load(config, data_dir)

    async def read() -> "Sequence[AuditRecord]":
        async with open_local(loaded.settings) as local:
            found = await local.store.audit(TenantId(tenant) if tenant else None, limit)
            if tenant is not None and not found:
                # What Octant itself does is told under a name that no tenant has.
                await local.tenant(tenant)
            return found

    records = asyncio.run(read())
    if as_json:
        print_json([to_builtins(record) for record in records])
        return
    print_rows(
        ["at", "tenant", "action", "decision", "rule", "request", "detail"],
        [_row(record) for record in records],
        empty="No action has been audited yet.",
    )


@audit.command("verify")
def verify(
    head: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST",
            help="Head that an earlier run printed; shows that nothing was cut off since.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Walk the whole audit chain and name the first record that was changed, removed or moved.

    Prints the number of records and the head. Keep the head somewhere else: only --head can show
    that records at the end are missing. Exit code 1 when the chain is broken.

    Examples:

      octant audit verify

      octant audit verify --head sha256:5f0c... --json
    """
    from octant.cli.loading import load

    if head is not None and not _DIGEST.fullmatch(head):
        raise typer.BadParameter(f"`{head}` is no head: `sha256:` and 64 hexadecimal digits.")
    loaded = load(config, data_dir)
    found = asyncio.run(_walk(loaded.settings, head, quiet=as_json))
    problem = _problem(found)
    if as_json:
        print_json(_as_json(found, problem))
    else:
        _print(found, problem, again=hint("audit verify --head", loaded.settings.data_dir))
    raise typer.Exit(ExitCode.OK if problem is None else ExitCode.FAILED_CHECK)


async def _walk(settings: "Settings", head: str | None, *, quiet: bool) -> "Walk":
    from octant.cli.local_store import open_local
    from octant.core.audit_walk import walk

    terminal = notices()
    terminal.quiet = quiet
    with terminal.status("Walking the audit chain") as status:
        async with open_local(settings) as local:

            async def read(after_seq: int, limit: int) -> "Sequence[ChainedAudit]":
                status.update(f"Walking the audit chain: {max(0, after_seq)} records")
                return await local.store.audit_chain(after_seq, limit)

            return await walk(read, _PAGE, head)


def _problem(found: "Walk") -> str | None:
    """What is wrong, in one sentence."""
    if found.broken is not None:
        return _break(found.broken)
    if found.noted is False:
        return (
            "No record has the head that was noted: records are missing at the end, or the whole "
            "log was written anew."
        )
    return None


def _break(broken: "Break") -> str:
    from octant.core.audit import ChainFlaw

    seq, flaw = broken.seq, broken.flaw
    match flaw:
        case ChainFlaw.CHANGED:
            return f"Record {seq} was changed: it does not fit its digest."
        case ChainFlaw.MISSING:
            return f"Record {seq} is missing."
        case ChainFlaw.ADDED:
            return f"Record {seq} was added: this place was never given out."
        case ChainFlaw.SWAPPED:
            return f"Record {seq} was swapped: what stands there belongs at {broken.home}."
        case ChainFlaw.UNLINKED:
            return (
                f"Record {seq} does not follow record {seq - 1}: one of the two was changed "
                "together with its digest."
            )
        case _:
            assert_never(flaw)


def _print(found: "Walk", problem: str | None, *, again: str) -> None:
    terminal = console()
    if problem is not None:
        terminal.print(problem, style="bold red", soft_wrap=True)
        terminal.print(f"Sound up to there: {found.records} records.")
        return
    terminal.print(f"{found.records} records, none changed, missing or moved.", style="bold")
    terminal.print(f"head: {found.head.digest}", soft_wrap=True)
    if found.noted is None:
        terminal.print(
            f"Keep the head elsewhere; `{again} DIGEST` shows later that nothing was cut off.",
            style="dim",
            soft_wrap=True,
        )


def _as_json(found: "Walk", problem: str | None) -> dict[str, Any]:
    broken = found.broken
    return {
        "ok": problem is None,
        "records": found.records,
        "head": found.head.digest,
        "head_found": found.noted,
        "problem": None
        if problem is None
        else {
            "what": "cut_off" if broken is None else broken.flaw.value,
            "seq": None if broken is None else broken.seq,
            "belongs_at": None if broken is None else broken.home,
            "message": problem,
        },
    }


def _row(record: "AuditRecord") -> list[str]:
    return [
        utc(record.at_unix_ns),
        record.tenant,
        record.action,
        record.decision,
        record.rule,
        record.request_id or "",
        " ".join(f"{name}={value}" for name, value in record.detail.items() if value != ""),
    ]
