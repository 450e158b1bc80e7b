"""How well personal data and secrets are recognised, on lines written for it."""

import pytest

from octant.governance.pii.kinds import PiiKind
from octant.governance.pii.recognise import Recogniser
from tests.support.pii_corpus import Score, negatives, positives, score

ALL = Recogniser(frozenset(PiiKind), ("US",))


@pytest.fixture(scope="module")
def result() -> Score:
    return score(ALL)


def test_the_corpus_is_large_enough_to_say_something() -> None:
    assert len(positives()) >= 200
    assert len(negatives()) >= 200
    assert {line.kind for line in positives()} == set(PiiKind)


def test_overall_floors_hold(result: Score) -> None:
    assert result.overall_recall >= 0.95
    assert result.overall_precision >= 0.96


@pytest.mark.parametrize("kind", PiiKind)
def test_floors_hold_for_each_kind(result: Score, kind: PiiKind) -> None:
    assert result.recall(kind) >= 0.92
    assert result.precision(kind) >= 0.90


@pytest.mark.parametrize("kind", PiiKind)
def test_a_recogniser_of_one_kind_finds_no_other(kind: PiiKind) -> None:
    only = Recogniser(frozenset({kind}), ("US",))
    for line in (*positives(), *negatives()):
        assert {found.kind for found in only.scan(line.text)} <= {kind}
