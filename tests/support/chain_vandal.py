"""Someone who can write to the store's file, and changes its audit chain at random.

    python -m tests.support.chain_vandal [MUTATIONS] [SEED]

runs the campaign: each mutation is made in a real file, the chain is walked, and the file is mended
again. A mutation that is not noticed is printed, and the exit status is 1.
"""

import asyncio
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.core.audit import chain_digest
from octant.core.audit_walk import Walk, walk
from octant.core.record import encode
from tests.support.settlements import ACME, audited, settlement

RECORDS = 24
PAGE = 7
_COLUMNS = "seq, tenant, request_id, action, at_unix_ns, record, previous, digest"
_TEXTS = ("tenant", "request_id", "action", "at_unix_ns", "record", "previous", "digest")

Rows = list[tuple[object, ...]]


class Mutation(NamedTuple):
    """What was done. `by_head`: only the head that was noted earlier can tell."""

    name: str
    by_head: bool = False


class Missed(NamedTuple):
    """A mutation that the walk did not notice."""

    mutation: Mutation
    rows: Rows


class Vandal:
    """Changes the audit table of one file, and mends it."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA synchronous=OFF")
        self._chance = chance
        self._sound = self.rows()
        self.noted = self._text(self._sound[-1], 7).decode()

    def rows(self) -> Rows:
        """The table as it is now, text as bytes."""
        texts = ", ".join(f"CAST({name} AS BLOB)" for name in _TEXTS)
        return self._file.execute(f"SELECT seq, {texts} FROM audit ORDER BY seq").fetchall()

    def mend(self) -> None:
        """The table as it was."""
        self._write(self._sound)

    def close(self) -> None:
        self._file.close()

    def strike(self) -> Mutation:
        """One random mutation, committed; never one that leaves the table as it was."""
        kinds: list[Callable[[Rows], tuple[Mutation, Rows]]] = [
            self._change_a_byte,
            self._change_a_byte,
            self._change_a_column,
            self._delete,
            self._swap_rows,
            self._swap_records,
            self._insert,
            self._forge_one,
            self._truncate,
            self._write_history_anew,
        ]
        while True:
            mutation, rows = self._chance.choice(kinds)([*self._sound])
            if rows != self._sound:
                self._write(rows)
                return mutation

    def _write(self, rows: Rows) -> None:
        values = "?, " + ", ".join("CAST(? AS TEXT)" for _ in _TEXTS)
        with self._file:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.execute("DELETE FROM audit")
            self._file.executemany(f"INSERT INTO audit ({_COLUMNS}) VALUES ({values})", rows)

    def _change_a_byte(self, rows: Rows) -> tuple[Mutation, Rows]:
        place, column = self._chance.randrange(len(rows)), self._chance.choice((5, 6, 7))
        text = bytearray(self._text(rows[place], column))
        text[self._chance.randrange(len(text))] = self._chance.randrange(1, 256)
        rows[place] = self._with(rows[place], column, bytes(text))
        return Mutation(f"a byte of {('record', 'previous', 'digest')[column - 5]}"), rows

    def _change_a_column(self, rows: Rows) -> tuple[Mutation, Rows]:
        place, column = self._chance.randrange(len(rows)), self._chance.choice((1, 2, 3, 4))
        another = self._chance.choice(rows)[column]
        value = self._chance.choice((another, b"17" if column == 4 else b"other"))
        if value is None and column != 2:
            value = b"none"
        rows[place] = self._with(rows[place], column, value)
        return Mutation("a column beside the record"), rows

    def _delete(self, rows: Rows) -> tuple[Mutation, Rows]:
        first = self._chance.randrange(len(rows) - 1)
        last = self._chance.randrange(first + 1, len(rows))
        return Mutation("rows before the end deleted"), rows[:first] + rows[last:]

    def _swap_rows(self, rows: Rows) -> tuple[Mutation, Rows]:
        one, other = self._chance.sample(range(len(rows)), 2)
        rows[one], rows[other] = (
            (rows[one][0], *rows[other][1:]),
            (rows[other][0], *rows[one][1:]),
        )
        return Mutation("two rows swapped"), rows

    def _swap_records(self, rows: Rows) -> tuple[Mutation, Rows]:
        one, other = self._chance.sample(range(len(rows)), 2)
        rows[one], rows[other] = (
            (rows[one][0], *rows[other][1:6], *rows[one][6:]),
            (rows[other][0], *rows[one][1:6], *rows[other][6:]),
        )
        return Mutation("two records swapped"), rows

    def _insert(self, rows: Rows) -> tuple[Mutation, Rows]:
        place = self._chance.randrange(len(rows) + 1)
        copied = self._chance.choice(rows)
        shifted = [(self._seq(row) + 1, *row[1:]) for row in rows[place:]]
        seq = self._chance.choice((place + 1, place + 1, 0, -self._chance.randrange(1, 2**63 + 1)))
        if seq <= 0:
            return Mutation("a row before the first"), [(seq, *copied[1:]), *rows]
        return Mutation("a row inserted"), [*rows[:place], (seq, *copied[1:]), *shifted]

    def _forge_one(self, rows: Rows) -> tuple[Mutation, Rows]:
        """Another record with a digest that fits it, in the middle of the chain."""
        place = self._chance.randrange(len(rows) - 1)
        rows[place] = self._forged(rows[place], self._text(rows[place], 6).decode())
        return Mutation("a record replaced with its digest"), rows

    def _truncate(self, rows: Rows) -> tuple[Mutation, Rows]:
        kept = self._chance.randrange(len(rows))
        return Mutation("the end cut off", by_head=True), rows[:kept]

    def _write_history_anew(self, rows: Rows) -> tuple[Mutation, Rows]:
        place = self._chance.randrange(len(rows))
        previous = self._text(rows[place], 6).decode()
        rows[place] = self._forged(rows[place], previous)
        for later in range(place + 1, len(rows)):
            previous = self._text(rows[later - 1], 7).decode()
            digest = chain_digest(previous, self._seq(rows[later]), self._text(rows[later], 5))
            linked = self._with(rows[later], 6, previous.encode())
            rows[later] = self._with(linked, 7, digest.encode())
        return Mutation("history written anew", by_head=True), rows

    def _forged(self, row: tuple[object, ...], previous: str) -> tuple[object, ...]:
        record = audited("keys.create", decision="forged", at_unix_ns=self._chance.randrange(10**9))
        encoded = encode(record)
        digest = chain_digest(previous, self._seq(row), encoded)
        columns = (record.tenant, record.request_id, record.action, str(record.at_unix_ns))
        texts = [None if text is None else text.encode() for text in columns]
        return (row[0], *texts, encoded, previous.encode(), digest.encode())

    @staticmethod
    def _seq(row: tuple[object, ...]) -> int:
        assert isinstance(row[0], int)
        return row[0]

    @staticmethod
    def _text(row: tuple[object, ...], column: int) -> bytes:
        value = row[column]
        assert isinstance(value, bytes)
        return value

    @staticmethod
    def _with(row: tuple[object, ...], column: int, value: object) -> tuple[object, ...]:
        return (*row[:column], value, *row[column + 1 :])


async def campaign(path: Path, mutations: int, seed: int) -> tuple[Counter[str], list[Missed]]:
    """Mutations by name, and those that were missed; the file is sound before and after."""
    store = SqliteStore(SqliteSettings(path=path))
    await store.open()
    await _fill(store)
    vandal = Vandal(path, random.Random(seed))
    await _check_sound(store, vandal)
    made, missed = Counter[str](), list[Missed]()
    for _ in range(mutations):
        mutation = vandal.strike()
        made[mutation.name] += 1
        if not noticed(mutation, await walk(store.audit_chain, PAGE, vandal.noted)):
            missed.append(Missed(mutation, vandal.rows()))
        vandal.mend()
    await _check_sound(store, vandal)
    vandal.close()
    await store.close()
    return made, missed


def noticed(mutation: Mutation, found: Walk) -> bool:
    """Whether the walk told of it; what the chain itself can show, it has to show without help."""
    return found.broken is not None or (mutation.by_head and found.noted is False)


async def _check_sound(store: SqliteStore, vandal: Vandal) -> None:
    found = await walk(store.audit_chain, PAGE, vandal.noted)
    assert (found.broken, found.noted, found.records) == (None, True, RECORDS), found


async def _fill(store: SqliteStore) -> None:
    await store.put_tenant(ACME)
    for number in range(RECORDS // 2):
        await store.settle(settlement(number))
        await store.append_audit([audited(f"tenants.change-{number}", at_unix_ns=number)])


def main() -> None:
    """Runs a campaign and prints what it found."""
    mutations = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 20261121
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "octant.db"
        made, missed = asyncio.run(campaign(path, mutations, seed))
    for name, count in made.most_common():
        print(f"{count:>7}  {name}")
    print(f"{sum(made.values())} mutations, {len(missed)} not noticed")
    for each in missed[:5]:
        print(each)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
