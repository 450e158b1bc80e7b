"""Sampling as one would explain it: one row, one dictionary, no shortcuts.

Law: nothing of the sampler is used here, so that agreement means something.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from octant.core.sampling import Sampling


def shaped(
    logits: Sequence[float],
    sampling: Sampling,
    prompt: Sequence[int],
    generated: Sequence[int],
    eos: frozenset[int],
) -> list[float]:
    """Logits after bias, minimum length and penalties."""
    row = [float(value) for value in logits]
    for token, bias in sampling.logit_bias.items():
        row[token] += bias
    if len(generated) < sampling.min_tokens:
        for token in eos | set(sampling.stop_token_ids):
            row[token] = -math.inf
    counts = Counter(generated)
    for token in range(len(row)):
        if token in counts or token in prompt:
            factor = sampling.repetition_penalty
            row[token] = row[token] / factor if row[token] > 0 else row[token] * factor
        if token in counts:
            row[token] -= sampling.frequency_penalty * counts[token] + sampling.presence_penalty
    return row


def distribution(row: Sequence[float], sampling: Sampling) -> dict[int, float]:
    """Probability of every token that may be drawn, by ascending id."""
    best = max(row)
    if sampling.temperature == 0:
        return {row.index(best): 1.0}
    weights = {
        token: float(np.exp(np.float32((value - best) / sampling.temperature)))
        for token, value in enumerate(row)
    }
    ranked = sorted(weights, key=lambda token: (-row[token], token))
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    ranked = [token for token in ranked if weights[token] >= sampling.min_p]
    if sampling.top_p < 1:
        ranked = _nucleus(ranked, weights, sampling.top_p)
    total = sum(weights[token] for token in ranked)
    return {token: weights[token] / total for token in sorted(ranked)}


def _nucleus(ranked: list[int], weights: dict[int, float], top_p: float) -> list[int]:
    goal = top_p * sum(weights[token] for token in ranked)
    reached = 0.0
    for count, token in enumerate(ranked, 1):
        reached += weights[token]
        if reached >= goal:
            return ranked[:count]
    return ranked


def log_softmax(row: Sequence[float]) -> list[float]:
    """Natural log-probabilities of all tokens."""
    best = max(row)
    total = math.log(math.fsum(math.exp(value - best) for value in row))
    return [value - best - total for value in row]
