"""Ranking: which passages speak of what is asked. BM25 over words, no index, no model. Pure.

Law: scores depend on the passages and the question alone, equal ones keep the order of the
passages, and the work is linear in their text.
"""

from collections import Counter
from collections.abc import Sequence
from math import log

from octant.context.words import words

# The usual constants of BM25: how soon repetition stops counting, how much length does.
_SATURATION = 1.2
_LENGTH_WEIGHT = 0.75
# A question of a page is still ranked; what a hostile one adds is not read.
_MAX_QUESTION_WORDS = 200


def ranked(texts: Sequence[str], question: str) -> list[int]:
    """Indices of `texts`, best first."""
    scores = _scores([Counter(words(text)) for text in texts], question)
    return sorted(range(len(texts)), key=lambda index: -scores[index])


def _scores(counts: Sequence[Counter[str]], question: str) -> list[float]:
    asked = tuple(dict.fromkeys(words(question)[:_MAX_QUESTION_WORDS]))
    lengths = [count.total() for count in counts]
    mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
    weights = {word: _weight(sum(word in count for count in counts), len(counts)) for word in asked}
    return [
        sum(
            weights[word] * _saturated(count[word], length / mean)
            for word in asked
            if word in count
        )
        for count, length in zip(counts, lengths, strict=True)
    ]


def _weight(with_word: int, total: int) -> float:
    """Rare words tell passages apart; never negative."""
    return log(1 + (total - with_word + 0.5) / (with_word + 0.5))


def _saturated(count: int, relative_length: float) -> float:
    damping = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * relative_length)
    return count * (_SATURATION + 1) / (count + damping)
