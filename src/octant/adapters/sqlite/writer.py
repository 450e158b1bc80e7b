"""GroupWriter: the one task that writes, many requests to a commit.

Law: a caller is told of success only after the commit that holds its write has returned. Writes
that arrive while a commit is under way share the next one, so under load many requests pay for one
fsync. When a shared transaction fails, each write is tried alone: a bad record fails alone, and a
condition of the file fails them all without waiting for each.
"""

import asyncio
import logging
from typing import NamedTuple

from sqlalchemy import Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from octant.adapters.sqlite import failures, statements
from octant.adapters.sqlite.rows import Row, SettlementRows
from octant.adapters.sqlite.settings import SqliteSettings
from octant.core.failure import Failed

_log = logging.getLogger(__name__)


class Put(NamedTuple):
    """A row to insert, or to replace by id."""

    table: Table
    row: Row


Write = SettlementRows | Put


class _Waiting(NamedTuple):
    write: Write
    done: asyncio.Future[None]


class GroupWriter:
    """Owns the writing connection from `start` to `stop`."""

    def __init__(self, connection: AsyncConnection, settings: SqliteSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue(settings.max_waiting)
        self._submitted = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._unpruned = 0
        self._task = asyncio.create_task(self._run(), name="octant-store-writer")

    async def write(self, write: Write) -> None:
        """Returns once `write` is durable; raises Failed, and then nothing of it is kept.

        A caller who is cancelled while waiting may find the write done all the same.
        """
        if self._stopping:
            raise failures.not_stored("The store is closed.")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._submitted += 1
        self._idle.clear()
        try:
            await self._queue.put(_Waiting(write, done))
            await done
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

    async def _next_batch(self) -> list[_Waiting | None]:
        """At least one entry; None, the end, is always the last."""
        batch = [await self._queue.get()]
        while len(batch) < self._settings.max_batch and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        error = await self._attempt([item.write for item in batch])
        if error is None or len(batch) == 1 or failures.is_file_wide(error):
            for item in batch:
                _resolve(item, error)
            return
        for position, item in enumerate(batch):
            error = await self._attempt([item.write])
            _resolve(item, error)
            if error is not None and failures.is_file_wide(error):
                for other in batch[position + 1 :]:
                    _resolve(other, error)
                return

    async def _attempt(self, writes: list[Write]) -> Exception | None:
        """One transaction over `writes`; the error when it was rolled back."""
        try:
            async with self._connection.begin():
                for write in writes:
                    if isinstance(write, Put):
                        await statements.put(self._connection, write.table, write.row)
                settlements = [write for write in writes if isinstance(write, SettlementRows)]
                self._unpruned += await statements.settle(self._connection, settlements)
        except Exception as error:
            # Whatever it is, the callers of this batch are told, and the writer goes on.
            return error
        return None

    async def _prune(self) -> None:
        if self._unpruned < self._settings.prune_chunk:
            return
        self._unpruned = 0
        try:
            async with self._connection.begin():
                await statements.prune(
                    self._connection, self._settings.keep_traces, 2 * self._settings.prune_chunk
                )
        except SQLAlchemyError as error:
            _log.warning("old traces were not removed: %s", error)


def _resolve(item: _Waiting, error: Exception | None) -> None:
    if item.done.done():
        return
    if error is None:
        item.done.set_result(None)
    else:
        item.done.set_exception(_failed(item.write, error))


def _failed(write: Write, error: Exception) -> Failed:
    if isinstance(error, Failed):
        return error
    if isinstance(write, Put):
        return statements.put_failure(write.table, write.row, error)
    return failures.not_stored(
        f"The record of request {write.outcome['request_id']} could not be stored.", error
    )
