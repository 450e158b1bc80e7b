"""`octant tenants`: tenants and their limits, in the store of the data directory."""

import asyncio
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from octant.cli.hints import hint
from octant.cli.moments import UNLIMITED, limit, usd, utc
from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, console, print_json, print_rows
from octant.core.envelope import RiskClass
from octant.core.ids import TenantId
from octant.core.limits import TenantLimits
from octant.core.units import NANO_USD_PER_USD, NanoUsd
from octant.ports.store import Tenant

tenants = typer.Typer(
    help="Tenants and their limits. Works with and without a running server.",
    no_args_is_help=True,
)

_KEEP = "unchanged"
_COUNT = f"N|{UNLIMITED}"


def _count(text: str) -> int | None:
    if text == UNLIMITED:
        return None
    if not text.isdecimal():
        raise typer.BadParameter(f"`{text}` is neither a whole number nor `{UNLIMITED}`.")
    return int(text)


def _money(text: str) -> NanoUsd | None:
    if text == UNLIMITED:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise typer.BadParameter(f"`{text}` is neither an amount in USD nor `{UNLIMITED}`.")
    return NanoUsd(int(amount * NANO_USD_PER_USD))


@tenants.command("create")
def create_tenant(
    tenant: Annotated[str, typer.Argument(metavar="ID", help="Lower-case name of the tenant.")],
    name: Annotated[str, typer.Option(help="Name for people.", show_default="the id")] = "",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a tenant with the default limits of the configuration.

    Examples:

      octant tenants create research

      octant tenants create research --name "Research group" --json
    """
    from octant.cli.loading import load
    from octant.cli.local_store import conflict, open_local

    wanted = _tenant_id(tenant)
    loaded = load(config, data_dir)
    defaults = loaded.settings.admission.tenant_defaults

    async def create() -> Tenant:
        async with open_local(loaded.settings, make=True) as local:
            if await local.store.tenant(wanted) is not None:
                raise conflict(
                    f"The tenant `{wanted}` exists. Change it with "
                    f"`{hint(f'tenants set-limits {wanted}', loaded.settings.data_dir)}`."
                )
            made = Tenant(
                id=wanted,
                name=name or wanted,
                limits=TenantLimits(
                    requests_per_minute=defaults.requests_per_minute,
                    tokens_per_minute=defaults.tokens_per_minute,
                    max_concurrent=defaults.max_concurrent,
                ),
                budget_nano_usd=_nano(defaults.budget_nano_usd),
                created_unix_ns=local.clock.unix_ns(),
            )
            await local.store.put_tenant(made)
            return made

    made = asyncio.run(create())
    if as_json:
        print_json(_as_json(made))
        return
    console().print(f"Made the tenant {made.id}. Make a key for it with")
    create_key = hint(f"keys create --tenant {made.id}", loaded.settings.data_dir)
    console().print(f"  {create_key}", soft_wrap=True)


@tenants.command("list")
def list_tenants(
    data_dir: DataDirOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List tenants with their limits and what they spent this month.

    Examples:

      octant tenants list

      octant tenants list --json
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local

    loaded = load(config, data_dir)

    async def read() -> list[tuple[Tenant, int]]:
        async with open_local(loaded.settings) as local:
            month = utc(local.clock.unix_ns())[:7]
            found = await local.store.tenants()
            return [(tenant, await local.store.spent(tenant.id, month)) for tenant in found]

    found = asyncio.run(read())
    data = loaded.settings.data_dir
    if as_json:
        print_json([_as_json(tenant) | {"spent_nano_usd": spent} for tenant, spent in found])
        return
    print_rows(
        ["id", "name", "req/min", "tok/min", "at once", "budget/month", "spent"],
        [
            [
                tenant.id,
                tenant.name,
                limit(tenant.limits.requests_per_minute),
                limit(tenant.limits.tokens_per_minute),
                limit(tenant.limits.max_concurrent),
                UNLIMITED if tenant.budget_nano_usd is None else usd(tenant.budget_nano_usd),
                usd(spent),
            ]
            for tenant, spent in found
        ],
        empty=f"There are no tenants. `{hint('serve', data)}` makes the first one.",
    )


@tenants.command("set-limits")
def set_limits(
    tenant: Annotated[str, typer.Argument(metavar="ID", help="Tenant to change.")],
    requests_per_minute: Annotated[
        str | None, typer.Option(metavar=_COUNT, help="Requests in a minute.", show_default=_KEEP)
    ] = None,
    tokens_per_minute: Annotated[
        str | None,
        typer.Option(
            metavar=_COUNT, help="Prompt and output tokens in a minute.", show_default=_KEEP
        ),
    ] = None,
    max_concurrent: Annotated[
        str | None, typer.Option(metavar=_COUNT, help="Requests at once.", show_default=_KEEP)
    ] = None,
    budget_usd: Annotated[
        str | None,
        typer.Option(
            metavar=f"USD|{UNLIMITED}", help="Money in a calendar month.", show_default=_KEEP
        ),
    ] = None,
    risk: Annotated[
        RiskClass | None,
        typer.Option(help="Least risk class of its requests.", show_default=_KEEP),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a tenant's limits; what is not named stays. A running server follows in seconds.

    Examples:

      octant tenants set-limits research --requests-per-minute 60 --budget-usd 25.50

      octant tenants set-limits research --max-concurrent unlimited --json

      octant tenants set-limits research --risk high
    """
    from msgspec.structs import replace

    from octant.cli.loading import load
    from octant.cli.local_store import open_local

    counts = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "max_concurrent": max_concurrent,
    }
    changes = {name: _count(text) for name, text in counts.items() if text is not None}
    others: dict[str, Any] = {} if risk is None else {"risk": risk}
    if budget_usd is not None:
        others["budget_nano_usd"] = _money(budget_usd)
    if not changes and not others:
        raise typer.BadParameter("Name at least one limit to change.")
    loaded = load(config, data_dir)

    async def change() -> Tenant:
        async with open_local(loaded.settings) as local:
            old = await local.tenant(tenant)
            new = replace(old, limits=replace(old.limits, **changes), **others)
            await local.store.put_tenant(new)
            return new

    changed = asyncio.run(change())
    if as_json:
        print_json(_as_json(changed))
        return
    console().print(f"Changed the limits of {changed.id}:")
    for name, value in _as_json(changed)["limits"].items():
        console().print(f"  {name}: {limit(value)}")
    budget_now = changed.budget_nano_usd
    console().print(f"  budget: {UNLIMITED if budget_now is None else usd(budget_now)}")
    console().print(f"  least risk class: {changed.risk.value}")


def _tenant_id(text: str) -> TenantId:
    kept = text.replace("-", "").replace("_", "")
    if not (kept.isascii() and kept.isalnum() and text == text.lower() and len(text) <= 64):
        raise typer.BadParameter(
            f"`{text}` is not a tenant id: up to 64 lower-case letters, digits, - and _."
        )
    return TenantId(text)


def _nano(amount: int | None) -> NanoUsd | None:
    return None if amount is None else NanoUsd(amount)


def _as_json(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "name": tenant.name,
        "limits": {
            "requests_per_minute": tenant.limits.requests_per_minute,
            "tokens_per_minute": tenant.limits.tokens_per_minute,
            "max_concurrent": tenant.limits.max_concurrent,
        },
        "budget_nano_usd": tenant.budget_nano_usd,
        "risk": tenant.risk.value,
        "created_unix_ns": tenant.created_unix_ns,
    }
