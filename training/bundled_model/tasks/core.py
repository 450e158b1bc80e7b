"""The words every task family speaks: splits, frames, dialogs and checks.

A frame is a sentence with holes. Frames stand in `frames/*.txt`, each in exactly one split, and
`check_frames.py` proves it. A dialog is a list of OpenAI-shaped messages in which every assistant
message is what the model should say; `checks` says how some of them are judged.
"""

import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Split = Literal["train", "validation", "final"]
SPLITS: tuple[Split, ...] = ("train", "validation", "final")
FRAMES_FOLDER = Path(__file__).parent / "frames"

Message = dict[str, Any]
Tool = dict[str, Any]


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


def load_sections(name: str) -> list[Section]:
    """Read `frames/<name>.txt`: `== section attributes`, then `kind[.split]: frame | frame`."""
    sections: list[Section] = []
    for line in (FRAMES_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("== "):
            title, *attributes = line[3:].split()
            sections.append(Section(title, tuple(attributes), {}))
            continue
        head, _, body = line.partition(": ")
        kind, _, split = head.partition(".")
        frames = [part.strip().replace("\\n", "\n") for part in body.split(" | ")]
        sections[-1].frames.setdefault((kind, split or "train"), []).extend(frames)
    return sections


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


HOLE = re.compile(r"{(\w+)}")


def fill(frame: str, **values: object) -> str:
    """Fill the holes of a frame; braces that are no hole stay."""
    return HOLE.sub(lambda hole: str(values[hole.group(1)]), frame)


def sentence_case(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
