"""Gateway benchmark: requests per second through the whole server, beside its upstream alone.

Law: both sides get the same requests from the same callers in turns, in an order that alternates;
the first round of each warms up and is not counted. The server has a core of its own where there
are two, unless told otherwise; upstream and callers share the other.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from octant.cli.json_child import JsonChild, json_child
from octant.cli.machine import tree_cpu_s
from octant.cli.private_server import PrivateServer, private_server

MODEL = "instant"
# Commits and closing connections of one side must not be measured with the other.
_SETTLE_S = 1.0


class GatewayShape(NamedTuple):
    """How each measurement is made; `pinned` gives the server a core of its own."""

    connections: int
    seconds: float
    rounds: int
    pinned: bool = True


class Side(NamedTuple):
    """One side over all rounds, a value for each. `cpu_ms` is what the server's process tree took
    of a processor for one request; it hardly depends on what else the machine does.
    """

    requests_per_s: tuple[float, ...]
    p50_ms: tuple[float, ...]
    p99_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...] = ()

    def told(self) -> dict[str, Any]:
        """For the record, with the medians first."""
        values = {name: rounds for name, rounds in self._asdict().items() if rounds}
        medians = {name: round(median(rounds), 3) for name, rounds in values.items()}
        spreads = {
            f"{name}_rounds": [round(value, 3) for value in rounds]
            for name, rounds in values.items()
        }
        return medians | spreads


class Comparison(NamedTuple):
    """Whole or streamed answers, through the server and from the upstream alone."""

    stream: bool
    served: Side
    alone: Side

    @property
    def added_ms(self) -> float:
        """What the server adds to a request, of medians."""
        return median(self.served.p50_ms) - median(self.alone.p50_ms)


class Bench(NamedTuple):
    """The processes of a run."""

    server: PrivateServer
    upstream_url: str
    load: JsonChild


@asynccontextmanager
async def started(
    source: Path, config: Path | None, *, pinned: bool
) -> AsyncGenerator[Bench, None]:
    """Upstream, server and callers, on their cores."""
    cores = _cores() if pinned else []
    with _Pinned(cores[-1:]) as pin:
        async with (
            json_child("instant upstream", "octant.cli.instant_upstream") as upstream,
            json_child("gateway load", "octant.cli.gateway_load") as load,
        ):
            url = (await upstream.read())["url"]
            pin.to(cores[:1])
            async with private_server(source, config, environment=_environment(url)) as server:
                pin.to(cores[-1:])
                yield Bench(server, url, load)


async def compare(
    bench: Bench, shape: GatewayShape, stream: bool, advanced: Callable[[], None]
) -> Comparison:
    """All rounds of one kind of answer; `advanced` is called after each measurement."""
    rounds: dict[str, list[dict[str, Any]]] = {"served": [], "alone": []}
    for number in range(-1, shape.rounds):
        for side in ("served", "alone") if number % 2 else ("alone", "served"):
            await asyncio.sleep(_SETTLE_S)
            answer = await _measure(bench, shape, stream, served=side == "served")
            advanced()
            if number >= 0:
                rounds[side].append(answer)
    return Comparison(stream, _side(rounds["served"]), _side(rounds["alone"]))


async def _measure(
    bench: Bench, shape: GatewayShape, stream: bool, *, served: bool
) -> dict[str, Any]:
    before_s = tree_cpu_s(bench.server.pid)
    answer = await bench.load.ask(
        {
            "url": bench.server.target.url if served else bench.upstream_url,
            "key": bench.server.target.key if served else "none",
            "model": MODEL,
            "connections": shape.connections,
            "seconds": shape.seconds,
            "stream": stream,
        }
    )
    after_s = tree_cpu_s(bench.server.pid)
    if not served or before_s is None or after_s is None:
        return answer
    return answer | {"cpu_s": after_s - before_s}


def _side(answers: list[dict[str, Any]]) -> Side:
    return Side(
        tuple(answer["requests"] / answer["seconds"] for answer in answers),
        tuple(answer["p50_ms"] for answer in answers),
        tuple(answer["p99_ms"] for answer in answers),
        tuple(
            1_000 * answer["cpu_s"] / answer["requests"] for answer in answers if "cpu_s" in answer
        ),
    )


def _environment(upstream_url: str) -> dict[str, str]:
    table = {"name": "instant-upstream", "base_url": f"{upstream_url}/v1", "serves": MODEL}
    return {"OCTANT_UPSTREAMS": json.dumps([table]), "OCTANT_DEPLOYMENTS__PRECISE": "false"}


def _cores() -> list[int]:
    """Those that this process may use; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


class _Pinned:
    """Children start on the cores that this process is on; leaving gives it back all of them."""

    def __init__(self, cores: list[int]) -> None:
        self._before = _cores()
        self.to(cores)

    def to(self, cores: list[int]) -> None:
        """From here on."""
        if cores:
            os.sched_setaffinity(0, cores)

    def __enter__(self) -> "_Pinned":
        return self

    def __exit__(self, *_: object) -> None:
        self.to(self._before)
