"""A process that settles requests and prints the number of each one as it is acknowledged.

python -m tests.support.settling_child FILE FIRST CALLERS
"""

import asyncio
import sys
from pathlib import Path

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from tests.support.settlements import ACME, settlement


async def settle_for_ever(path: Path, first: int, callers: int) -> None:
    """Each caller settles every `callers`-th number from `first` on."""
    store = SqliteStore(SqliteSettings(path=path))
    await store.open()
    await store.put_tenant(ACME)

    async def call(number: int) -> None:
        while True:
            await store.settle(settlement(number))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += callers

    await asyncio.gather(*(call(first + offset) for offset in range(callers)))


if __name__ == "__main__":
    asyncio.run(settle_for_ever(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
