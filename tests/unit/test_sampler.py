"""The sampler on rows whose right answer can be said in words."""

import numpy as np
import pytest
from numpy.typing import NDArray

from octant.core.failure import Failed, FailureKind
from octant.core.sampling import Sampling
from octant.serving.logits import LOGPROB_FLOOR
from octant.serving.sampler import Sampled, Sampler, SamplingRow
from tests.support.sampling_reference import distribution, log_softmax, shaped

VOCABULARY = 1300
EOS = frozenset({7})


def row_of(seed: int = 1, prompt: tuple[int, ...] = (), **sampling: object) -> SamplingRow:
    return SamplingRow(Sampling(**sampling), seed, prompt, EOS)


def random_logits(rows: int, seed: int = 5, width: int = VOCABULARY) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32) * 3


def tokens(logits: NDArray[np.float32], *rows: SamplingRow) -> list[int]:
    return [sampled.token for sampled in Sampler(logits.shape[1]).sample(logits, rows)]


def test_greedy_takes_the_best_token_and_the_lowest_id_among_equals() -> None:
    logits = np.array([[0, 3, 3, 1], [-5, -9, -5, -7]], np.float32)
    assert tokens(logits, row_of(temperature=0), row_of(temperature=0)) == [1, 0]


def test_a_temperature_next_to_zero_is_greedy_and_does_not_overflow() -> None:
    logits = np.array([[1e30, 3, -1e30, -3e38]], np.float32)
    assert tokens(logits, row_of(temperature=1e-30)) == [0]
    assert tokens(logits, row_of(temperature=1e-5)) == [0]


def test_no_rows_give_no_tokens() -> None:
    assert Sampler(8).sample(np.zeros((0, 8), np.float32), []) == []


def test_logits_of_another_shape_are_a_model_failure() -> None:
    with pytest.raises(Failed) as caught:
        Sampler(8).sample(np.zeros((1, 9), np.float32), [row_of()])
    assert caught.value.failure.kind is FailureKind.MODEL_FAILURE


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_faulty_row_harms_no_other(poison: float) -> None:
    logits = random_logits(4)
    rows = [row_of(index, temperature=temperature) for index, temperature in enumerate([0, 1, 0.5])]
    alone = tokens(logits[[0, 1, 3]], *rows)
    logits[2] = poison
    results = Sampler(VOCABULARY).sample(logits, [rows[0], rows[1], row_of(9), rows[2]])
    assert [results[index].token for index in (0, 1, 3)] == alone
    assert results[2].fault
    assert [sampled.fault for sampled in results] == [False, False, True, False]


def test_one_nan_among_numbers_is_a_fault_for_greedy_and_drawing_rows() -> None:
    logits = random_logits(2)
    logits[:, 40] = np.nan
    results = Sampler(VOCABULARY).sample(logits, [row_of(temperature=0), row_of(top_k=3)])
    assert [sampled.fault for sampled in results] == [True, True]


def test_a_row_with_every_token_forbidden_is_a_fault() -> None:
    logits = np.zeros((1, 8), np.float32)
    row = SamplingRow(Sampling(min_tokens=1, stop_token_ids=tuple(range(8))), 1, (), frozenset())
    assert Sampler(8).sample(logits, [row])[0].fault


def test_the_executors_buffer_is_left_as_it_was() -> None:
    logits = random_logits(5)
    before = logits.copy()
    rows = [
        row_of(temperature=0, presence_penalty=1.0, top_logprobs=3),
        row_of(logit_bias={3: 5.0}),
        row_of(top_p=0.5, min_tokens=2),
        row_of(top_k=4, repetition_penalty=1.3, prompt=(1, 2, 3)),
        row_of(min_p=0.1),
    ]
    for row in rows:
        row.append(2)
    Sampler(VOCABULARY).sample(logits, rows)
    np.testing.assert_array_equal(logits, before)


def test_a_read_only_buffer_that_is_not_contiguous_will_do() -> None:
    wide = random_logits(3, width=2 * VOCABULARY)
    view = wide[:, ::2]
    view.flags.writeable = False
    rows = [row_of(temperature=0), row_of(), row_of(top_p=0.7)]
    again = [row_of(temperature=0), row_of(), row_of(top_p=0.7)]
    assert tokens(view, *rows) == tokens(np.ascontiguousarray(view), *again)


