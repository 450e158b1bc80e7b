"""`octant usage`: tokens and money by tenant and model, as the ledger has them."""

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octant.cli.moments import usd, utc
from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, print_json, print_rows
from octant.core.ids import TenantId

if TYPE_CHECKING:
    from octant.ports.store import UsageLine

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_SUMS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_nano_usd")


def usage(
    month: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM", help="Calendar month (UTC).", show_default="this month"),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Only this tenant.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what tenants used in a month: sums over the ledger, by tenant and model.

    Cached tokens are part of the prompt's. Money is integer nano-USD, and in USD beside it. Works
    with and without a running server.

    Examples:

      octant usage

      octant usage --month 2026-11 --tenant research --json
    """
    from octant.cli.loading import load
    from octant.cli.local_store import open_local
    from octant.core.record import to_builtins

    if month is not None and not _MONTH.fullmatch(month):
        raise typer.BadParameter(f"`{month}` is no month; write it as 2026-11.")
    loaded = load(config, data_dir)

    async def read() -> "tuple[str, Sequence[UsageLine]]":
        async with open_local(loaded.settings) as local:
            if tenant is not None:
                await local.tenant(tenant)
            wanted = month or utc(local.clock.unix_ns())[:7]
            return wanted, await local.store.usage(TenantId(tenant) if tenant else None, wanted)

    wanted, lines = asyncio.run(read())
    total = {name: sum(getattr(line, name) for line in lines) for name in _SUMS}
    if as_json:
        told = [_as_json(to_builtins(line)) for line in lines]
        print_json({"month": wanted, "usage": told, "total": _as_json(total)})
        return
    rows = [[line.tenant, line.model, *_figures(to_builtins(line))] for line in lines]
    if len(lines) > 1:
        rows.append(["total", "", *_figures(total)])
    print_rows(
        ["tenant", "model", "requests", "in", "cached", "out", "nano-USD", "USD"],
        rows,
        empty=f"Nothing was used in {wanted}.",
    )


def _figures(sums: dict[str, Any]) -> list[str]:
    return [*(str(sums[name]) for name in _SUMS), usd(sums["cost_nano_usd"])]


def _as_json(sums: dict[str, Any]) -> dict[str, Any]:
    return sums | {"cost_usd": usd(sums["cost_nano_usd"]).removeprefix("$")}
