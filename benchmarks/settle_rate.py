"""How many requests a second the store settles, beside another version of itself.

    python benchmarks/settle_rate.py [--against TREE] [--callers 64] [--json]

TREE is a checkout of another commit (`git worktree add TREE COMMIT`). Each round runs both versions
in processes of their own, on new files of the same disk, in turns; the figures are medians of the
rounds' ratios. Rates wait for the disk and for other processes; processor time per request does
not, so on a machine that does other work it is the steadier of the two. `--whole` also measures
requests that leave everything a request can leave: summary, recording and a turn of a session.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parents[1]
WARM_UP = 640


class Cost(NamedTuple):
    """Settlements a second, and microseconds of processor time for each, all threads together."""

    per_s: float
    cpu_us: float


def main() -> None:
    """Prints the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--requests", type=int, default=6_400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", type=Path, help="where the files are made")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.once:
        print(json.dumps(asyncio.run(settle(wanted.requests, wanted.callers, whole=wanted.whole))))
        return
    figures = measured(wanted)
    if wanted.json:
        from octant.cli import machine

        about = {"machine": machine.facts(), "versions": machine.versions()}
        print(json.dumps({"benchmark": "settle_rate"} | figures | about))
        return
    for name, value in figures.items():
        print(f"{name:<22}{value}")


def measured(wanted: argparse.Namespace) -> dict[str, Any]:
    """Medians over rounds, the versions taking turns at being first."""
    sides = {"here": (HERE, False)}
    if wanted.against:
        sides["there"] = (wanted.against.resolve(), False)
    if wanted.whole:
        sides["whole"] = (HERE, True)
    rounds: dict[str, list[Cost]] = {name: [] for name in sides}
    for number in range(wanted.rounds):
        for name in sorted(sides, reverse=number % 2 == 1):
            tree, whole = sides[name]
            rounds[name].append(in_process(tree, wanted, whole=whole))
    figures: dict[str, Any] = {"callers": wanted.callers, "requests": wanted.requests}
    for name, found in rounds.items():
        figures[f"{name}_per_s"] = round(median(each.per_s for each in found))
        figures[f"{name}_per_s_range"] = [round(min(found).per_s), round(max(found).per_s)]
        figures[f"{name}_cpu_us"] = round(median(each.cpu_us for each in found), 1)
    if wanted.against:
        pairs = list(zip(rounds["here"], rounds["there"], strict=True))
        figures["rate_ratio"] = round(median(a.per_s / b.per_s for a, b in pairs), 3)
        figures["cpu_ratio"] = round(median(a.cpu_us / b.cpu_us for a, b in pairs), 3)
    return figures


def in_process(tree: Path, wanted: argparse.Namespace, *, whole: bool) -> Cost:
    """What the version in `tree` takes."""
    arguments = ["--once", "--requests", str(wanted.requests), "--callers", str(wanted.callers)]
    paths = f"{tree / 'src'}{os.pathsep}{tree}"
    with tempfile.TemporaryDirectory(dir=wanted.directory) as directory:
        done = subprocess.run(
            [sys.executable, __file__, *arguments, *(["--whole"] if whole else [])],
            env=os.environ | {"PYTHONPATH": paths},
            cwd=directory,
            stdout=subprocess.PIPE,
            check=True,
        )
    return Cost(*json.loads(done.stdout))


async def settle(requests: int, callers: int, *, whole: bool) -> Cost:
    """Settles `requests` into a new file in the working directory, `callers` at a time."""
    from tests.support.settlements import ACME, settlement

    from octant.adapters.sqlite.settings import SqliteSettings
    from octant.adapters.sqlite.store import SqliteStore

    store = SqliteStore(SqliteSettings(path=Path("octant.db")))
    await store.open()
    await store.put_tenant(ACME)
    prepare = await _conversing(store, callers) if whole else settlement
    given = [prepare(number) for number in range(WARM_UP + requests)]
    begun_s = begun_cpu_s = 0.0

    async def call(numbers: range) -> None:
        for number in numbers:
            await store.settle(given[number])

    for first, last in ((0, WARM_UP), (WARM_UP, WARM_UP + requests)):
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(
            *(call(range(first + caller, last, callers)) for caller in range(callers))
        )
    taken_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
    await store.close()
    return Cost(requests / taken_s, cpu_s / requests * 1e6)


async def _conversing(store: Any, callers: int) -> Any:
    """Makes settlements with everything, one session a caller."""
    from tests.support.settlements import session, whole_settlement

    for caller in range(callers):
        await store.put_session(session(caller))
    return lambda number: whole_settlement(
        number, session=number % callers, version=number // callers
    )


if __name__ == "__main__":
    main()
