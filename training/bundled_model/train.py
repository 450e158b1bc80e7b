"""Training: one command from nothing to a checkpoint, sized in tokens, reproducible by its seed.

    python -m bundled_model.train --work build

It owns the recipe (phases, rates) and the loop; batches, model and optimisers live beside it. The
signal USR1 ends a phase early and prints its tokens, so that the run can be repeated.
"""

import argparse
import json
import signal
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from .batches import FAMILIES, PackedBatches, Phase
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
    """Copying, short rows, marks of texts, then all; two falls of the rate, the second smaller."""
    marks, plain = Shares(warmup=0.02, marks=0.6), Shares(warmup=0.01, marks=0.02)
    long_talks = Shares(warmup=0.01, marks=0.02, long_talk=0.08)
    return [
        Phase("copy", 1_000_000, 256, 16, Shares(warmup=0.5), 0.1, 0.5),
        Phase("short", 2_000_000, 256, 16, Shares(warmup=0.1), 0.1, 0.5),
        Phase("marks", 3_000_000, 256, 16, marks, 0.0, 0.5),
        Phase("main", 1_000_000, 512, 10, Shares(warmup=0.02, marks=0.05), 0.02, 0.4),
        Phase("long", 500_000, 1024, 6, long_talks, 0.0, 0.4),
        Phase("decay", 6_500_000, 512, 10, plain, 0.0, 0.4, rate=(1.0, 0.0)),
        Phase("again", 2_500_000, 512, 10, plain, 0.0, 0.4, rate=(0.6, 0.5)),
        Phase(
            "pairs", 5_000_000, 512, 10, Shares(marks=0.01, pairs=0.15), 0.0, 0.4, rate=(0.5, 0.05)
        ),
        Phase("finish", 800_000, 1024, 6, long_talks, 0.0, 0.4, rate=(0.05, 0.0)),
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


class Trainer:
    """The loop over phases, with its model, optimisers and counters."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.seed, self.hurry = work, seed, False
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
            done = min(phase.steps, max(0, self.tokens - before) // phase.batch_tokens)
            before += phase.steps * phase.batch_tokens
            if done < phase.steps and not self._finished(phase, done):
                before = self.tokens
        self.save("final.pt")

    def _finished(self, phase: Phase, done: int) -> bool:
        """Train the rest of a phase; false if it was left early."""
        batches = PackedBatches(str(self.work / "tokenizer.json"), phase, self.seed)
        loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=8)
        for number, batch in enumerate(loader):
            if number < done:
                continue
            if self.hurry:
                print(f"{phase.name} ends after {number * phase.batch_tokens} tokens", flush=True)
                self.hurry = False
                return False
            self._advance(batch, phase.batch_tokens, phase.rate_at(number))
        return True

    def finish_soon(self, *_: object) -> None:
        """Go to the next phase with the next batch."""
        self.hurry = True

    def _advance(self, batch: dict[str, Tensor], batch_tokens: int, rate: float) -> None:
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
        self.tokens += batch_tokens
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
    signal.signal(signal.SIGUSR1, trainer.finish_soon)
    trainer.run(phases())


if __name__ == "__main__":
    main()
