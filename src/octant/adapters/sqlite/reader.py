"""Reader: queries on connections of their own, and records made of what they find.

Law: one query is one snapshot, so what belongs together is read with one query. Reading writes
nothing and waits for no writer.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Executable, RowMapping, Select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from octant.adapters.sqlite import failures
from octant.core.record import Record, decode

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Reader:
    """Reads through `engine`, whose connections cannot write."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def one(self, query: Select[str], kind: type[R]) -> R | None:
        """The first record that the query finds in its one column."""
        found = await self.all(query, kind)
        return found[0] if found else None

    async def all(self, query: Select[str], kind: type[R]) -> list[R]:
        async with self.connection() as connection:
            records = (await connection.execute(query)).scalars().all()
            return [decode(record, kind) for record in records]

    async def scalar(self, query: Select[Any]) -> Any:
        """The first column of the first row, None when there is none."""
        async with self.connection() as connection:
            return (await connection.execute(query)).scalar()

    async def decoded(self, query: Select[Any], decoding: Callable[[bytes], T]) -> T | None:
        """What `decoding` makes of the one value that the query finds."""
        async with self.connection() as connection:
            data = (await connection.execute(query)).scalar()
            return None if data is None else decoding(data)

    async def made(self, query: Executable, of: Callable[[Sequence[RowMapping]], T]) -> T:
        """What `of` makes of all rows."""
        async with self.connection() as connection:
            return of((await connection.execute(query)).mappings().all())

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection]:
        """Each statement on it sees the newest commit. Raises Failed(RECORD_NOT_STORED) for what
        goes wrong inside, undecodable records included."""
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError, msgspec.MsgspecError) as error:
            raise failures.not_stored("The store could not be read.", error) from error
