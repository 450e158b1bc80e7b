"""The words every task family speaks: splits, frames, dialogs and checks.

A frame is a sentence with holes. Frames stand in `frames/*.txt` in pools: all frames of one kind
in one section. The checksum of its words puts a frame into exactly one split; a frame with a word
that no training frame of its file has stays in training, so that held-out frames are new, their
words are not (`check_frames.py` proves both). A dialog is a list of OpenAI-shaped messages in which
every assistant message is what the model should say; `checks` says how some of them are judged.
"""

import json
import random
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

Split = Literal["train", "validation", "final"]
SPLITS: tuple[Split, ...] = ("train", "validation", "final")
FRAMES_FOLDER = Path(__file__).parent / "frames"
# The kinds of frames that are split, by file, and sections whose frames all splits share.
SPLIT_KINDS = {
    "calculator": "fwq",
    "cite": "fsq",
    "extract": "s",
    "extract_combined": "sfa",
    "facts": "sq",
    "recall": "sq",
    "recall_generic": "sq",
    "refusals": "s",
    "replies": "s",
    "tools": "a",
}
SHARED_SECTIONS = {"absent", "filler", "affix", "composed", "chain"}
HELD_OUT = {"final": 0.12, "validation": 0.08}
LEAST_POOL = 7
LEAST_USES = 3

Message = dict[str, Any]
Tool = dict[str, Any]
HOLE = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Section:
    """One block of a frame file: a name, its attributes, and frames by kind and split."""

    name: str
    attributes: tuple[str, ...]
    frames: dict[tuple[str, Split], list[str]]

    def of(self, kind: str, split: Split) -> list[str]:
        """The frames of one kind and split; an empty list if there are none."""
        return self.frames.get((kind, split), [])

    def pick(self, rng: random.Random, kind: str, split: Split) -> str:
        """One frame; kinds without held-out frames of their own share those of training."""
        return rng.choice(self.of(kind, split) or self.of(kind, "train"))


def words_of(frame: str) -> str:
    """The frame reduced to its words, in lower case; every hole is the same word."""
    return " ".join(re.findall(r"\w+", HOLE.sub("hole", frame).lower()))


def _read(name: str) -> list[Section]:
    """Read `frames/<name>.txt`: `== section attributes`, then `kind: frame | frame`."""
    sections: list[Section] = []
    for line in (FRAMES_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("== "):
            title, *attributes = line[3:].split()
            sections.append(Section(title, tuple(attributes), {}))
            continue
        kind, _, body = line.partition(":")
        frames = [part.strip().replace("\\n", "\n") for part in body.split(" | ")]
        sections[-1].frames.setdefault((kind, "train"), []).extend(frames)
    return sections


def is_split(file: str, section: Section, kind: str) -> bool:
    """Whether the frames of a pool are divided among the splits; some tools are held out whole."""
    whole = section.attributes[:1] in (("validation",), ("final",))
    return kind in SPLIT_KINDS.get(file, "") and section.name not in SHARED_SECTIONS and not whole


def _held_out(frames: list[str], uses: Counter[str]) -> dict[str, Split]:
    """The held-out frames of a pool by their words: the smallest checksums of those that may be."""
    pool = {words_of(frame) for frame in frames}
    fit = [words for words in pool if min(uses[word] for word in words.split()) >= LEAST_USES]
    order = sorted(set(fit) - {"hole", "hole hole"}, key=lambda words: zlib.crc32(words.encode()))
    if len(pool) < LEAST_POOL:
        return {}
    final = max(3 if len(pool) > 11 else 1, round(len(pool) * HELD_OUT["final"]))
    validation = max(1, round(len(pool) * HELD_OUT["validation"]))
    chosen: dict[str, Split] = dict.fromkeys(order[:final], "final")
    return chosen | dict.fromkeys(order[final : final + validation], "validation")


@cache
def load_sections(name: str) -> list[Section]:
    """The sections of a frame file, with every frame in its split."""
    sections = _read(name)
    pools = [(s, kind) for s in sections for kind, _ in list(s.frames) if is_split(name, s, kind)]
    frames = [(kind, words_of(f)) for s, kind in pools for f in s.of(kind, "train")]
    uses = Counter(word for _, words in set(frames) for word in set(words.split()))
    held: dict[tuple[str, str], Split] = {}
    trained: set[tuple[str, str]] = set()
    for section, kind in pools:
        chosen = _held_out(section.of(kind, "train"), uses)
        for words in map(words_of, section.of(kind, "train")):
            key = (kind, words)
            if words in chosen and key not in trained:
                held.setdefault(key, chosen[words])
            elif key not in held:
                trained.add(key)
    _keep_own_words(held, frames)
    for section, kind in pools:
        everything = section.frames.pop((kind, "train"))
        for frame in everything:
            split = held.get((kind, words_of(frame)), "train")
            section.frames.setdefault((kind, split), []).append(frame)
    return sections


def _keep_own_words(held: dict[tuple[str, str], Split], frames: list[tuple[str, str]]) -> None:
    """Give back to training, until none is left, what has a word that training lacks."""
    while True:
        known = Counter(word for key in frames if key not in held for word in key[1].split())
        alien = [key for key in held if any(word not in known for word in key[1].split())]
        if not alien:
            return
        for key in alien:
            del held[key]


def section_map(name: str) -> dict[str, Section]:
    """The sections of a frame file by name."""
    return {section.name: section for section in load_sections(name)}


@dataclass
class Dialog:
    """A conversation with its declared tools; `checks` maps a message index to its judge."""

    task: str
    messages: list[Message] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    checks: dict[int, dict[str, Any]] = field(default_factory=dict)

    def user(self, text: str) -> None:
        """Append a user message."""
        self.messages.append({"role": "user", "content": text})

    def assistant(self, text: str, check: dict[str, Any] | None = None) -> None:
        """Append the reply that the model should give, and how it is judged."""
        if check is not None:
            self.checks[len(self.messages)] = check
        self.messages.append({"role": "assistant", "content": text})

    def call(self, name: str, arguments: dict[str, Any], *, judged: bool = True) -> None:
        """Append a tool call that the model should make."""
        if judged:
            check = {"kind": "tool_call", "name": name, "arguments": arguments}
            self.checks[len(self.messages)] = check
        call_id = f"call_{len(self.messages)}"
        function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
        calls = [{"id": call_id, "type": "function", "function": function}]
        self.messages.append({"role": "assistant", "content": None, "tool_calls": calls})

    def result(self, content: str) -> None:
        """Append what the tool of the last call returned."""
        call_id = self.messages[-1]["tool_calls"][0]["id"]
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": content})

    def extend(self, other: "Dialog") -> None:
        """Append another dialog's messages and checks (its system message must be absent)."""
        shift = len(self.messages)
        self.messages.extend(other.messages)
        self.checks.update({index + shift: check for index, check in other.checks.items()})
        self.tools.extend(tool for tool in other.tools if tool not in self.tools)


def fill(frame: str, **values: object) -> str:
    """Fill the holes of a frame; braces that are no hole stay."""
    return HOLE.sub(lambda hole: str(values[hole.group(1)]), frame)


def sentence_case(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
