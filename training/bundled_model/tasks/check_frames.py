"""Proof that no held-out frame is also a training frame: run it, it fails or prints the counts.

    python -m bundled_model.tasks.check_frames

Frames are compared without case, punctuation and names of holes. Tools and rules (`tools.txt`,
`policy.txt`) belong to a split as whole sections, so their requests are compared as well.
"""

import re
import sys
from collections import defaultdict

from .core import FRAMES_FOLDER, HOLE, SPLITS, Section, Split, load_sections

NO_FRAMES = {"words"}
WHOLE_SECTIONS = {"tools", "policy"}
SHARED_KINDS = {"p", "r", "k", "x", "n"}


def normalised(frame: str) -> str:
    """The frame reduced to its words."""
    return " ".join(re.findall(r"\w+", HOLE.sub("hole", frame).lower()))


def _split_of(file: str, section: Section, split: Split) -> Split:
    return section.attributes[0] if file in WHOLE_SECTIONS else split  # type: ignore[return-value]


def frames_by_split(file: str) -> dict[tuple[str, Split], set[str]]:
    """Normalised frames of a file by kind and split."""
    found: dict[tuple[str, Split], set[str]] = defaultdict(set)
    for section in load_sections(file):
        for (kind, split), frames in section.frames.items():
            if kind not in SHARED_KINDS:
                found[kind, _split_of(file, section, split)].update(map(normalised, frames))
    return found


def main() -> int:
    """Compare every pair of splits in every file."""
    clashes = []
    for path in sorted(FRAMES_FOLDER.glob("*.txt")):
        if path.stem in NO_FRAMES:
            continue
        found = frames_by_split(path.stem)
        kinds = sorted({kind for kind, _ in found})
        for kind in kinds:
            sizes = [len(found[kind, split]) for split in SPLITS]
            print(
                f"{path.stem:18} {kind:3} train {sizes[0]:4} validation {sizes[1]:3} "
                f"final {sizes[2]:3}"
            )
            for one, other in (
                ("train", "validation"),
                ("train", "final"),
                ("validation", "final"),
            ):
                common = found[kind, one] & found[kind, other]
                clashes += [f"{path.stem}: {one} and {other}: {frame}" for frame in common]
    print("\n".join(clashes) or "no frame stands in two splits")
    return 1 if clashes else 0


if __name__ == "__main__":
    sys.exit(main())
