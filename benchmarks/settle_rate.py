"""How many requests a second the store settles, beside another version of itself.

    python benchmarks/settle_rate.py [--against TREE] [--callers 64] [--json]

TREE is a checkout of another commit (`git worktree add TREE COMMIT`). Each round runs both versions
in processes of their own, on new files of the same disk, in turns; the figure is the median of the
rounds' ratios. `--whole` also measures requests that leave everything a request can leave: summary,
recording and a turn of a session.
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
from typing import Any

HERE = Path(__file__).resolve().parents[1]
WARM_UP = 2_000


def main() -> None:
    """Prints the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--requests", type=int, default=12_800)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", type=Path, help="where the files are made")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.once:
        print(asyncio.run(rate(wanted.requests, wanted.callers, whole=wanted.whole)))
        return
    figures = measured(wanted)
    if wanted.json:
        from octant.cli import machine

        about = {"machine": machine.facts(), "versions": machine.versions()}
        print(json.dumps({"benchmark": "settle_rate"} | figures | about))
        return
    for name, value in figures.items():
        print(f"{name:<20}{value}")


def measured(wanted: argparse.Namespace) -> dict[str, Any]:
    """Medians over rounds, the versions taking turns at being first."""
    sides = {"here": (HERE, False)}
    if wanted.against:
        sides["there"] = (wanted.against.resolve(), False)
    if wanted.whole:
        sides["whole"] = (HERE, True)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(wanted.rounds):
        for name in sorted(sides, reverse=number % 2 == 1):
            tree, whole = sides[name]
            rates[name].append(in_process(tree, wanted, whole=whole))
    figures: dict[str, Any] = {"callers": wanted.callers, "requests": wanted.requests}
    figures |= {f"{name}_per_s": round(median(found)) for name, found in rates.items()}
    figures |= {f"{name}_spread": [round(min(found)), round(max(found))]
                for name, found in rates.items()}  # fmt: skip
    if wanted.against:
        pairs = zip(rates["here"], rates["there"], strict=True)
        figures["ratio"] = round(median(here / there for here, there in pairs), 3)
    return figures


def in_process(tree: Path, wanted: argparse.Namespace, *, whole: bool) -> float:
    """Settlements a second of the version in `tree`."""
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
    return float(done.stdout)


async def rate(requests: int, callers: int, *, whole: bool) -> float:
    """Settles `requests` into a new file in the working directory, `callers` at a time."""
    from tests.support.settlements import ACME, settlement

    from octant.adapters.sqlite.settings import SqliteSettings
    from octant.adapters.sqlite.store import SqliteStore

    store = SqliteStore(SqliteSettings(path=Path("octant.db")))
    await store.open()
    await store.put_tenant(ACME)
    prepare = await _conversing(store, callers) if whole else settlement
    given = [prepare(number) for number in range(WARM_UP + requests)]
    begun_s = 0.0

    async def call(numbers: range) -> None:
        for number in numbers:
            await store.settle(given[number])

    for first, last in ((0, WARM_UP), (WARM_UP, WARM_UP + requests)):
        begun_s = time.perf_counter()
        await asyncio.gather(
            *(call(range(first + caller, last, callers)) for caller in range(callers))
        )
    taken_s = time.perf_counter() - begun_s
    await store.close()
    return requests / taken_s


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
