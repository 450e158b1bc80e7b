"""Logits: the arithmetic between a model's scores and a drawn token, rows at a time.

Law: a row's result depends on that row alone, bit for bit, whoever shares its batch; among equal
values the lowest token id comes first. Nothing here writes to its input, knows a request or draws
a random number: uniforms in [0, 1) are handed in.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

# Sums over blocks of this size are vectorised; only one block per row is then summed in order.
BLOCK = 512

# JSON has no infinity; OpenAI reports impossible tokens with this value.
LOGPROB_FLOOR = -9999.0


class RawLogprobs(NamedTuple):
    """Natural log-probabilities of one position: the chosen token's, then the best, best first."""

    chosen: float
    top_ids: tuple[int, ...]
    top: tuple[float, ...]


class TokenCounts:
    """How often each token of a sequence was generated; tokens of the prompt count zero times."""

    __slots__ = ("_counts", "_ids", "_slots")

    def __init__(self, prompt: Ids) -> None:
        seen = np.unique(prompt)
        self._slots = {token: slot for slot, token in enumerate(seen.tolist())}
        self._ids = np.zeros(len(seen) + 16, np.int64)
        self._ids[: len(seen)] = seen
        self._counts = np.zeros(len(self._ids), np.float32)

    @property
    def ids(self) -> Ids:
        """Every token seen, once."""
        return self._ids[: len(self._slots)]

    @property
    def counts(self) -> Floats:
        """Times generated, in the order of `ids`."""
        return self._counts[: len(self._slots)]

    def add(self, token: int) -> None:
        """Counts one generated token; amortised constant time."""
        slot = self._slots.setdefault(token, len(self._slots))
        if slot == len(self._ids):
            self._ids = np.concatenate((self._ids, np.zeros_like(self._ids)))
            self._counts = np.concatenate((self._counts, np.zeros_like(self._counts)))
        self._ids[slot] = token
        self._counts[slot] += 1


def penalise(
    row: Floats, seen: TokenCounts, *, repetition: float, presence: float, frequency: float
) -> None:
    """Changes `row`, a copy, in place.

    Repetition divides positive and multiplies negative logits of all seen tokens; presence and
    frequency are subtracted for generated ones, once and per occurrence.
    """
    ids, counts = seen.ids, seen.counts
    values = row[ids]
    if repetition != 1.0:
        values = np.where(values > 0, values / repetition, values * repetition)
    row[ids] = values - frequency * counts - presence * (counts > 0)


def largest(values: Floats, count: int) -> Ids:
    """Ascending positions of the `count` largest values."""
    if count >= len(values):
        return np.arange(len(values))
    near = _above_block_maxima(values, count)
    kept = values if near is None else values[near]
    smallest = np.partition(kept, len(kept) - count)[len(kept) - count]
    positions = _at_least(kept, smallest, count)
    return positions if near is None else near[positions]


def _above_block_maxima(values: Floats, count: int) -> Ids | None:
    """Positions that surely hold the `count` largest values; None where this narrows nothing.

    The count-th largest of the maxima of blocks is reached by `count` values at least, and in a
    large vocabulary by few others.
    """
    blocks = len(values) // BLOCK
    if count * 2 > blocks:
        return None
    maxima = values[: blocks * BLOCK].reshape(blocks, BLOCK).max(axis=1)
    return np.flatnonzero(values >= np.partition(maxima, blocks - count)[blocks - count])


def nucleus(weights: Floats, top_p: float) -> Ids:
    """Ascending positions of the fewest largest weights that reach `top_p` of the sum; never none.

    `weights` are non-negative, their sum is positive.
    """
    total = float(weights.sum(dtype=np.float64))
    spare = (1.0 - top_p) * total
    # All that is below an equal share of what may be left out can be left out together: exact,
    # and on peaked distributions only a few weights remain to be sorted.
    near = np.flatnonzero(weights >= spare / len(weights))
    kept = weights[near]
    spare -= total - float(kept.sum(dtype=np.float64))
    ascending = np.sort(kept)
    dropped = _position_passing(ascending, max(spare, 0.0))
    return near[_at_least(kept, ascending[dropped], len(kept) - dropped)]


def _at_least(values: Floats, smallest: np.float32, count: int) -> Ids:
    positions = np.flatnonzero(values >= smallest)
    excess = len(positions) - count
    if excess > 0:
        equal = np.flatnonzero(values[positions] == smallest)
        positions = np.delete(positions, equal[-excess:])
    return positions


def draw(weights: Floats, uniform: float) -> int:
    """A position with probability proportional to its weight; the sum of weights is positive."""
    return _position_passing(weights, uniform * float(_block_sums(weights)[-1]))


def _block_sums(weights: Floats) -> NDArray[np.float64]:
    starts = np.arange(0, len(weights), BLOCK)
    return np.cumsum(np.add.reduceat(weights, starts), dtype=np.float64)


def _position_passing(weights: Floats, goal: float) -> int:
    """The first position at which the running sum is more than `goal`."""
    reached = _block_sums(weights)
    # Rounding may point past the end; the first maximum is the last position of any weight.
    block = min(int(np.searchsorted(reached, goal, side="right")), int(reached.argmax()))
    before = float(reached[block - 1]) if block else 0.0
    inside = np.cumsum(weights[block * BLOCK : (block + 1) * BLOCK], dtype=np.float64)
    position = min(int(np.searchsorted(inside, goal - before, side="right")), int(inside.argmax()))
    return block * BLOCK + position


def draw_rows(weights: Floats, uniforms: NDArray[np.float64]) -> Ids:
    """One position for each row of `weights` [rows, multiple of BLOCK], as `draw` does."""
    rows = np.arange(len(weights))
    blocks = weights.reshape(len(weights), -1, BLOCK)
    reached = np.cumsum(blocks.sum(axis=2), axis=1, dtype=np.float64)
    targets = uniforms * reached[:, -1]
    block = np.minimum((reached <= targets[:, None]).sum(axis=1), reached.argmax(axis=1))
    before = np.where(block > 0, reached[rows, block - 1], 0.0)
    inside = np.cumsum(blocks[rows, block], axis=1, dtype=np.float64)
    rest = (targets - before)[:, None]
    position = np.minimum((inside <= rest).sum(axis=1), inside.argmax(axis=1))
    return block * BLOCK + position


def raw_logprobs(row: Floats, peak: float, token: int, top: int) -> RawLogprobs:
    """Log-softmax of `row`, whose maximum is `peak`, at `token` and at the `top` best tokens."""
    log_total = float(np.log(np.exp(row - peak).sum(dtype=np.float64)))
    best = largest(row, top) if top else np.zeros(0, np.int64)
    best = best[np.argsort(-row[best], kind="stable")]
    values = row[best].astype(np.float64) - peak - log_total
    return RawLogprobs(
        max(float(row[token]) - peak - log_total, LOGPROB_FLOOR),
        tuple(best.tolist()),
        tuple(np.maximum(values, LOGPROB_FLOOR).tolist()),
    )
