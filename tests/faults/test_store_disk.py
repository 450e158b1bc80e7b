"""Disks that are full, files that cannot be written: classified, nothing kept, usable again after.

Space is really gone: the file system refuses to let the files grow (RLIMIT_FSIZE), or SQLite may
not take more pages.
"""

import asyncio
import resource
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.core.units import NS_PER_S
from tests.support.settlements import (
    ACME,
    MONTH,
    audited,
    request_id,
    session,
    session_id,
    settlement,
    whole_settlement,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "octant.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SqliteStore]:
    opened = SqliteStore(SqliteSettings(path=path, busy_timeout_ms=50))
    await opened.open()
    await opened.put_tenant(ACME)
    yield opened
    await opened.close()


@contextmanager
def little_space(path: Path, left_bytes: int = 0) -> Generator[None]:
    """Files of this process may grow `left_bytes` beyond the largest file of the store."""
    largest = max(each.stat().st_size for each in path.parent.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + left_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def refused(store: SqliteStore, number: int) -> Failure:
    with pytest.raises(Failed) as caught:
        await store.settle(settlement(number))
    failure = caught.value.failure
    assert failure.kind is FailureKind.RECORD_NOT_STORED
    assert failure.stage is Stage.RESPONSE
    assert failure.retry_after_ns == NS_PER_S
    assert str(request_id(number)) in failure.message
    return failure


async def test_a_full_disk_is_told_apart_and_passes(store: SqliteStore, path: Path) -> None:
    await store.settle(settlement(0))
    with little_space(path):
        for number in range(1, 50):
            failure = await refused(store, number)
        assert failure.detail["sqlite"].startswith(("SQLITE_FULL", "SQLITE_IOERR"))
        assert await store.spent(ACME.id, MONTH) == 7
    assert await store.outcome(request_id(1)) is None
    await store.settle(settlement(1))
    assert await store.spent(ACME.id, MONTH) == 14
    await store.check_integrity()


async def test_a_full_disk_in_the_middle_keeps_what_was_acknowledged(
    store: SqliteStore, path: Path
) -> None:
    results: list[object] = []

    async def settle_twenty(first: int) -> None:
        given = [store.settle(settlement(number)) for number in range(first, first + 20)]
        results.extend(await asyncio.gather(*given, return_exceptions=True))

    for first in range(0, 100, 20):
        await settle_twenty(first)
    with little_space(path, left_bytes=40_000):
        for first in range(100, 400, 20):
            await settle_twenty(first)
    stored = [number for number, result in enumerate(results) if result is None]
    assert 100 <= len(stored) < 400
    assert await store.spent(ACME.id, MONTH) == 7 * len(stored)
    kept = [n for n in range(400) if await store.outcome(request_id(n)) is not None]
    assert kept == stored
    await store.check_integrity()


async def test_a_full_disk_leaves_chain_and_sessions_whole(store: SqliteStore, path: Path) -> None:
    callers = 8
    versions = [0] * callers
    for caller in range(callers):
        await store.put_session(session(caller))

    async def talk(caller: int, turns: int) -> int:
        refusals = 0
        for _ in range(turns):
            number = 1_000 * caller + versions[caller] + 1
            given = whole_settlement(number, session=caller, version=versions[caller])
            try:
                await store.settle(given)
                versions[caller] += 1
                await store.append_audit([audited(f"step-{number}", request_id=request_id(number))])
            except Failed as error:
                assert error.failure.kind is FailureKind.RECORD_NOT_STORED
                refusals += 1
        return refusals

    with little_space(path, left_bytes=200_000):
        refused = await asyncio.gather(*(talk(caller, 40) for caller in range(callers)))
    assert sum(refused) > 0
    await store.check_integrity()
    assert await asyncio.gather(*(talk(caller, 5) for caller in range(callers))) == [0] * callers
    for caller in range(callers):
        found = await store.conversation(ACME.id, session_id(caller))
        assert found is not None and found.session.version == versions[caller]
    await store.check_integrity()


async def test_audit_that_cannot_be_written_says_so(store: SqliteStore, path: Path) -> None:
    await store.put_session(session(1))
    await store.append_audit([audited("before")])
    with little_space(path):
        for _ in range(3):
            with pytest.raises(Failed, match=r"1 audit record \(keys.create\)") as caught:
                await store.append_audit([audited("keys.create")])
            assert caught.value.failure.kind is FailureKind.RECORD_NOT_STORED
        with pytest.raises(Failed, match="could not be removed"):
            await store.delete_session(ACME.id, session_id(1))
    await store.append_audit([audited("after")])
    assert [record.action for record in await store.audit(None, 9)] == ["after", "before"]
    assert await store.conversation(ACME.id, session_id(1)) is not None
    await store.check_integrity()


async def test_sqlite_itself_running_out_of_pages_names_the_remedy(path: Path) -> None:
    store = SqliteStore(SqliteSettings(path=path))
    await store.open()
    await store.put_tenant(ACME)
    writing = store._writing  # pyright: ignore[reportPrivateUsage]
    assert writing is not None
    pages = (await writing.exec_driver_sql("PRAGMA page_count")).scalar()
    await writing.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    await writing.rollback()
    for number in range(100):
        try:
            await store.settle(settlement(number))
        except Failed as error:
            failure = error.failure
            break
    else:
        raise AssertionError("the file never became full")
    assert failure.detail == {"sqlite": "SQLITE_FULL"}
    assert "full: free space" in failure.message
    assert await store.outcome(request_id(number)) is None
    await writing.exec_driver_sql("PRAGMA max_page_count=1000000")
    await writing.rollback()
    await store.settle(settlement(number))
    await store.check_integrity()
    await store.close()


async def test_a_lock_held_by_another_process_is_reported_for_all_at_once(
    store: SqliteStore, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    given = [store.settle(settlement(number)) for number in range(10)]
    results = await asyncio.gather(*given, return_exceptions=True)
    other.execute("ROLLBACK")
    other.close()
    failures = [result.failure for result in results if isinstance(result, Failed)]
    assert len(failures) == 10
    assert {failure.detail["sqlite"] for failure in failures} == {"SQLITE_BUSY"}
    assert await store.spent(ACME.id, MONTH) == 0
    await store.settle(settlement(1))


async def test_a_file_that_became_read_only_keeps_answering_reads(
    store: SqliteStore, path: Path
) -> None:
    await store.settle(settlement(1))
    writing = store._writing  # pyright: ignore[reportPrivateUsage]
    assert writing is not None
    await writing.exec_driver_sql("PRAGMA query_only=ON")
    await writing.rollback()
    failure = await refused(store, 2)
    assert failure.detail == {"sqlite": "SQLITE_READONLY"}
    assert await store.spent(ACME.id, MONTH) == 7
    await writing.exec_driver_sql("PRAGMA query_only=OFF")
    await writing.rollback()
    await store.settle(settlement(2))


@pytest.fixture
def letter(path: Path) -> Path:
    path.write_bytes(b"this is a letter to a friend, " * 100)
    return path


async def test_a_file_that_is_no_database_is_named_at_the_start(letter: Path) -> None:
    with pytest.raises(Failed) as caught:
        await SqliteStore(SqliteSettings(path=letter)).open()
    failure = caught.value.failure
    assert failure.detail == {"sqlite": "SQLITE_NOTADB"}
    assert str(letter) in failure.message
    assert "set store.path" in failure.message


async def test_a_directory_that_cannot_be_made_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Failed) as caught:
        await SqliteStore(SqliteSettings(path=tmp_path / "file" / "octant.db")).open()
    assert caught.value.failure.kind is FailureKind.RECORD_NOT_STORED


async def test_old_traces_and_recordings_are_removed_and_everything_else_is_kept(
    path: Path,
) -> None:
    store = SqliteStore(SqliteSettings(path=path, keep_traces=20, prune_chunk=8))
    await store.open()
    await store.put_tenant(ACME)
    await store.put_session(session(1))
    for number in range(100):
        await store.settle(whole_settlement(number, session=1, version=number))
    kept = [number for number in range(100) if await store.events(request_id(number))]
    assert kept == list(range(100 - len(kept), 100))
    assert 20 <= len(kept) <= 20 + 8
    assert [n for n in range(100) if await store.recording(request_id(n))] == kept
    assert await store.outcome(request_id(0)) is not None
    assert await store.manifest(request_id(0)) is not None
    assert await store.summary(request_id(0)) is not None
    assert await store.spent(ACME.id, MONTH) == 700
    await store.check_integrity()
    await store.close()


async def test_callers_beyond_the_queue_wait_and_are_all_served(path: Path) -> None:
    store = SqliteStore(SqliteSettings(path=path, max_waiting=1, max_batch=1))
    await store.open()
    await store.put_tenant(ACME)
    given = [asyncio.ensure_future(store.settle(settlement(number))) for number in range(30)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*given)
    await store.open()
    assert await store.spent(ACME.id, MONTH) == 30 * 7
    await store.close()


async def test_a_damaged_record_is_reported_and_does_not_take_the_store_down(
    store: SqliteStore, path: Path
) -> None:
    await store.settle(settlement(1))
    vandal = sqlite3.connect(path)
    vandal.execute("""UPDATE outcomes SET record = '{"request_id": 1}'""")
    vandal.commit()
    vandal.close()
    with pytest.raises(Failed, match="could not be read"):
        await store.outcome(request_id(1))
    await store.settle(settlement(2))
    assert await store.spent(ACME.id, MONTH) == 14
