"""Sampler: one token for each sequence of a step, from the logits that the model computed (SV1).

    bias -> minimum length -> penalties -> temperature -> top-k -> min-p -> top-p -> draw

Law: the same seed and the same logits give the same token whatever else is in the batch, and the
i-th token of a sequence always meets the i-th number of its seed. Logits are never written to. A
row without a finite maximum is a fault of that row alone.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.serving.logits import (
    BLOCK,
    Floats,
    Ids,
    RawLogprobs,
    TokenCounts,
    draw,
    draw_rows,
    largest,
    nucleus,
    penalise,
    raw_logprobs,
)

# Below this a division by the temperature overflows; the distribution is a single token anyway.
GREEDY_BELOW = 1e-5

# Rows drawn together: 1 MiB of weights, what a second-level cache holds.
_GROUP_WEIGHTS = 1 << 18

_NO_TOKEN = -1
_SEED_RANGE = 1 << 64


class Sampled(NamedTuple):
    """What one row gave. With `fault` there is no token and none must be used."""

    token: int
    logprobs: RawLogprobs | None = None
    fault: bool = False


_FAULT = Sampled(_NO_TOKEN, None, True)


class SamplingRow:
    """What sampling must remember of one sequence; `generated` counts its tokens."""

    __slots__ = (
        "_banned",
        "_bias",
        "_bias_ids",
        "_counts",
        "_generator",
        "_penalised",
        "_uniform",
        "generated",
        "greedy",
        "sampling",
    )

    def __init__(
        self, sampling: Sampling, seed: int, prompt: tuple[int, ...], eos: frozenset[int]
    ) -> None:
        """`eos` are the tokens that, like `stop_token_ids`, wait for `min_tokens`."""
        self.sampling = sampling
        self.generated = 0
        self.greedy = sampling.temperature < GREEDY_BELOW
        self._generator = (
            None if self.greedy else np.random.Generator(np.random.Philox(key=seed % _SEED_RANGE))
        )
        self._uniform: float | None = None
        self._bias_ids = np.fromiter(sampling.logit_bias.keys(), np.int64)
        self._bias = np.fromiter(sampling.logit_bias.values(), np.float32)
        self._banned = np.array(sorted(eos.union(sampling.stop_token_ids)), np.int64)
        repeats = sampling.repetition_penalty != 1.0
        self._penalised = repeats or bool(sampling.presence_penalty or sampling.frequency_penalty)
        self._counts = TokenCounts(np.array(prompt if repeats else (), np.int64))

    @property
    def plain(self) -> bool:
        """Whether the best token as the model has it is all that is asked for."""
        return self.greedy and not self.shapes and self.sampling.top_logprobs is None

    @property
    def shapes(self) -> bool:
        """Whether the next token's logits are changed before anything is chosen."""
        return self._penalised or self._must_go_on or len(self._bias_ids) > 0

    @property
    def truncates(self) -> bool:
        """Whether only a part of the vocabulary may be drawn."""
        sampling = self.sampling
        return sampling.top_k > 0 or sampling.top_p < 1.0 or sampling.min_p > 0.0

    @property
    def uniform(self) -> float:
        """The number in [0, 1) of the next token; the same one until `append`."""
        assert self._generator is not None, "a greedy row draws nothing"
        if self._uniform is None:
            self._uniform = float(self._generator.random())
        return self._uniform

    @property
    def _must_go_on(self) -> bool:
        return self.generated < self.sampling.min_tokens and len(self._banned) > 0

    def append(self, token: int) -> None:
        """Takes note of a token of the sequence, sampled here or not."""
        if self._generator is not None:
            _ = self.uniform
            self._uniform = None
        if self._penalised:
            self._counts.add(token)
        self.generated += 1

    def shape(self, logits: Floats) -> None:
        """Bias, minimum length and penalties, in place on a copy of logits [vocabulary]."""
        known = self._bias_ids < len(logits)
        logits[self._bias_ids[known]] += self._bias[known]
        if self._must_go_on:
            logits[self._banned[self._banned < len(logits)]] = -np.inf
        if self._penalised:
            penalise(
                logits,
                self._counts,
                repetition=self.sampling.repetition_penalty,
                presence=self.sampling.presence_penalty,
                frequency=self.sampling.frequency_penalty,
            )

    def check_integrity(self) -> None:
        """Raises AssertionError when the counts do not add up."""
        counted = int(self._counts.counts.sum())
        expected = self.generated if self._penalised else 0
        assert counted == expected, f"{counted} tokens counted, {expected} generated"


class _Scores(NamedTuple):
    """A row's logits as they are chosen from, with their best token and its logit."""

    logits: Floats
    token: int
    peak: float


