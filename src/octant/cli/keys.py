"""`octant keys`: make, list and revoke API keys, in the store of the data directory."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octant.cli.hints import hint
from octant.cli.moments import utc
from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, console, print_json, print_rows
from octant.core.identity import PrincipalRole, Scope
from octant.core.ids import ActorId, TenantId
from octant.core.units import NS_PER_S

if TYPE_CHECKING:
    from octant.ports.store import ApiKey

keys = typer.Typer(help="API keys. Works with and without a running server.", no_args_is_help=True)

_DAY_NS = 24 * 3600 * NS_PER_S


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    tenant: Annotated[str, typer.Option(help="Tenant that the key belongs to.")] = "default",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            help="What the key may do; can be given several times.",
            show_default="inference, models:read",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model that the key may use; can be given several times.",
            show_default="all models",
        ),
    ] = None,
    role: Annotated[PrincipalRole, typer.Option(help="Who uses the key.")] = PrincipalRole.SERVICE,
    expires_days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, help="Days until it expires.", show_default="never"),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key and show it, this once.

    Examples:

      octant keys create --name laptop

      octant keys create --tenant research --expires-days 30 --model octant-mini --json

      octant keys create --name prometheus --scope metrics:read
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local
    from octant.gateway.api_keys import DEFAULT_SCOPES, KeyGrant, MintedKey

    loaded = load(config, data_dir)

    async def mint() -> MintedKey:
        async with open_local(loaded.settings) as local:
            expires = local.clock.unix_ns() + expires_days * _DAY_NS if expires_days else None
            return await local.create_key(
                KeyGrant(
                    tenant=TenantId(tenant),
                    actor=ActorId(name or "key"),
                    name=name,
                    role=role,
                    scopes=tuple(scope) if scope else DEFAULT_SCOPES,
                    models=tuple(model or ()),
                    expires_unix_ns=expires,
                )
            )

    minted = asyncio.run(mint())
    if as_json:
        print_json(_as_json(minted.record) | {"key": minted.plaintext})
        return
    console().print(minted.plaintext, style="bold yellow", soft_wrap=True)
    console().print("It is shown only now; Octant keeps no copy. Revoke it with", style="dim")
    revoke = hint(f"keys revoke {minted.record.id}", loaded.settings.data_dir)
    console().print(f"  {revoke}", style="dim", soft_wrap=True)


@keys.command("list")
def list_keys(
    tenant: Annotated[
        str | None, typer.Option(help="Only this tenant's keys.", show_default=False)
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", metavar="", help="Also revoked and expired keys.")
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List keys by their public prefix; secrets are not stored.

    Examples:

      octant keys list

      octant keys list --tenant research --all --json
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local

    loaded = load(config, data_dir)

    async def read() -> "tuple[list[ApiKey], int]":
        async with open_local(loaded.settings) as local:
            of = TenantId(tenant) if tenant else None
            return list(await local.store.keys(of)), local.clock.unix_ns()

    found, now_unix_ns = asyncio.run(read())
    data = loaded.settings.data_dir
    shown = [key for key in found if every or _state(key, now_unix_ns) == "active"]
    if as_json:
        print_json([_as_json(key) | {"state": _state(key, now_unix_ns)} for key in shown])
        return
    print_rows(
        ["id", "name", "tenant", "scopes", "models", "created", "expires", "state"],
        [
            [
                key.id,
                key.name,
                key.tenant,
                " ".join(key.scopes),
                " ".join(key.models) or "all",
                utc(key.created_unix_ns),
                utc(key.expires_unix_ns) if key.expires_unix_ns else "never",
                _state(key, now_unix_ns),
            ]
            for key in shown
        ],
        empty=f"There are no keys. Make one with `{hint('keys create', data)}`.",
    )


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="ID", help="Id, prefix, or the key itself.")],
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key. A running server refuses it within seconds.

    Example:

      octant keys revoke key_abcdefghijkl
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local

    loaded = load(config, data_dir)

    async def revoke() -> "ApiKey":
        async with open_local(loaded.settings) as local:
            return await local.revoke_key(key)

    revoked = asyncio.run(revoke())
    if as_json:
        print_json(_as_json(revoked))
        return
    console().print(f"Revoked {revoked.id} ({utc(revoked.revoked_unix_ns or 0)}).")


def _as_json(key: "ApiKey") -> dict[str, Any]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "name": key.name,
        "tenant": key.tenant,
        "actor": key.actor,
        "role": key.role.value,
        "scopes": [scope.value for scope in key.scopes],
        "models": list(key.models),
        "created_unix_ns": key.created_unix_ns,
        "expires_unix_ns": key.expires_unix_ns,
        "revoked_unix_ns": key.revoked_unix_ns,
    }


def _state(key: "ApiKey", now_unix_ns: int) -> str:
    if key.revoked_unix_ns is not None:
        return "revoked"
    if key.expires_unix_ns is not None and key.expires_unix_ns <= now_unix_ns:
        return "expired"
    return "active"
