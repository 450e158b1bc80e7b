"""Packing: a step plan as the arrays that PagedAttention reads, without padding.

Law: a plan that would make the backend read or write outside its memory stops here.
"""

from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from octant.core.step import StepPlan


class PackedStep(NamedTuple):
    """T tokens of S sequences, R rows wanted: arrays named as the inputs they feed.

    `input_ids`, `position_ids` i64 [T]; `past_lens` i32 [S]; `subsequence_begins`,
    `block_indices_begins` i32 [S + 1]; `block_indices` i32 [blocks of all sequences];
    `max_context_len` i32 []; `sampled_tokens_indices` i64 [R].
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    past_lens: NDArray[np.int32]
    subsequence_begins: NDArray[np.int32]
    block_indices: NDArray[np.int32]
    block_indices_begins: NDArray[np.int32]
    max_context_len: NDArray[np.int32]
    sampled_tokens_indices: NDArray[np.int64]


class Bounds(NamedTuple):
    """What the loaded model can take."""

    vocab_size: int
    max_context: int
    block_size: int
    block_count: int


def pack(plan: StepPlan, bounds: Bounds) -> PackedStep:
    """Raises ValueError when the plan is empty or exceeds `bounds`: a defect of the scheduler."""
    slices = plan.slices
    count = len(slices)
    lengths = np.fromiter((len(piece.tokens) for piece in slices), np.int32, count)
    past = np.fromiter((piece.past for piece in slices), np.int32, count)
    tables = np.fromiter((len(piece.blocks) for piece in slices), np.int32, count)
    begins = _begins(lengths)
    tokens = np.fromiter(
        chain.from_iterable(piece.tokens for piece in slices), np.int64, begins[-1]
    )
    table_begins = _begins(tables)
    blocks = np.fromiter(
        chain.from_iterable(piece.blocks for piece in slices), np.int32, table_begins[-1]
    )
    ends = past + lengths
    _check(bounds, lengths, past, tokens, blocks, tables)
    sampled = [i for i, piece in enumerate(slices) if piece.samples]
    return PackedStep(
        input_ids=tokens,
        position_ids=np.arange(begins[-1]) + np.repeat(past - begins[:-1], lengths),
        past_lens=past,
        subsequence_begins=begins,
        block_indices=blocks,
        block_indices_begins=table_begins,
        max_context_len=np.array(ends.max(), dtype=np.int32),
        sampled_tokens_indices=begins[1:][sampled].astype(np.int64) - 1,
    )


def _begins(lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    begins = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=begins[1:])
    return begins


def _check(
    bounds: Bounds,
    lengths: NDArray[np.int32],
    past: NDArray[np.int32],
    tokens: NDArray[np.int64],
    blocks: NDArray[np.int32],
    tables: NDArray[np.int32],
) -> None:
    if not len(lengths) or lengths.min() < 1:
        raise ValueError("a step needs at least one slice, and each slice a token")
    ends = past + lengths
    if past.min() < 0 or ends.max() > bounds.max_context:
        raise ValueError(f"positions up to {ends.max()} exceed the context of {bounds.max_context}")
    if tokens.min() < 0 or tokens.max() >= bounds.vocab_size:
        raise ValueError(f"token {tokens.max()} is outside the vocabulary of {bounds.vocab_size}")
    if (tables * bounds.block_size < ends).any():
        raise ValueError("a sequence has fewer blocks than its positions need")
    if blocks.min() < 0 or blocks.max() >= bounds.block_count:
        raise ValueError(f"block {blocks.max()} is outside the cache of {bounds.block_count}")
