"""One command from nothing to what ships: train, export, build the suite, evaluate, write the card.

python -m bundled_model --work build --out ../src/octant/bundled/octant-mini
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from .card import describe_machine, drop_unclaimed, write_card

# Keep freed memory, in large pages: a step allocates gigabytes, and on Linux this saves a seventh
# of its time. Other systems ignore it.
ALLOCATION = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0"
    ":glibc.malloc.trim_threshold=17179869184"
}


def run(module: str, *arguments: object) -> None:
    """Run a part of this package as its own process; its failure ends the whole."""
    command = [sys.executable, "-m", f"{__package__}.{module}", *map(str, arguments)]
    print("$", " ".join(command), flush=True)
    subprocess.run(command, check=True, env=os.environ | ALLOCATION)


def write_record(work: Path) -> Path:
    """What accuracy.json says beside the figures: how the model came about."""
    state = torch.load(work / "final.pt", weights_only=True)
    record = work / "record.json"
    record.write_text(
        json.dumps(
            {
                "seed": state["seed"],
                "training_tokens": state["tokens"],
                "training_seconds": state["seconds"],
                "machine": describe_machine(),
            }
        ),
        encoding="utf-8",
    )
    return record


def main() -> None:
    """Read the command line and run every part in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--out", type=Path, required=True, help="folder that ships")
    parser.add_argument("--threads", type=int, default=2, help="of the training")
    parser.add_argument("--skip-training", action="store_true", help="use the trained checkpoint")
    options = parser.parse_args()
    run("tasks.check_frames")
    if not options.skip_training:
        run("train", "--work", options.work, "--threads", options.threads)
    run("export", "--work", options.work, "--out", options.out)
    run("package", "--out", options.out)
    run("suite", "--split", "final", "--out", options.out / "eval")
    run("suite", "--split", "train", "--out", options.work)
    run(
        "evaluate",
        "--model",
        options.out,
        "--suite",
        options.out / "eval" / "final.jsonl",
        "--familiar",
        options.work / "train.jsonl",
        "--record",
        write_record(options.work),
    )
    write_card(options.out)
    drop_unclaimed(options.out)


if __name__ == "__main__":
    main()
