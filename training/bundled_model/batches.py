"""Endless training batches: dialogs packed into rows, with weights, segments and positions."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import IterableDataset

from .rendering import encode
from .tasks.mixture import Shares, training_dialog

FAMILIES = (
    "pad",
    "warmup",
    "cite",
    "absent",
    "extract",
    "tools",
    "calculator",
    "recall",
    "talk",
    "compound",
    "mark",
    "marks",
)
WAITING = 48


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one batch shape and one mixture.

    `rate` is the share of the base learning rate at its beginning and at its end.
    """

    name: str
    tokens: int
    length: int
    rows: int
    shares: Shares
    prompt_weight: float
    picked_share: float
    rate: tuple[float, float] = (1.0, 1.0)

    @property
    def batch_tokens(self) -> int:
        """Tokens of one batch."""
        return self.length * self.rows

    @property
    def steps(self) -> int:
        """Optimiser steps of the phase."""
        return self.tokens // self.batch_tokens

    def rate_at(self, step: int) -> float:
        """The share of the base rate at a step of the phase."""
        begin, end = self.rate
        return begin + (end - begin) * step / self.steps


@dataclass(frozen=True)
class Sample:
    """One encoded dialog that waits for a row."""

    tokens: list[int]
    weights: list[float]
    family: int


class PackedBatches(IterableDataset):
    """The batches of one phase; the same seed gives the same batches."""

    def __init__(self, tokenizer_file: str, phase: Phase, seed: int) -> None:
        self.tokenizer_file, self.phase, self.seed = tokenizer_file, phase, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield every batch of the phase."""
        rng = random.Random(f"{self.seed}/{self.phase.name}")
        tokenizer = Tokenizer.from_file(self.tokenizer_file)
        waiting: list[Sample] = []
        for _ in range(self.phase.steps):
            rows = [self._row(rng, tokenizer, waiting) for _ in range(self.phase.rows)]
            yield self._batch(rng, rows)

    def _sample(self, rng: random.Random, tokenizer: Tokenizer) -> Sample:
        while True:
            dialog = training_dialog(rng, self.phase.shares)
            encoded = encode(dialog, tokenizer)
            if len(encoded.tokens) <= self.phase.length:
                return Sample(encoded.tokens, encoded.weights, FAMILIES.index(dialog.task))

    def _row(self, rng: random.Random, tokenizer: Tokenizer, waiting: list[Sample]) -> list[Sample]:
        """Dialogs that fit one row: always the largest waiting one that still fits."""
        row: list[Sample] = []
        room = self.phase.length
        while True:
            while len(waiting) < WAITING:
                waiting.append(self._sample(rng, tokenizer))
            fitting = [s for s in (waiting if row else waiting[:1]) if len(s.tokens) <= room]
            if not fitting:
                return row
            best = max(fitting, key=lambda s: len(s.tokens))
            waiting.remove(best)
            row.append(best)
            room -= len(best.tokens)

    def _batch(self, rng: random.Random, rows: list[list[Sample]]) -> dict[str, Tensor]:
        shape = (len(rows), self.phase.length)
        tokens, segments, positions, families = (
            torch.zeros(shape, dtype=torch.long) for _ in range(4)
        )
        weights = torch.zeros(shape)
        for index, row in enumerate(rows):
            start = 0
            for number, sample in enumerate(row, 1):
                end = start + len(sample.tokens)
                tokens[index, start:end] = torch.tensor(sample.tokens)
                segments[index, start:end] = number
                positions[index, start:end] = torch.arange(end - start)
                weights[index, start:end] = torch.tensor(sample.weights)
                families[index, start:end] = sample.family
                weights[index, start] = -1.0
                start = end
        return self._picked(rng, tokens, segments, positions, weights, families)

    def _picked(
        self,
        rng: random.Random,
        tokens: Tensor,
        segments: Tensor,
        positions: Tensor,
        weights: Tensor,
        families: Tensor,
    ) -> dict[str, Tensor]:
        """Choose the positions whose prediction is learned: assistant tokens, then others."""
        flat = weights.flatten().tolist()
        learned = [i - 1 for i, w in enumerate(flat) if w > 0]
        others = (
            [i - 1 for i, w in enumerate(flat) if i and w == 0 and families.flatten()[i] > 0]
            if self.phase.prompt_weight
            else []
        )
        count = int(len(flat) * self.phase.picked_share)
        rng.shuffle(others)
        rng.shuffle(learned)
        chosen = (learned + others)[:count]
        chosen += [0] * (count - len(chosen))
        picked = torch.tensor(chosen)
        target_weights = weights.flatten()[picked + 1].clamp(min=0)
        target_weights[len(learned) :] = self.phase.prompt_weight
        target_weights[len(learned) + len(others) :] = 0.0
        kinds = families.flatten()[picked + 1]
        kinds[(target_weights > 1) & (kinds != FAMILIES.index("marks"))] = FAMILIES.index("mark")
        return {
            "tokens": tokens,
            "segments": segments,
            "positions": positions,
            "picked": picked,
            "targets": tokens.flatten()[picked + 1],
            "weights": target_weights,
            "kinds": kinds,
        }
