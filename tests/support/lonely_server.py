"""A server process that starts an engine, prints its process id and waits to be killed."""

import asyncio
import sys
from pathlib import Path

from tests.support.supervised import Supervised


async def serve(run_dir: Path) -> None:
    engine = Supervised(run_dir)
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.supervisor.run())
        await engine.supervisor.wait_ready()
        print(engine.pid, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
