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
SPARE = 3
BATCH_TOKENS = 6_144


SHORT, LONG, LONGEST = 288, 512, 1024


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one mixture.

    Every batch has rows of one length out of `lengths` (the shortest that a dialog fits) and
    `BATCH_TOKENS` tokens. `rate` is the share of the base learning rate at its beginning and end.
    """

    name: str
    tokens: int
    lengths: tuple[int, ...]
    shares: Shares
    prompt_weight: float
    picked_share: float
    rate: tuple[float, float] = (1.0, 1.0)

    @property
    def steps(self) -> int:
        """Optimiser steps of the phase."""
        return self.tokens // BATCH_TOKENS

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


def _row(waiting: list[Sample], own: range) -> list[Sample]:
    """Dialogs that fit one row: the oldest of its own lengths, then the largest that still fit."""
    room = own[-1]
    row: list[Sample] = []
    fitting = [sample for sample in waiting if len(sample.tokens) in own][:1]
    while fitting:
        best = max(fitting, key=lambda sample: len(sample.tokens))
        waiting.remove(best)
        row.append(best)
        room -= len(best.tokens)
        fitting = [sample for sample in waiting if len(sample.tokens) <= room]
    return row


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
            length = self._fill(rng, tokenizer, waiting)
            rows = [_row(waiting, self._above(length)) for _ in range(BATCH_TOKENS // length)]
            yield self._batch(rng, rows, length)

    def _above(self, length: int) -> range:
        """The lengths of the dialogs for which a row of this length is the shortest."""
        shorter = [0, *self.phase.lengths]
        return range(shorter[self.phase.lengths.index(length)] + 1, length + 1)

    def _fill(self, rng: random.Random, tokenizer: Tokenizer, waiting: list[Sample]) -> int:
        """Draw dialogs until those of one row length begin every row of a batch; return it."""
        while True:
            for length in self.phase.lengths:
                own = self._above(length)
                if sum(len(s.tokens) in own for s in waiting) >= SPARE * BATCH_TOKENS // length:
                    return length
            waiting.append(self._sample(rng, tokenizer))

    def _sample(self, rng: random.Random, tokenizer: Tokenizer) -> Sample:
        while True:
            dialog = training_dialog(rng, self.phase.shares)
            encoded = encode(dialog, tokenizer)
            if len(encoded.tokens) <= self.phase.lengths[-1]:
                return Sample(encoded.tokens, encoded.weights, FAMILIES.index(dialog.task))

    def _batch(
        self, rng: random.Random, rows: list[list[Sample]], length: int
    ) -> dict[str, Tensor]:
        shape = (len(rows), length)
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
