"""Cutting loses nothing and repeats nothing; selection is bounded and deterministic."""

import random

from hypothesis import given
from hypothesis import strategies as st

from octant.context.evidence import as_message, select
from octant.context.passages import MAX_CHARS, cut, shown
from octant.context.ranking import ranked
from octant.core.evidence import Document

_TEXTS = st.text(
    st.sampled_from("ab1 .!?。\n\n\t\r[]()\"'\u2028\u200bÄ漢\U0001f600"), max_size=2_500
)
_PROSE = st.lists(
    st.sampled_from(["The pump is red.", "No.", "\n\n", "\n", " ", "word", "x" * 700, "See [3]!"]),
    max_size=80,
).map(" ".join)


@given(st.one_of(_TEXTS, _PROSE))
def test_parts_cover_the_text_without_overlap_and_within_their_size(text: str) -> None:
    place = 0
    for span in cut(text):
        assert not text[place : span.start].strip()
        assert place <= span.start < span.end <= len(text)
        assert span.end - span.start <= MAX_CHARS
        assert text[span.start : span.end] == text[span.start : span.end].strip()
        place = span.end
    assert not text[place:].strip()


@given(st.one_of(_TEXTS, _PROSE))
def test_what_is_shown_is_one_line_without_marks(text: str) -> None:
    line = shown(text)
    assert len(line.splitlines()) <= 1
    for mark in ("[1]", "[3]"):
        assert mark not in line
    assert shown(line) == line


@given(st.lists(_PROSE, min_size=1, max_size=6), st.text(max_size=50), st.integers(0, 400))
def test_selection_keeps_its_budget_and_accounts_for_every_part(
    texts: list[str], question: str, budget: int
) -> None:
    documents = [Document(id=str(i), text=text) for i, text in enumerate(texts)]
    evidence = select(documents, question, budget, len)
    assert evidence == select(documents, question, budget, len)
    if evidence.package.passages:
        assert len(as_message(evidence).text) <= evidence.package.tokens <= budget
    for document in documents:
        kept = [p for p in evidence.package.passages if p.document_id == document.id]
        left = [d for d in evidence.package.dropped if d.document_id == document.id]
        seen = set[int]()
        for part in (*kept, *left):
            places = set(range(part.start, part.end))
            assert not seen & places
            seen |= places
        assert all(document.text[i].isspace() or i in seen for i in range(len(document.text)))


@given(st.lists(_PROSE, max_size=12), _PROSE)
def test_ranking_names_every_text_once(texts: list[str], question: str) -> None:
    order = ranked(texts, question)
    assert sorted(order) == list(range(len(texts)))


def test_the_passage_that_shares_rare_words_comes_first() -> None:
    chance = random.Random(7)
    words = [f"w{i}" for i in range(200)]
    for _ in range(50):
        texts = [" ".join(chance.choices(words, k=30)) for _ in range(20)]
        best = chance.randrange(20)
        texts[best] += " zebra quagga"
        assert ranked(texts, f"And the {chance.choice(['zebra', 'quagga'])}?")[0] == best
