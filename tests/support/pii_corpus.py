"""The labelled corpus under tests/data/pii, and how well a recogniser does on it."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from octant.governance.pii.kinds import PiiKind
from octant.governance.pii.plain import plain
from octant.governance.pii.recognise import Recogniser

DATA = Path(__file__).parents[1] / "data" / "pii"


class Line(NamedTuple):
    """A text and the places of its values, all of one kind."""

    text: str
    kind: PiiKind | None
    values: frozenset[tuple[int, int]]


class Score(NamedTuple):
    """Findings that are right, values that were missed, findings that are wrong; by kind."""

    right: Counter[PiiKind]
    missed: Counter[PiiKind]
    wrong: Counter[PiiKind]

    def recall(self, kind: PiiKind) -> float:
        return self.right[kind] / (self.right[kind] + self.missed[kind])

    def precision(self, kind: PiiKind) -> float:
        return self.right[kind] / (self.right[kind] + self.wrong[kind])

    @property
    def overall_recall(self) -> float:
        return self.right.total() / (self.right.total() + self.missed.total())

    @property
    def overall_precision(self) -> float:
        return self.right.total() / (self.right.total() + self.wrong.total())


def positives() -> list[Line]:
    """Lines that hold values."""
    return [_line(row) for row in (DATA / "values.tsv").read_text("utf-8").splitlines()]


def negatives() -> list[Line]:
    """Lines that hold none."""
    rows = (DATA / "others.txt").read_text("utf-8").splitlines()
    return [Line(row, None, frozenset()) for row in rows]


def score(recogniser: Recogniser) -> Score:
    """How the recogniser does; a finding is right when kind, start and end are."""
    result = Score(Counter(), Counter(), Counter())
    for line in (*positives(), *negatives()):
        read = plain(line.text)
        found = {
            (
                read.original(value.start, len(line.text)),
                read.original(value.end, len(line.text)),
                value.kind,
            )
            for value in recogniser.scan(read.text)
        }
        wanted = {(start, end, line.kind) for start, end in line.values}
        for _, _, kind in found & wanted:
            result.right[kind] += 1
        for _, _, kind in wanted - found:
            assert kind is not None
            result.missed[kind] += 1
        for _, _, kind in found - wanted:
            result.wrong[kind] += 1
    return result


def _line(row: str) -> Line:
    kind, _, marked = row.partition("\t")
    text, start = "", 0
    values: set[tuple[int, int]] = set()
    for part in re.split("([⟦⟧])", marked.replace("\\n", "\n").replace("\\t", "\t")):
        if part == "⟦":
            start = len(text)
        elif part == "⟧":
            values.add((start, len(text)))
        else:
            text += part
    return Line(text, PiiKind(kind), frozenset(values))
