"""Marks of an answer against the passages they point to, near misses above all."""

import pytest

from octant.context.citations import MAX_CITATIONS, check, supports
from octant.context.evidence import select
from octant.core.evidence import Document, Evidence

ANN = "Ann Lee lives in Rome. Bert lives in Oslo."
PUMP = (
    "The old pump in the hall was replaced on 3 May 2024 for 1,450 euros. It does not need oil. "
    "The new pump, made by Kerr, runs at 4.5 bar."
)


def evidence(*texts: str) -> Evidence:
    documents = [Document(id=f"d{i}", text=text) for i, text in enumerate(texts, 1)]
    return select(documents, "", 10_000, len)


def marks(answer: str, *texts: str) -> list[tuple[int, str | None, bool]]:
    found = check(0, answer, evidence(*(texts or (ANN, PUMP))))
    return [(c.index, c.document_id, c.supported) for c in found]


@pytest.mark.parametrize(
    "claim",
    [
        "Ann Lee lives in Rome.",
        "ann lee LIVES in rome",
        "Lives in Oslo",
        "Ann Lee lives in Rome. Bert lives in Oslo",
        "Bert is living in Oslo",
        "So Bert lived in Oslo.",
    ],
)
def test_what_stands_there_is_supported(claim: str) -> None:
    assert supports(ANN, claim)


@pytest.mark.parametrize(
    "claim",
    [
        "The pump in the hall was replaced for 1,450 euros.",
        "The pump was replaced on 3 May 2024",
        "It needs no oil",
        "The new pump runs at 4.5 bar.",
        "The new pump is made by Kerr",
    ],
)
def test_fewer_words_and_other_endings_are_supported(claim: str) -> None:
    assert supports(PUMP, claim)


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        # One of the facts is another.
        (ANN, "Ann Lee lives in Oslo."),
        (ANN, "Bert lives in Rome."),
        (ANN, "Bert Lee lives in Oslo."),
        (ANN, "Ann Lee works in Rome."),
        (PUMP, "The pump in the hall was replaced for 1,540 euros."),
        (PUMP, "The pump in the hall was replaced for 1450 dollars."),
        (PUMP, "The old pump in the hall was replaced on 3 May 2025 for 1,450 euros."),
        (PUMP, "The old pump in the hall was replaced on 3 June 2024 for 1,450 euros."),
        (PUMP, "The new pump runs at 5.4 bar."),
        (PUMP, "The new pump runs at 4 bar."),
        (PUMP, "The old pump, made by Kerr, runs at 4.5 bar."),
        (PUMP, "The new pump in the hall was replaced for 1,450 euros."),
        (PUMP, "The new pump, made by Cole, runs at 4.5 bar."),
        # Said the other way round.
        (PUMP, "It needs oil."),
        (PUMP, "The new pump does not run at 4.5 bar."),
        (PUMP, "need oil"),
        (PUMP, "No"),
        # More than was said.
        (ANN, "Ann Lee lives in Rome with three cats."),
        # Nothing was said.
        (ANN, "It is there."),
        (ANN, ""),
        (ANN, "?!"),
    ],
)
def test_near_misses_are_not_supported(passage: str, claim: str) -> None:
    assert not supports(passage, claim)


def test_each_mark_is_judged_by_the_sentence_before_it() -> None:
    answer = "Bert lives in Oslo. [1] The new pump runs at 4.5 bar [2]. Ann Lee lives in Rome [2]."
    assert marks(answer) == [(1, "d1", True), (2, "d2", True), (2, "d2", False)]


def test_marks_side_by_side_share_their_sentence() -> None:
    answer = "Who knows? Bert lives in Oslo [1][2] [1]."
    assert marks(answer) == [(1, "d1", True), (2, "d2", False)]


def test_a_mark_without_words_or_without_a_passage_supports_nothing() -> None:
    assert marks("[1] Bert lives in Oslo.") == [(1, "d1", False)]
    assert marks("Bert lives in Oslo [3]. Bert lives in Oslo [0].") == [
        (3, None, False),
        (0, None, False),
    ]
    assert marks("Bert lives in Oslo [x] [] [12345] (1).") == []


def test_the_title_of_a_document_counts_as_said() -> None:
    given = select([Document(id="d", text="Opens at nine.", title="Museum")], "", 1_000, len)
    [citation] = check(3, "The museum opens at nine [1].", given)
    assert (citation.choice, citation.supported) == (3, True)


def test_scripts_without_spaces_are_compared_letter_by_letter() -> None:
    assert supports(
        "東京の美術館は九時に開きます。入場料は五百円です。", "美術館は九時に開きます。"
    )
    assert not supports(
        "東京の美術館は九時に開きます。入場料は五百円です。", "美術館は十時に開きます。"
    )


def test_marks_without_end_are_read_up_to_a_bound() -> None:
    assert len(marks("Bert lives in Oslo [1]. " * 1_000)) == MAX_CITATIONS
    assert marks("[1]" * 10_000) == [(1, "d1", False)]