def test_eos_and_stop_ids_wait_for_the_minimum_length() -> None:
    logits = np.zeros((1, 16), np.float32)
    logits[0, 7], logits[0, 3], logits[0, 5] = 9, 8, 7
    row = row_of(temperature=0, min_tokens=2, stop_token_ids=(3,))
    seen: list[int] = []
    for _ in range(3):
        seen += tokens(logits, row)
        row.append(seen[-1])
    assert seen == [5, 5, 7]


def test_bias_moves_the_choice_and_ids_outside_of_the_vocabulary_do_nothing() -> None:
    logits = np.array([[1, 2, 3]], np.float32)
    assert tokens(logits, row_of(temperature=0, logit_bias={0: 2.5, 99: 50.0})) == [0]
    assert tokens(logits, row_of(logit_bias={1: 100.0})) == [1]
    assert tokens(logits, row_of(temperature=0, logit_bias={2: -100.0})) == [1]


def test_presence_is_paid_once_and_frequency_each_time() -> None:
    logits = np.array([[4.0, 3.0, 0.0]], np.float32)
    presence = row_of(temperature=0, presence_penalty=1.5)
    frequency = row_of(temperature=0, frequency_penalty=0.75)
    for row in (presence, frequency):
        row.append(0)
    assert tokens(logits, presence) == [1]
    assert tokens(logits, frequency) == [0]
    frequency.append(0)
    assert tokens(logits, frequency) == [1]
    frequency.check_integrity()


def test_only_repetition_counts_the_prompt() -> None:
    logits = np.array([[4.0, 3.0, -1.0]], np.float32)
    assert tokens(logits, row_of(temperature=0, presence_penalty=2.0, prompt=(0,))) == [0]
    assert tokens(logits, row_of(temperature=0, repetition_penalty=2.0, prompt=(0, 0))) == [1]


def test_repetition_makes_negative_logits_smaller() -> None:
    logits = np.array([[-1.0, -1.5]], np.float32)
    assert tokens(logits, row_of(temperature=0, repetition_penalty=2.0, prompt=(0,))) == [1]


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 1.0},
        {"temperature": 0.6, "top_k": 20},
        {"temperature": 1.4, "top_p": 0.8},
        {"temperature": 1.0, "min_p": 0.05},
        {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.02},
        {"temperature": 1.0, "top_k": 12, "repetition_penalty": 1.5, "frequency_penalty": 0.5},
        {"temperature": 1.0, "top_k": 3, "logit_bias": {600: 40.0, 3: 39.0}},
    ],
    ids=str,
)
def test_drawn_tokens_follow_the_exact_distribution(sampling: dict[str, object]) -> None:
    """Chi-square over 6,000 seeded draws; the bound is five deviations above the mean."""
    draws = 6_000
    logits = random_logits(1, seed=3)
    generated = (5, 9, 9, 600)
    rows = [row_of(seed, prompt=(1, 2), **sampling) for seed in range(draws)]
    for row in rows:
        for token in generated:
            row.append(token)
    batch = np.broadcast_to(logits, (draws, VOCABULARY))
    observed = np.bincount(tokens(batch, *rows), minlength=VOCABULARY)
    settings = Sampling(**sampling)
    row = shaped(logits[0].tolist(), settings, (1, 2), generated, EOS)
    exact = distribution(row, settings)
    expected = np.zeros(VOCABULARY)
    expected[list(exact)] = np.array(list(exact.values())) * draws
    assert observed[expected == 0].sum() == 0
    often = expected >= 5
    cells = [*zip(observed[often], expected[often], strict=True)]
    if (rest := expected[~often].sum()) > 0:
        cells.append((observed[~often].sum(), rest))
    statistic = sum((seen - due) ** 2 / due for seen, due in cells)
    freedom = max(len(cells) - 1, 1)
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


