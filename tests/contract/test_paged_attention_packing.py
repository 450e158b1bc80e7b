"""Packing: any plan within bounds becomes the arrays that PagedAttention documents."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from octant.adapters.openvino.packing import Bounds, pack
from octant.core.ids import SequenceId
from octant.core.step import SequenceSlice, StepPlan

BOUNDS = Bounds(vocab_size=50, max_context=64, block_size=4, block_count=100)


@st.composite
def slices(draw: st.DrawFn) -> SequenceSlice:
    past = draw(st.integers(0, BOUNDS.max_context - 1))
    count = draw(st.integers(1, min(9, BOUNDS.max_context - past)))
    needed = -(-(past + count) // BOUNDS.block_size)
    block = st.integers(0, BOUNDS.block_count - 1)
    return SequenceSlice(
        sequence=SequenceId(draw(st.integers(0, 9))),
        tokens=tuple(draw(st.lists(st.integers(0, 49), min_size=count, max_size=count))),
        past=past,
        blocks=tuple(draw(st.lists(block, min_size=needed, max_size=needed + 2))),
        samples=draw(st.booleans()),
    )


@given(st.lists(slices(), min_size=1, max_size=6))
def test_every_token_stands_where_its_sequence_says(pieces: list[SequenceSlice]) -> None:
    packed = pack(StepPlan(0, tuple(pieces)), BOUNDS)
    tokens, positions, sampled = [], [], []
    for index, piece in enumerate(pieces):
        assert packed.subsequence_begins[index] == len(tokens)
        assert packed.past_lens[index] == piece.past
        begin, end = packed.block_indices_begins[index : index + 2]
        assert tuple(packed.block_indices[begin:end]) == piece.blocks
        tokens += piece.tokens
        positions += range(piece.past, piece.past + len(piece.tokens))
        if piece.samples:
            sampled.append(len(tokens) - 1)
    assert packed.input_ids.tolist() == tokens
    assert packed.position_ids.tolist() == positions
    assert packed.sampled_tokens_indices.tolist() == sampled
    assert packed.subsequence_begins[-1] == len(tokens)
    assert packed.block_indices_begins[-1] == len(packed.block_indices)
    assert packed.max_context_len == max(piece.past + len(piece.tokens) for piece in pieces)


@given(st.lists(slices(), min_size=1, max_size=6))
def test_arrays_have_the_element_types_that_the_graph_takes(pieces: list[SequenceSlice]) -> None:
    packed = pack(StepPlan(0, tuple(pieces)), BOUNDS)
    wide = {"input_ids", "position_ids", "sampled_tokens_indices"}
    for name, array in packed._asdict().items():
        assert array.dtype == (np.int64 if name in wide else np.int32), name
        assert array.ndim == (0 if name == "max_context_len" else 1), name
        assert array.flags.c_contiguous, name
