"""Moments: instants and amounts as people read them."""

from datetime import UTC, datetime

from octant.core.units import NANO_USD_PER_USD, NS_PER_S

UNLIMITED = "unlimited"


def utc(unix_ns: int) -> str:
    """`2026-11-21 16:02:31Z`."""
    return f"{datetime.fromtimestamp(unix_ns / NS_PER_S, UTC):%Y-%m-%d %H:%M:%S}Z"


def usd(nano_usd: int) -> str:
    """Dollars with as many decimals as the amount has, at least two."""
    whole, nano = divmod(nano_usd, NANO_USD_PER_USD)
    decimals = f"{nano:09d}".rstrip("0").ljust(2, "0")
    return f"${whole}.{decimals}"


def limit(value: int | None) -> str:
    """A number, or `unlimited`."""
    return UNLIMITED if value is None else str(value)
