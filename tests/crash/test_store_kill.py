"""SIGKILL at any instant: what was acknowledged is there, and nothing is counted twice."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.core.ids import RequestId
from tests.support.settlements import ACME, MONTH, request_id, session_id, traffic

ROUNDS = 5
CALLERS = 16
PER_ROUND = 1_000_000
COST = 7


def heard_until_killed(
    path: Path, first: int, acknowledgements: int, *mode: str
) -> list[tuple[str, ...]]:
    """What a child had acknowledged when it was killed: the words of each line."""
    command = [sys.executable, "-m", "tests.support.settling_child"]
    child = subprocess.Popen(
        [*command, str(path), str(first), str(CALLERS), *mode], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child, child.stdout:
        heard = [child.stdout.readline() for _ in range(acknowledgements)]
        os.kill(child.pid, signal.SIGKILL)
        heard += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [tuple(line.split()) for line in heard if line.endswith("\n")]


async def test_what_was_acknowledged_survives_any_kill(tmp_path: Path) -> None:
    path = tmp_path / "octant.db"
    chance = random.Random(20261121)
    acknowledged: set[int] = set()
    for round_number in range(ROUNDS):
        first = round_number * PER_ROUND
        heard = heard_until_killed(path, first, chance.randrange(1, 300))
        acknowledged |= {int(number) for _, number in heard}
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


async def test_sessions_audit_and_traffic_survive_any_kill(tmp_path: Path) -> None:
    path = tmp_path / "octant.db"
    chance = random.Random(20261122)
    heard: list[tuple[str, ...]] = []
    for round_number in range(ROUNDS):
        heard += heard_until_killed(
            path, round_number * PER_ROUND, chance.randrange(1, 400), "talk"
        )
        store = SqliteStore(SqliteSettings(path=path))
        await store.open()
        await store.check_integrity()
        await check_turns(store, [words for words in heard if words[0] == "turn"])
        await check_audit(store, {words[1] for words in heard if words[0] == "audited"})
        await check_traffic(store, [int(words[1]) for words in heard if words[0] == "traffic"])
        await store.close()


async def check_turns(store: SqliteStore, turns: list[tuple[str, ...]]) -> None:
    """Every turn that was acknowledged stands in its place, and at most one more behind it."""
    told: dict[int, dict[int, RequestId]] = {}
    for _, number, session, version in turns:
        told.setdefault(int(session), {})[int(version)] = request_id(int(number))
    for session, requests in told.items():
        found = await store.conversation(ACME.id, session_id(session))
        assert found is not None
        kept = {turn.version: turn.request_id for turn in found.turns}
        assert requests.items() <= kept.items()
        assert len(found.turns) == found.session.version <= len(requests) + 1
        assert len(found.placeholders) == found.session.version
        for request in requests.values():
            assert await store.outcome(request) is not None
            assert await store.recording(request) is not None


async def check_audit(store: SqliteStore, actions: set[str]) -> None:
    """No acknowledged record is missing, and no request has two of its settlement."""
    kept = [record.action for record in await store.audit(None, PER_ROUND)]
    assert actions <= set(kept)
    settled = sum(line.requests for line in await store.usage(None, MONTH))
    assert kept.count("inference") == settled


async def check_traffic(store: SqliteStore, versions: list[int]) -> None:
    """The split that was acknowledged last is in force, or the one that came after it."""
    history = await store.traffic_history("m", PER_ROUND)
    assert [split.version for split in history] == list(range(len(history), 0, -1))
    assert set(versions) <= {split.version for split in history}
    if history:
        assert await store.traffic() == [traffic(len(history))]
