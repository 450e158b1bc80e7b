"""A file in which something does not hold is told, by name."""

import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from tests.support.settlements import ACME, session, settlement, whole_settlement


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    opened = SqliteStore(SqliteSettings(path=tmp_path / "octant.db"))
    await opened.open()
    await opened.put_tenant(ACME)
    await opened.put_session(session(1))
    await opened.put_session(session(2))
    for version in range(3):
        await opened.settle(whole_settlement(version, session=1, version=version))
    await opened.settle(settlement(9))
    yield opened
    await opened.close()


async def test_a_sound_file_passes(store: SqliteStore) -> None:
    await store.check_integrity()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE audit SET record = replace(record, 'acme', 'evil') WHERE seq = 2", "seq=2"),
        ("DELETE FROM audit WHERE seq = 1", "missing"),
        ("UPDATE budgets SET spent_nano_usd = 1", "differs from budgets"),
        ("UPDATE ledger SET cost_nano_usd = 1", "differs from budgets"),
        ("DELETE FROM budgets", "differs from budgets"),
        ("DELETE FROM session_turns WHERE version = 1", "count of turns"),
        ("DELETE FROM session_turns WHERE version = 3", "count of turns"),
        ("UPDATE session_turns SET version = 9 WHERE version = 3", "count of turns"),
        ("UPDATE sessions SET version = 1 WHERE version = 0", "count of turns"),
        (
            "UPDATE sessions SET record = json_set(record, '$.version', 7) WHERE version = 3",
            "count of turns",
        ),
        ("DELETE FROM sessions WHERE version = 3", "without their parents"),
        ("UPDATE session_turns SET session = 'ses_x'", "without their parents"),
        ("UPDATE session_placeholders SET tenant = 'umbrella'", "without their parents"),
        ("DELETE FROM outcomes", "without their parents"),
    ],
)
async def test_what_does_not_hold_is_named(
    store: SqliteStore, tmp_path: Path, statement: str, told: str
) -> None:
    vandal = sqlite3.connect(tmp_path / "octant.db")
    with vandal:
        vandal.execute(statement)
    vandal.close()
    with pytest.raises(AssertionError, match=told):
        await store.check_integrity()
