"""Audit walk: follows the chain from its first record to its end and names the first flaw.

Law: it reads pages through the function handed in, one in memory at a time, and stops at the first
flaw: what stands behind a broken link proves nothing.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import NamedTuple

from octant.core.audit import GENESIS, ChainedAudit, ChainFlaw, ChainHead, belongs_at, flaw

FROM_THE_START = -1
"""Any negative place reads from the first record, places that were never given out included."""

ReadPage = Callable[[int, int], Awaitable[Sequence[ChainedAudit]]]
"""`(after_seq, limit)` to records, oldest first; `Store.audit_chain` is one."""


class Break(NamedTuple):
    """The first place that is wrong. `home` is where a swapped record belongs."""

    seq: int
    flaw: ChainFlaw
    home: int | None = None


class Walk(NamedTuple):
    """What a walk found. `head` is the end of the sound part, `records` its length.

    `noted` tells whether the head that was noted earlier is a part of it; None when none was given.
    """

    records: int
    head: ChainHead
    broken: Break | None
    noted: bool | None


async def walk(read: ReadPage, page: int, noted: str | None = None) -> Walk:
    """Follows the whole chain, `page` records at a time."""
    head, count, seen = ChainHead(), 0, noted == GENESIS
    broken: Break | None = None
    async for found in _records(read, page):
        wrong = flaw(head, found)
        if wrong is not None:
            broken = await _placed(read, page, head, found, wrong)
            break
        head, count = ChainHead(found.seq, found.digest), count + 1
        seen = seen or found.digest == noted
    return Walk(count, head, broken, None if noted is None else seen)


async def _placed(
    read: ReadPage, page: int, head: ChainHead, found: ChainedAudit, wrong: ChainFlaw
) -> Break:
    """The flaw at its place, with the home of a record that stands in another one's."""
    if wrong is ChainFlaw.MISSING:
        return Break(head.seq + 1, wrong)
    if wrong is ChainFlaw.CHANGED:
        async for place in _records(read, page):
            if place.seq != found.seq and belongs_at(found, place):
                return Break(found.seq, ChainFlaw.SWAPPED, place.seq)
    return Break(found.seq, wrong)


async def _records(read: ReadPage, page: int) -> AsyncGenerator[ChainedAudit]:
    after = FROM_THE_START
    while found := await read(after, page):
        for each in found:
            yield each
        after = found[-1].seq
