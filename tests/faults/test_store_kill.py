"""SIGKILL at any instant: what was acknowledged is there, and nothing is counted twice."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from tests.support.settlements import ACME, MONTH, request_id

ROUNDS = 5
CALLERS = 16
PER_ROUND = 1_000_000
COST = 7


def settle_until_killed(path: Path, first: int, acknowledgements: int) -> list[int]:
    """The numbers that a child had acknowledged when it was killed."""
    command = [sys.executable, "-m", "tests.support.settling_child"]
    child = subprocess.Popen(
        [*command, str(path), str(first), str(CALLERS)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child, child.stdout:
        heard = [child.stdout.readline() for _ in range(acknowledgements)]
        os.kill(child.pid, signal.SIGKILL)
        heard += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [int(line) for line in heard if line.endswith("\n")]


async def test_what_was_acknowledged_survives_any_kill(tmp_path: Path) -> None:
    path = tmp_path / "octant.db"
    chance = random.Random(20261121)
    acknowledged: set[int] = set()
    for round_number in range(ROUNDS):
        first = round_number * PER_ROUND
        acknowledged |= set(settle_until_killed(path, first, chance.randrange(1, 300)))
        store = SqliteStore(SqliteSettings(path=path))
        await store.open()
        kept = {n for n in acknowledged if await store.outcome(request_id(n)) is not None}
        assert kept == acknowledged
        await store.check_integrity()
        spent = await store.spent(ACME.id, MONTH)
        await store.close()
        assert spent % COST == 0
        # Unacknowledged requests of the last commit may be there, one for each caller and round.
        unheard = spent // COST - len(acknowledged)
        assert 0 <= unheard <= CALLERS * (round_number + 1)
