"""Training: one command from nothing to a checkpoint, sized in tokens, reproducible by its seed.

    python -m bundled_model.train --work build

It owns the recipe (phases, rates) and the loop; batches, model and optimisers live beside it. A
run that was cut off goes on with `--resume build/latest.pt`: the batches are drawn again, so that
it sees exactly those it would have seen.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from .batches import FAMILIES, LONG, LONGEST, SHORT, PackedBatches, Phase
from .model import Decoder, ModelShape, packed_mask
from .optimiser import Optimisers
from .tasks.mixture import Shares
from .tokenizer import load_or_train

SEED = 20_26
MUON_RATE, ADAM_RATE = 0.02, 0.004
WARMUP_STEPS = 40
AVERAGE_EVERY, AVERAGE_KEPT = 8, 0.9
LOG_EVERY, SAVE_EVERY_TOKENS = 25, 500_000


def phases() -> list[Phase]:
    """Copying, short rows, marks of texts, then all; one long fall of the rate."""
    marks = Shares(warmup=0.02, marks=0.5, pairs=0.08)
    plain = Shares(warmup=0.01, marks=0.03, pairs=0.06)
    end = Shares(marks=0.01, pairs=0.02, long_talk=0.06)
    rows = (SHORT, LONG)
    return [
        Phase("copy", 1_000_000, (SHORT,), Shares(warmup=0.5), 0.1, 0.5),
        Phase("short", 2_000_000, (SHORT,), Shares(warmup=0.1, marks=0.05), 0.1, 0.5),
        Phase("marks", 2_500_000, (SHORT,), marks, 0.0, 0.5),
        Phase("main", 5_000_000, rows, plain, 0.02, 0.36),
        Phase("decay", 26_500_000, rows, plain, 0.0, 0.36, rate=(1.0, 0.05)),
        Phase("finish", 1_000_000, (*rows, LONGEST), end, 0.0, 0.36, rate=(0.05, 0.0)),
    ]


class Ledger:
    """Loss by family since the last report."""

    def __init__(self, path: Path) -> None:
        self.path, self.began = path, time.time()
        self.losses = torch.zeros(len(FAMILIES))
        self.counts = torch.zeros(len(FAMILIES))

    def note(self, losses: Tensor, weights: Tensor, kinds: Tensor) -> None:
        """Add the losses of assistant tokens."""
        learned = weights >= 1
        self.losses.index_add_(0, kinds[learned], losses.detach()[learned])
        self.counts.index_add_(0, kinds[learned], torch.ones(int(learned.sum())))

    def report(self, step: int, tokens: int, scale: float) -> None:
        """Write one line and start over."""
        means = self.losses / self.counts.clamp(min=1)
        entry = {
            "step": step,
            "tokens": tokens,
            "seconds": round(time.time() - self.began),
            "scale": round(scale, 3),
        }
        entry |= {
            name: round(float(mean), 3)
            for name, mean, count in zip(FAMILIES, means, self.counts, strict=True)
            if count
        }
        line = json.dumps(entry)
        print(line, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.losses.zero_()
        self.counts.zero_()


def _give_way(_: int) -> None:
    """The process that draws dialogs yields the processor to the one that learns."""
    os.nice(10)


class Trainer:
    """The loop over phases, with its model, optimisers and counters."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.seed = work, seed
        load_or_train(work / "tokenizer.json", seed, ModelShape.vocab_size)
        torch.manual_seed(seed)
        self.model = Decoder(ModelShape())
        self.compiled = torch.compile(self.model, dynamic=False)
        self.optimisers = Optimisers(self.model, MUON_RATE, ADAM_RATE)
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.ledger = Ledger(work / "losses.jsonl")
        self.step = self.tokens = self.saved_at = 0

    def run(self, plan: list[Phase]) -> None:
        """Train through all phases and save the end."""
        before = 0
        for phase in plan:
            done = min(phase.steps, max(0, self.step - before))
            before += phase.steps
            if done < phase.steps:
                self._train(phase, done)
        self.save("final.pt")

    def _train(self, phase: Phase, done: int) -> None:
        """Train the rest of a phase of which `done` steps were made."""
        batches = PackedBatches(str(self.work / "tokenizer.json"), phase, self.seed)
        loader = DataLoader(
            batches, batch_size=None, num_workers=1, prefetch_factor=8, worker_init_fn=_give_way
        )
        for number, batch in enumerate(loader):
            if number >= done:
                self._advance(batch, phase.rate_at(number))

    def _advance(self, batch: dict[str, Tensor], rate: float) -> None:
        scale = rate * min(1.0, (self.step + 1) / WARMUP_STEPS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.compiled(
                batch["tokens"], batch["positions"], packed_mask(batch["segments"]), batch["picked"]
            )
        losses = F.cross_entropy(logits.float(), batch["targets"], reduction="none")
        ((losses * batch["weights"]).sum() / batch["weights"].sum()).backward()
        self.optimisers.step(scale)
        self.ledger.note(losses, batch["weights"], batch["kinds"])
        self.step += 1
        self.tokens += batch["tokens"].numel()
        if self.step % AVERAGE_EVERY == 0:
            self._update_average()
        if self.step % LOG_EVERY == 0:
            self.ledger.report(self.step, self.tokens, scale)
        if self.tokens - self.saved_at >= SAVE_EVERY_TOKENS:
            self.saved_at = self.tokens
            self.save("latest.pt")

    @torch.no_grad()
    def _update_average(self) -> None:
        """Follow the weights with a short moving average: what ships is the average."""
        for name, parameter in self.model.named_parameters():
            self.average[name].lerp_(parameter, 1 - AVERAGE_KEPT)

    def save(self, name: str) -> None:
        """Write a checkpoint atomically."""
        state = {
            "model": self.average,
            "raw": self.model.state_dict(),
            "optimisers": self.optimisers.state(),
            "tokens": self.tokens,
            "step": self.step,
            "seed": self.seed,
            "seconds": round(time.time() - self.ledger.began),
        }
        torch.save(state, self.work / "part.tmp")
        (self.work / "part.tmp").rename(self.work / name)

    def resume(self, checkpoint: Path) -> None:
        """Go on where a checkpoint was written."""
        state = torch.load(checkpoint, weights_only=True)
        self.model.load_state_dict(state["raw"])
        self.average = state["model"]
        self.optimisers.load(state["optimisers"])
        self.step, self.tokens, self.saved_at = state["step"], state["tokens"], state["tokens"]
        self.ledger.began -= state["seconds"]


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--resume", type=Path, help="checkpoint to go on from")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    trainer = Trainer(options.work, options.seed)
    if options.resume:
        trainer.resume(options.resume)
    trainer.run(phases())


if __name__ == "__main__":
    main()
