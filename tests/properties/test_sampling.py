"""For any parameters the sampler agrees with the plain reference, in any company."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from octant.core.sampling import Sampling
from octant.serving.sampler import Sampler, SamplingRow
from tests.support.sampling_reference import distribution, shaped

EOS = frozenset({2})
ROUNDING = 1e-4

widths = st.sampled_from([5, 37, 511, 512, 513, 1500])
# Halves and quarters are exact in every precision, so that ties are ties on both sides.
halves = st.sampled_from([-1.5, -0.5, 0.0, 0.5, 1.0])
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 40, 2000]),
    top_p=st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    presence_penalty=halves,
    frequency_penalty=halves,
    repetition_penalty=st.sampled_from([0.5, 1.0, 2.0]),
    min_tokens=st.sampled_from([0, 3]),
    stop_token_ids=st.sampled_from([(), (0, 3)]),
    logit_bias=st.dictionaries(st.integers(0, 4), st.sampled_from([-100.0, -0.5, 2.0, 100.0])),
)
histories = st.lists(st.integers(0, 4), max_size=8)


def logits_of(seed: int, width: int) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, 12, size=(1, width)).round()
    return (steps / 4).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(samplings, histories, histories, st.integers(0, 2**32), widths)
def test_tokens_agree_with_the_reference(
    sampling: Sampling, prompt: list[int], generated: list[int], seed: int, width: int
) -> None:
    logits = logits_of(seed, width)
    row = SamplingRow(sampling, seed, tuple(prompt), EOS)
    for token in generated:
        row.append(token)
    row.check_integrity()
    (sampled,) = Sampler(width).sample(logits, [row])
    values = shaped(logits[0].tolist(), sampling, prompt, generated, EOS)
    assume(not _at_the_edge(values, sampling))
    exact = distribution(values, sampling)
    assert sampled.token in exact
    if sampling.temperature > 0:
        below = sum(share for token, share in exact.items() if token < sampled.token)
        assert below - ROUNDING <= row.uniform <= below + exact[sampled.token] + ROUNDING


def _at_the_edge(values: list[float], sampling: Sampling) -> bool:
    """Whether the last bits of a sum decide what belongs to the nucleus."""
    if sampling.temperature == 0 or not 0 < sampling.top_p < 1:
        return False
    whole = distribution(values, _with_top_p(sampling, 1.0))
    reached = np.cumsum(sorted(whole.values(), reverse=True))
    return bool((abs(reached - sampling.top_p) < ROUNDING).any())


def _with_top_p(sampling: Sampling, top_p: float) -> Sampling:
    fields = {name: getattr(sampling, name) for name in sampling.__struct_fields__}
    return Sampling(**(fields | {"top_p": top_p}))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(samplings, min_size=2, max_size=12),
    st.integers(0, 2**32),
    st.sampled_from([64, 700, 140_000]),
    st.randoms(use_true_random=False),
)
def test_the_company_of_a_row_changes_nothing(
    kinds: list[Sampling], seed: int, width: int, shuffler: object
) -> None:
    logits = np.concatenate([logits_of(seed + index, width) for index in range(len(kinds))])
    sampler = Sampler(width)

    def row(index: int) -> SamplingRow:
        return SamplingRow(kinds[index], seed + index, (1, 2), EOS)

    alone = [
        sampler.sample(logits[index : index + 1], [row(index)])[0] for index in range(len(kinds))
    ]
    order = list(range(len(kinds)))
    shuffler.shuffle(order)
    together = sampler.sample(logits[order], [row(index) for index in order])
    assert together == [alone[index] for index in order]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**63), st.integers(1, 6))
def test_a_seed_gives_the_same_answer_twice(seed: int, length: int) -> None:
    def answer() -> list[int]:
        row = SamplingRow(Sampling(temperature=1.5), seed, (), EOS)
        sampler, tokens = Sampler(300), []
        for position in range(length):
            (sampled,) = sampler.sample(logits_of(position, 300), [row])
            row.append(sampled.token)
            tokens.append(sampled.token)
        return tokens

    assert answer() == answer()
