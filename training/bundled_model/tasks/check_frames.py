"""Proof that no held-out frame is a training frame, and that none has a word of its own.

    python -m bundled_model.tasks.check_frames

Frames are compared by their words: without case, punctuation and names of holes. It prints the
size of every kind, the pools without held-out frames, and fails on a violation.
"""

import sys
from collections import defaultdict

from .core import SPLIT_KINDS, SPLITS, Split, is_split, load_sections, words_of


def violations(file: str) -> list[str]:
    """What is wrong in a file; prints its counts on the way."""
    found: dict[tuple[str, Split], set[str]] = defaultdict(set)
    bare: list[str] = []
    for section in load_sections(file):
        for kind in sorted({kind for kind, _ in section.frames}):
            if not is_split(file, section, kind):
                continue
            for split in SPLITS:
                found[kind, split].update(map(words_of, section.of(kind, split)))
            if not section.of(kind, "final"):
                bare.append(f"{section.name}/{kind}")
    trained = {
        word
        for (_, split), frames in found.items()
        if split == "train"
        for f in frames
        for word in f.split()
    }
    problems = [f"{file}: no held-out frame in {name}" for name in bare]
    for kind in sorted({kind for kind, _ in found}):
        train, validation, final = (found[kind, split] for split in SPLITS)
        print(
            f"{file:18}{kind:2}train {len(train):4} validation {len(validation):3} "
            f"final {len(final):3}"
        )
        problems += [
            f"{file}: in two splits: {f}"
            for f in (train & validation) | (train & final) | (validation & final)
        ]
        problems += [
            f"{file}: untrained word in: {f}"
            for f in validation | final
            if not set(f.split()) <= trained
        ]
    return problems


def main() -> int:
    """Check every file."""
    problems = [problem for file in SPLIT_KINDS for problem in violations(file)]
    print("\n".join(problems) or "no frame stands in two splits, no held-out word is untrained")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
