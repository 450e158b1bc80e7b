"""A process that writes to a store and prints a line for each thing as it is acknowledged.

python -m tests.support.settling_child FILE FIRST CALLERS [talk]

`settled N`; with `talk` each caller has a session, and `turn N SESSION VERSION`, `audited ACTION`
and `traffic VERSION` are printed too.
"""

import asyncio
import sys
from pathlib import Path

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from tests.support.settlements import (
    ACME,
    audited,
    request_id,
    session,
    settlement,
    traffic,
    whole_settlement,
)


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def settle_for_ever(store: SqliteStore, first: int, callers: int) -> None:
    """Each caller settles every `callers`-th number from `first` on."""

    async def call(number: int) -> None:
        while True:
            await store.settle(settlement(number))
            tell(f"settled {number}")
            number += callers

    await asyncio.gather(*(call(first + offset) for offset in range(callers)))


async def talk_for_ever(store: SqliteStore, first: int, callers: int) -> None:
    """Each caller audits what it is about to do, then adds a turn to a session of its own."""

    async def call(number: int) -> None:
        mine = number
        await store.put_session(session(mine))
        version = 0
        while True:
            intent = audited(f"tool-{number}", request_id=request_id(number))
            await store.append_audit([intent])
            tell(f"audited {intent.action}")
            await store.settle(whole_settlement(number, session=mine, version=version))
            version += 1
            tell(f"turn {number} {mine} {version}")
            number += callers

    async def move_traffic() -> None:
        present = await store.traffic()
        version = present[0].version if present else 0
        while True:
            version += 1
            await store.put_traffic(traffic(version))
            tell(f"traffic {version}")

    await asyncio.gather(move_traffic(), *(call(first + offset) for offset in range(callers)))


async def run(path: Path, first: int, callers: int, *, talk: bool) -> None:
    store = SqliteStore(SqliteSettings(path=path))
    await store.open()
    await store.put_tenant(ACME)
    await (talk_for_ever if talk else settle_for_ever)(store, first, callers)


if __name__ == "__main__":
    asyncio.run(
        run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), talk="talk" in sys.argv[4:])
    )