def test_logprobs_are_raw_whatever_the_sampling() -> None:
    logits = random_logits(2)
    logits[1] = logits[0]
    exact = log_softmax(logits[0].tolist())
    plain = row_of(temperature=0, top_logprobs=5)
    bent = row_of(temperature=0.3, top_k=1, logit_bias={11: 60.0}, top_logprobs=5)
    results = Sampler(VOCABULARY).sample(logits, [plain, bent])
    assert results[1].token == 11
    best = sorted(range(VOCABULARY), key=lambda token: (-exact[token], token))[:5]
    for sampled in results:
        assert sampled.logprobs is not None
        assert sampled.logprobs.chosen == pytest.approx(exact[sampled.token], abs=1e-5)
        assert list(sampled.logprobs.top_ids) == best
        assert sampled.logprobs.top == pytest.approx([exact[token] for token in best], abs=1e-5)


def test_zero_top_logprobs_give_the_chosen_one_only() -> None:
    logits = np.array([[1.0, 2.0]], np.float32)
    (sampled,) = Sampler(2).sample(logits, [row_of(temperature=0, top_logprobs=0)])
    assert sampled.logprobs is not None
    assert sampled.logprobs[1:] == ((), ())
    assert sampled.logprobs.chosen == pytest.approx(-np.log1p(np.exp(-1.0)), abs=1e-6)


def test_equal_logprobs_are_listed_by_id_and_impossible_ones_are_finite() -> None:
    logits = np.full((1, 6), -np.inf, np.float32)
    logits[0, [4, 1, 3]] = 2.0
    (sampled,) = Sampler(6).sample(logits, [row_of(temperature=0, top_logprobs=5)])
    assert sampled.logprobs is not None
    assert sampled.logprobs.top_ids == (1, 3, 4, 0, 2)
    assert sampled.logprobs.top[3:] == (LOGPROB_FLOOR, LOGPROB_FLOOR)


def test_only_rows_that_ask_get_logprobs() -> None:
    logits = random_logits(2)
    asked, other = Sampler(VOCABULARY).sample(logits, [row_of(top_logprobs=1), row_of()])
    assert asked.logprobs is not None
    assert other.logprobs is None


def test_sampling_again_before_append_gives_the_same_token() -> None:
    logits = random_logits(1)
    row = row_of(temperature=1.5)
    first = tokens(logits, row)
    assert tokens(logits, row) == first
    row.append(first[0])
    later = [tokens(logits, row_after(row)) for _ in range(30)]
    assert any(token != first for token in later)


def row_after(row: SamplingRow) -> SamplingRow:
    row.append(0)
    return row


def test_tokens_appended_without_sampling_use_up_their_numbers() -> None:
    """A sequence that is computed again after preemption goes on as if nothing had happened."""
    logits = random_logits(1)
    told, drew = row_of(3, temperature=2.0), row_of(3, temperature=2.0)
    for _ in range(4):
        (token,) = tokens(logits, drew)
        drew.append(token)
        told.append(token)
    assert tokens(logits, told) == tokens(logits, drew)


def test_seeds_of_any_sign_and_size_are_taken() -> None:
    logits = random_logits(1)
    for seed in (0, -1, 2**63, -(2**63), 2**64 - 1):
        assert tokens(logits, row_of(seed)) == tokens(logits, row_of(seed))


def test_a_vocabulary_of_full_size_is_drawn_from_to_its_ends() -> None:
    width = 151_936
    logits = np.full((3, width), -30.0, np.float32)
    logits[0, 0] = logits[1, width - 1] = logits[2, 77_777] = 30.0
    for sampling in ({}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.5}):
        rows = [row_of(seed, **sampling) for seed in range(3)]
        assert tokens(logits, *rows) == [0, width - 1, 77_777]


def test_the_fast_path_says_what_the_slow_one_does() -> None:
    logits = random_logits(6)
    plain = [row_of(temperature=0) for _ in range(6)]
    fast = Sampler(VOCABULARY).sample(logits, plain)
    slow = Sampler(VOCABULARY).sample(logits, [*plain[:5], row_of(temperature=0, top_logprobs=0)])
    assert fast == [*slow[:5], Sampled(slow[5].token)]
