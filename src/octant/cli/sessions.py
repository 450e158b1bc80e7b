"""`octant sessions`: conversations that the server keeps, in the store of the data directory.

Law: texts are shown as they are stored, personal data replaced by placeholders; the values behind
them are never printed. A deletion is audited before it is done.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from octant.cli.hints import hint
from octant.cli.moments import utc
from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, console, print_json, print_rows
from octant.core.ids import SessionId, TenantId

if TYPE_CHECKING:
    from octant.cli.local_store import LocalStore
    from octant.core.content import Message
    from octant.core.failure import Failed
    from octant.core.session import Conversation, Session

sessions = typer.Typer(
    help="Conversations that the server keeps. Works with and without a running server.",
    no_args_is_help=True,
)

TenantOption = Annotated[str, typer.Option(help="Tenant that the session belongs to.")]
SessionArgument = Annotated[str, typer.Argument(metavar="ID", help="Session id.")]


@sessions.command("list")
def list_sessions(
    tenant: Annotated[str, typer.Option(help="Tenant whose sessions to list.")] = "default",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a tenant's sessions, the most recently changed first.

    Examples:

      octant sessions list

      octant sessions list --tenant research --limit 100 --json
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local
    from octant.core.record import to_builtins

    loaded = load(config, data_dir)

    async def read() -> "Sequence[Session]":
        async with open_local(loaded.settings) as local:
            await local.tenant(tenant)
            return await local.store.sessions(TenantId(tenant), limit)

    found = asyncio.run(read())
    if as_json:
        print_json([to_builtins(session) for session in found])
        return
    print_rows(
        ["id", "title", "turns", "actor", "changed", "branched from"],
        [
            [
                session.id,
                session.title,
                str(session.version),
                session.actor,
                utc(session.updated_unix_ns),
                "" if session.parent is None else f"{session.parent} @ {session.parent_version}",
            ]
            for session in found
        ],
        empty=f"The tenant {tenant} has no sessions.",
    )


@sessions.command("show")
def show_session(
    session: SessionArgument,
    tenant: TenantOption = "default",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a session with all its turns, as the model was shown them.

    Personal data that was replaced stays replaced.

    Examples:

      octant sessions show ses_3f2a...

      octant sessions show ses_3f2a... --tenant research --json
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local

    loaded = load(config, data_dir)

    async def read() -> "Conversation":
        async with open_local(loaded.settings) as local:
            found = await local.store.conversation(TenantId(tenant), SessionId(session))
            if found is None:
                raise _no_session(session, tenant, local)
            return found

    found = asyncio.run(read())
    if as_json:
        print_json(_as_json(found))
        return
    head, terminal = found.session, console()
    terminal.print(
        f"session {head.id}  version {head.version}  {utc(head.updated_unix_ns)}",
        style="dim",
        soft_wrap=True,
    )
    for turn in found.turns:
        named = f"\nturn {turn.version}  {turn.request_id}  {utc(turn.at_unix_ns)}"
        terminal.print(named, style="dim", soft_wrap=True)
        for message in turn.messages:
            terminal.print(_told(message), soft_wrap=True)


@sessions.command("delete")
def delete_session(
    session: SessionArgument,
    tenant: TenantOption = "default",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a session: its turns, what its placeholders stand for, and recordings of its requests.

    There is no way back. Outcomes, traces and audit records stay; they hold no text. Branches keep
    their own copies of turns.

    Examples:

      octant sessions delete ses_3f2a...

      octant sessions delete ses_3f2a... --tenant research --json
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local
    from octant.core.audit import AuditRecord

    loaded = load(config, data_dir)

    async def delete() -> None:
        async with open_local(loaded.settings) as local:
            whose, named = TenantId(tenant), SessionId(session)
            if await local.store.conversation(whose, named) is None:
                raise _no_session(session, tenant, local)
            intended = AuditRecord(
                request_id=None,
                tenant=whose,
                key_id=None,
                action="session.delete",
                decision="allowed",
                policy_version="",
                rule="local operator",
                at_unix_ns=local.clock.unix_ns(),
                detail={"session": named},
            )
            await local.store.append_audit([intended])
            if not await local.store.delete_session(whose, named):
                raise _no_session(session, tenant, local)

    asyncio.run(delete())
    if as_json:
        print_json({"id": session, "deleted": True})
        return
    console().print(f"Deleted the session {session}.", soft_wrap=True)


def _no_session(session: str, tenant: str, local: "LocalStore") -> "Failed":
    from octant.cli.local_store import not_found

    listing = hint(f"sessions list --tenant {tenant}", local.data_dir)
    return not_found(
        f"The tenant `{tenant}` has no session `{session}`. `{listing}` shows those it has."
    )


def _told(message: "Message") -> Text:
    from octant.observability.printable import printable

    calls = [f"[calls {call.name} {call.arguments}]" for call in message.tool_calls]
    said = "\n".join(part for part in (message.text, *calls) if part)
    return Text.assemble((f"{message.role.value}: ", "bold"), printable(said))


def _as_json(found: "Conversation") -> dict[str, Any]:
    from octant.core.record import to_builtins

    told = to_builtins(found)
    return told | {"placeholders": sorted(found.placeholders)}