class Sampler:
    """Chooses tokens for rows of `vocab_size` logits; holds scratch memory and nothing else."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        width = -(-vocab_size // BLOCK) * BLOCK
        # The columns past the vocabulary stay zero: tokens that cannot be drawn.
        self._group = np.zeros((max(1, _GROUP_WEIGHTS // width), width), np.float32)
        self._shaped = np.empty(vocab_size, np.float32)
        self._weights = np.empty(vocab_size, np.float32)

    def sample(self, logits: Floats, rows: Sequence[SamplingRow]) -> list[Sampled]:
        """One result per row of `logits` [rows, vocabulary], in order.

        Does not append. Raises Failed(MODEL_FAILURE) when the shape is another one.
        """
        self._check_shape(logits, len(rows))
        if not rows:
            return []
        best = logits.argmax(axis=1)
        peaks = logits[np.arange(len(rows)), best]
        if np.isfinite(peaks).all() and all(row.plain for row in rows):
            return [Sampled(token) for token in best.tolist()]
        raw = [
            _Scores(*scores) for scores in zip(logits, best.tolist(), peaks.tolist(), strict=True)
        ]
        # Differences of extreme logits overflow to -inf, which is their right weight: none.
        with np.errstate(over="ignore"):
            tokens = self._choose(rows, raw)
            return [_result(*parts) for parts in zip(raw, rows, tokens, strict=True)]

    def _check_shape(self, logits: Floats, rows: int) -> None:
        if logits.shape != (rows, self._vocab_size):
            raise Failed(
                Failure(
                    kind=FailureKind.MODEL_FAILURE,
                    stage=Stage.DECODE,
                    message=f"The model returned logits of shape {list(logits.shape)} where "
                    f"[{rows}, {self._vocab_size}] were due.",
                )
            )

    def _choose(self, rows: Sequence[SamplingRow], raw: list[_Scores]) -> list[int]:
        tokens = [_NO_TOKEN] * len(rows)
        group: list[int] = []
        for index, row in enumerate(rows):
            scores = self._shape(row, raw[index])
            if scores is None:
                continue
            if row.greedy:
                tokens[index] = scores.token
            elif row.truncates:
                tokens[index] = self._draw_truncated(row, scores)
            else:
                inside = self._group[len(group), : self._vocab_size]
                np.subtract(scores.logits, scores.peak, out=inside)
                group.append(index)
            if len(group) == len(self._group):
                self._draw_group(rows, group, tokens)
        if group:
            self._draw_group(rows, group, tokens)
        return tokens

    def _shape(self, row: SamplingRow, raw: _Scores) -> _Scores | None:
        """None for a faulty row. The result lasts until the next call."""
        if not math.isfinite(raw.peak):
            return None
        if not row.shapes:
            return raw
        shaped = self._shaped
        np.copyto(shaped, raw.logits)
        row.shape(shaped)
        token = int(shaped.argmax())
        peak = float(shaped[token])
        return _Scores(shaped, token, peak) if math.isfinite(peak) else None

    def _draw_group(self, rows: Sequence[SamplingRow], group: list[int], tokens: list[int]) -> None:
        """Draws from the entire vocabulary, without sorting it, and empties the group."""
        weights = self._group[: len(group)]
        inside = weights[:, : self._vocab_size]
        scales = [1.0 / rows[index].sampling.temperature for index in group]
        np.multiply(inside, np.array(scales, np.float32)[:, None], out=inside)
        np.exp(inside, out=inside)
        drawn = draw_rows(weights, np.array([rows[index].uniform for index in group]))
        for index, token in zip(group, drawn.tolist(), strict=True):
            tokens[index] = token
        group.clear()

    def _draw_truncated(self, row: SamplingRow, scores: _Scores) -> int:
        """Draws from what top-k leaves, of which min-p leaves, of which top-p leaves."""
        sampling = row.sampling
        ids: Ids | None = None
        logits = scores.logits
        if 0 < sampling.top_k < self._vocab_size:
            ids = largest(logits, sampling.top_k)
            logits = logits[ids]
        weights = np.subtract(logits, scores.peak, out=self._weights[: len(logits)])
        weights *= np.float32(1.0 / sampling.temperature)
        np.exp(weights, out=weights)
        if sampling.min_p > 0.0:
            kept = np.flatnonzero(weights >= sampling.min_p)
            ids, weights = _narrow(ids, kept), weights[kept]
        if sampling.top_p < 1.0:
            kept = nucleus(weights, sampling.top_p)
            ids, weights = _narrow(ids, kept), weights[kept]
        position = draw(weights, row.uniform)
        return position if ids is None else int(ids[position])


def _narrow(ids: Ids | None, kept: Ids) -> Ids:
    return kept if ids is None else ids[kept]


def _result(raw: _Scores, row: SamplingRow, token: int) -> Sampled:
    if token == _NO_TOKEN:
        return _FAULT
    top = row.sampling.top_logprobs
    return Sampled(token, None if top is None else raw_logprobs(raw.logits, raw.peak, token, top))
