"""Serve benchmark: the served engine and the bare executor loop, measured in turns in one run.

Law: both sides run the same shapes on the same machine within seconds of each other, in an order
that alternates from round to round, and what is told is medians with their spread. A first round
of each side warms up and is not counted.
"""

import asyncio
from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

from octant.cli.json_child import JsonChild
from octant.cli.machine import tree_rss_bytes
from octant.cli.private_server import PrivateServer

# What one side leaves behind (commits, closing connections, spinning threads) slowed the other to
# a quarter when it followed at once: 245 instead of 1,000 tokens/s with the bundled model.
_SETTLE_S = 1.0


class Shape(NamedTuple):
    """What each request is: prompt length, output length, and how often it is measured."""

    prompt_tokens: int
    new_tokens: int
    rounds: int


class Measured(NamedTuple):
    """One side at one concurrency: tokens per second of each round."""

    decode_tokens_per_s: tuple[float, ...]

    @property
    def typical(self) -> float:
        """Median of the rounds."""
        return median(self.decode_tokens_per_s)


class Level(NamedTuple):
    """Both sides at one concurrency. Milliseconds are those of all rounds together."""

    concurrency: int
    served: Measured
    bare: Measured
    ttft_ms: tuple[float, ...]
    itl_ms: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Served over bare, of medians."""
        return self.served.typical / self.bare.typical


class Sides(NamedTuple):
    """The processes of a run."""

    server: PrivateServer
    load: JsonChild
    bare: JsonChild


async def measure_level(
    sides: Sides, shape: Shape, concurrency: int, advanced: Callable[[], None]
) -> Level:
    """All rounds at one concurrency; `advanced` is called after each measurement."""
    served: list[dict[str, Any]] = []
    bare: list[float] = []
    for number in range(-1, shape.rounds):
        for side in ("served", "bare") if number % 2 else ("bare", "served"):
            await asyncio.sleep(_SETTLE_S)
            if side == "served":
                answer = await sides.load.ask(_question(sides.server, shape, concurrency, number))
            else:
                answer = await sides.bare.ask(
                    {
                        "sequences": concurrency,
                        "prompt_tokens": shape.prompt_tokens,
                        "new_tokens": shape.new_tokens,
                    }
                )
            advanced()
            if number >= 0 and side == "served":
                served.append(answer)
            elif number >= 0:
                bare.append(answer["decode_tokens_per_s"])
    return Level(
        concurrency,
        Measured(tuple(answer["decode_tokens_per_s"] for answer in served)),
        Measured(tuple(bare)),
        tuple(value for answer in served for value in answer["ttft_ms"]),
        tuple(value for answer in served for value in answer["itl_ms"]),
    )


async def idle_rss_bytes(server: PrivateServer) -> int | None:
    """Memory of the idle server and its engine, after a moment of rest."""
    await asyncio.sleep(_SETTLE_S)
    return tree_rss_bytes(server.pid)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` % of `values` do not exceed; of a single value, that value."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def level_json(level: Level) -> dict[str, Any]:
    """One concurrency for the record; speeds in tokens per second."""
    return {
        "concurrency": level.concurrency,
        "served_decode_tokens_per_s": [round(v, 2) for v in level.served.decode_tokens_per_s],
        "bare_decode_tokens_per_s": [round(v, 2) for v in level.bare.decode_tokens_per_s],
        "ratio": round(level.ratio, 4),
        "ttft_ms": _spread(level.ttft_ms),
        "itl_ms": _spread(level.itl_ms),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(percentile(values, percent), 3) for percent in (50, 90, 99)}


def _question(server: PrivateServer, shape: Shape, concurrency: int, number: int) -> dict[str, Any]:
    return {
        "url": server.target.url,
        "key": server.target.key,
        "model": server.model,
        "concurrency": concurrency,
        "prompt_tokens": shape.prompt_tokens,
        "max_tokens": shape.new_tokens,
        "seed": concurrency * 1_000 + number + 1,
    }
