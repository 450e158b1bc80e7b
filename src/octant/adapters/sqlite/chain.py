"""The audit chain in the file: records are linked inside the transaction that writes them.

Law: a place is given out once. The writer remembers the head that it committed, so that cutting off
the end of the table cannot make it continue from there unnoticed; where another process has added
records meanwhile, the place is taken, and the head is read again under the write lock.
"""

from sqlalchemy import Executable, LargeBinary, cast, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from octant.adapters.sqlite import failures
from octant.adapters.sqlite.rows import Row
from octant.adapters.sqlite.schema import audit
from octant.core.audit import ChainHead, next_head

# Text is read as bytes: what somebody put into the file need not be text any more, and the chain
# has to be read, and to go on, all the same.
_DIGEST = cast(audit.c.digest, LargeBinary)
_HEAD = select(audit.c.seq, _DIGEST).order_by(audit.c.seq.desc()).limit(1)
_AS_BYTES = tuple(
    cast(audit.c[name], LargeBinary).label(name)
    for name in ("record", "previous", "digest", "tenant", "request_id", "action", "at_unix_ns")
)


async def read_head(connection: AsyncConnection) -> ChainHead:
    """The last record that is committed or of this transaction."""
    last = (await connection.execute(_HEAD)).one_or_none()
    return ChainHead() if last is None else ChainHead(last[0], last[1].decode(errors="replace"))


async def append(connection: AsyncConnection, head: ChainHead, records: list[Row]) -> ChainHead:
    """Adds the records behind `head` or behind what others added since; returns the new head."""
    if not records:
        return head
    try:
        return await _insert(connection, head, records)
    except IntegrityError as error:
        if failures.sqlite_code(error) != "SQLITE_CONSTRAINT_PRIMARYKEY":
            raise
        return await _insert(connection, await read_head(connection), records)


def links_after(seq: int, limit: int) -> Executable:
    """Rows for `rows.to_chained`: text as stored, byte by byte, whatever it has become."""
    query = select(audit.c.seq, *_AS_BYTES).order_by(audit.c.seq).limit(limit)
    return query if seq < 0 else query.where(audit.c.seq > seq)


async def _insert(connection: AsyncConnection, head: ChainHead, records: list[Row]) -> ChainHead:
    links: list[Row] = []
    for record in records:
        previous, head = head, next_head(head, record["record"].encode())
        links.append(record | {"seq": head.seq, "previous": previous.digest, "digest": head.digest})
    await connection.execute(insert(audit), links)
    return head
