"""Citations: the marks `[n]` of an answer, and whether passage n says what stands before them.

Law: lexical, not clever, and wrong to the safe side where it can be. The sentence before a mark is
supported when its words stand in the passage one after the other, or when one sentence there has
`COVERAGE` of its words that carry meaning, every number and every name; and that sentence denies
as much as it does. Words from several sentences support nothing: so facts get swapped. Pure.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from octant.context.passages import sentences
from octant.context.words import spelled, unspaced, words
from octant.core.evidence import Citation, Evidence

# Up to nine words that carry meaning all have to be there, inflection aside; of ten, one may be
# another. Four of five let a swapped colour or verb through, see tests/unit/test_citations.py.
COVERAGE = 0.9
# An answer that repeats marks without end is read this far.
MAX_CITATIONS = 256

_MARKS = re.compile(r"(?:\s*\[\d{1,4}\])+")
_NUMBER = re.compile(r"\[(\d{1,4})\]")

# What holds English sentences together; in other languages every word counts, which is stricter.
_FUNCTION = """
a an the this that these those it its they their he his she her we our us you your i my me them him
of in on at by for from to with as and or but if is are was were be been being am do does did has
have had will would can could may might shall should must there here so than then also s
"""
_DENIAL = "not no never none nobody nothing neither nor without cannot"
_FUNCTION_WORDS, _DENIALS = frozenset(_FUNCTION.split()), frozenset(_DENIAL.split())
_EMPTY_WORDS = _FUNCTION_WORDS | _DENIALS
# The longest first; what is left has to be recognisable.
_ENDINGS = ("ing", "ed", "es", "s")
_MIN_STEM = 3


class _Claim(NamedTuple):
    """The sentence before a group of marks, and the numbers of the group."""

    text: str
    numbers: tuple[int, ...]


def check(choice: int, answer: str, evidence: Evidence) -> tuple[Citation, ...]:
    """The citations of one answer in order, at most `MAX_CITATIONS`. Takes linear time."""
    found: list[Citation] = []
    for claim in _claims(answer):
        numbers = claim.numbers[: MAX_CITATIONS - len(found)]
        found += (_citation(choice, number, claim.text, evidence) for number in numbers)
    return tuple(found)


def supports(passage: str, claim: str) -> bool:
    """Whether a passage says what a claim says, as far as words tell."""
    claimed = words(claim)
    if not set(claimed) - _EMPTY_WORDS:
        return False
    stated = [words(sentence) for sentence in sentences(passage)]
    quoted = [said for said in stated if _contains(said, claimed)]
    if quoted:
        return any(_denials(said) == _denials(claimed) for said in quoted)
    if _contains(words(passage), claimed):
        return True
    return any(_covers(said, claim) for said in stated)


def _claims(answer: str) -> Iterator[_Claim]:
    start = 0
    for match in _MARKS.finditer(answer):
        said = sentences(answer[start : match.start()])
        numbers = (int(number) for number in _NUMBER.findall(match[0]))
        yield _Claim(said[-1] if said else "", tuple(dict.fromkeys(numbers)))
        start = match.end()


def _citation(choice: int, number: int, claim: str, evidence: Evidence) -> Citation:
    if not 1 <= number <= len(evidence.texts):
        return Citation(choice=choice, index=number, document_id=None, supported=False)
    return Citation(
        choice=choice,
        index=number,
        document_id=evidence.package.passages[number - 1].document_id,
        supported=supports(evidence.texts[number - 1], claim),
    )


def _covers(said: list[str], claim: str) -> bool:
    claimed = words(claim)
    if not _exact(claim) <= set(said) or _denials(said) != _denials(claimed):
        return False
    known = {_stem(word) for word in said}
    meaning = {_stem(word) for word in claimed if word not in _EMPTY_WORDS}
    return len(meaning & known) >= COVERAGE * len(meaning)


def _exact(claim: str) -> set[str]:
    """Words that no other can stand for: numbers, single letters of scripts without spaces, and
    names, as far as capitals tell; the first word has one anyway."""
    said = spelled(claim)
    names = {word for word in said[1:] if word[0].isupper()}
    marked = {word for word in said if unspaced(word) or any(map(str.isdigit, word))}
    return {word.casefold() for word in names | marked} - _EMPTY_WORDS


def _contains(said: list[str], claimed: list[str]) -> bool:
    return f" {' '.join(claimed)} " in f" {' '.join(said)} "


def _denials(said: list[str]) -> int:
    return sum(word in _DENIALS for word in said)


def _stem(word: str) -> str:
    ending = next((end for end in _ENDINGS if word.endswith(end)), "")
    return word[: len(word) - len(ending)] if len(word) - len(ending) >= _MIN_STEM else word
