"""GroupWriter: the one task that writes, many requests to a commit.

Law: a caller is told of success only after the commit that holds its write has returned. Writes
that arrive while a commit is under way share the next one, so under load many requests pay for one
fsync. A write that contradicts what is stored is refused alone, and the others are committed. When
a shared transaction fails, each write is tried alone: a bad record fails alone, and a condition of
the file fails them all without waiting for each. The audit chain's head moves with the commit only.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from octant.adapters.sqlite import chain, database, failures, settling
from octant.adapters.sqlite.changes import Change, DeleteSession
from octant.adapters.sqlite.rows import Row, SettlementRows
from octant.adapters.sqlite.settings import SqliteSettings
from octant.core.audit import ChainHead
from octant.core.failure import Failed

_log = logging.getLogger(__name__)


class AuditRows(NamedTuple):
    """Audit records that no settlement carries."""

    rows: list[Row]


Write = SettlementRows | AuditRows | Change


class _Waiting(NamedTuple):
    write: Write
    done: asyncio.Future[bool]


class _Applied(NamedTuple):
    """What a transaction did: an answer for each write, and where the chain ends with it."""

    answers: list[bool | Failed]
    head: ChainHead
    settled: int


class GroupWriter:
    """Owns the writing connection from `start` to `stop`."""

    def __init__(
        self, connection: AsyncConnection, settings: SqliteSettings, head: ChainHead
    ) -> None:
        """`head` is the end of the audit chain in the file."""
        self._connection = connection
        self._settings = settings
        self._head = head
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue(settings.max_waiting)
        self._submitted = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._unpruned = 0
        self._task = asyncio.create_task(self._run(), name="octant-store-writer")

    async def write(self, write: Write) -> bool:
        """Returns once `write` is durable; raises Failed, and then nothing of it is kept.

        False when there was nothing to change. A caller who is cancelled while waiting may find the
        write done all the same.
        """
        if self._stopping:
            raise failures.not_stored("The store is closed.")
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._submitted += 1
        self._idle.clear()
        try:
            await self._queue.put(_Waiting(write, done))
            return await done
        finally:
            self._submitted -= 1
            if self._submitted == 0:
                self._idle.set()

    async def stop(self) -> None:
        """Writes out what has been submitted, then ends."""
        self._stopping = True
        await self._idle.wait()
        await self._queue.put(None)
        await self._task

    async def _run(self) -> None:
        more = True
        while more:
            batch = await self._next_batch()
            more = batch[-1] is not None
            waiting = [item for item in batch if item is not None]
            if waiting:
                await self._commit(waiting)
                await self._prune()
                await self._forget([item.write for item in waiting])

    async def _next_batch(self) -> list[_Waiting | None]:
        """At least one entry; None, the end, is always the last."""
        batch = [await self._queue.get()]
        while len(batch) < self._settings.max_batch and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        outcome = await self._attempt([item.write for item in batch])
        if not isinstance(outcome, Exception):
            for item, answer in zip(batch, outcome, strict=True):
                _resolve(item, answer)
            return
        if len(batch) == 1 or failures.is_file_wide(outcome):
            for item in batch:
                _resolve(item, outcome)
            return
        await self._commit_one_by_one(batch)

    async def _commit_one_by_one(self, batch: list[_Waiting]) -> None:
        for position, item in enumerate(batch):
            outcome = await self._attempt([item.write])
            if not isinstance(outcome, Exception):
                _resolve(item, outcome[0])
                continue
            _resolve(item, outcome)
            if failures.is_file_wide(outcome):
                for other in batch[position + 1 :]:
                    _resolve(other, outcome)
                return

    async def _attempt(self, writes: list[Write]) -> list[bool | Failed] | Exception:
        """One transaction over `writes`: an answer to each, or the error that rolled it back."""
        try:
            async with self._connection.begin():
                applied = await self._apply(writes)
        except Exception as error:
            # Whatever it is, the callers of this batch are told, and the writer goes on.
            return error
        self._head = applied.head
        self._unpruned += applied.settled
        return applied.answers

    async def _apply(self, writes: list[Write]) -> _Applied:
        answers: list[bool | Failed] = [True] * len(writes)
        audited: dict[int, list[Row]] = {}
        settlements: dict[int, SettlementRows] = {}
        for place, write in enumerate(writes):
            if isinstance(write, SettlementRows):
                settlements[place] = write
            elif isinstance(write, AuditRows):
                audited[place] = write.rows
            else:
                answers[place] = await _changed(write, self._connection)
        settled = await settling.settle(self._connection, settlements)
        for place, refusal in settled.refused.items():
            answers[place] = refusal
        audited |= {place: each.audit for place, each in settled.added.items()}
        records = [row for place in sorted(audited) for row in audited[place]]
        head = await chain.append(self._connection, self._head, records)
        return _Applied(answers, head, len(settled.added))

    async def _prune(self) -> None:
        if self._unpruned < self._settings.prune_chunk:
            return
        self._unpruned = 0
        try:
            async with self._connection.begin():
                await settling.prune(
                    self._connection, self._settings.keep_traces, 2 * self._settings.prune_chunk
                )
        except SQLAlchemyError as error:
            _log.warning("old traces were not removed: %s", error)

    async def _forget(self, writes: Sequence[Write]) -> None:
        """What was deleted on request is not left in the write-ahead log either."""
        if not any(isinstance(write, DeleteSession) for write in writes):
            return
        try:
            emptied = await database.empty_log(self._connection)
        except sqlite3.Error as error:
            _log.warning("what was deleted may be in the write-ahead log still: %s", error)
            return
        if not emptied:
            _log.warning("what was deleted may be in the write-ahead log still: it is being read")


async def _changed(change: Change, connection: AsyncConnection) -> bool | Failed:
    try:
        return await change.apply(connection)
    except Failed as refusal:
        return refusal


def _resolve(item: _Waiting, answer: bool | Exception) -> None:
    if item.done.done():
        return
    if isinstance(answer, Exception):
        item.done.set_exception(_failed(item.write, answer))
    else:
        item.done.set_result(answer)


def _failed(write: Write, error: Exception) -> Failed:
    if isinstance(error, Failed):
        return error
    if isinstance(write, SettlementRows):
        request_id = write.outcome["request_id"]
        return failures.not_stored(
            f"The record of request {request_id} could not be stored.", error
        )
    if isinstance(write, AuditRows):
        return failures.not_stored(f"{_counted(write.rows)} could not be stored.", error)
    return write.failure(error)


def _counted(rows: Sequence[Row]) -> str:
    return f"{len(rows)} audit record{'' if len(rows) == 1 else 's'} ({rows[0]['action']})"
