"""The held-out suites: about a hundred cases per task, drawn from one split.

    python -m bundled_model.suite --split final --out ../src/octant/bundled/octant-mini/eval

A case is the beginning of a dialog, up to the judged reply, and how that reply is judged.
"""

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .tasks.calculator import calculator_dialog
from .tasks.cite import cite
from .tasks.core import Dialog, Split
from .tasks.extract import extract
from .tasks.mixture import compound
from .tasks.recall import recall
from .tasks.talk import refuse, small_talk
from .tasks.tools import bystanders, tool_dialog

SEED = 4_711
CASES = 100
LARGEST_BYTES = 1_000
MAX_TOKENS = {"extract": 128, "refuse": 96, "talk": 96}

Case = dict[str, Any]


def _cases(dialog: Dialog, kinds: set[str]) -> list[tuple[int, dict[str, Any]]]:
    return [(i, check) for i, check in sorted(dialog.checks.items()) if check["kind"] in kinds]


def _last(dialog: Dialog, *kinds: str) -> tuple[int, dict[str, Any]]:
    """The last judged reply of the given kinds: it has the longest history."""
    return _cases(dialog, set(kinds))[-1]


def _talk(rng: random.Random, split: Split) -> tuple[Dialog, int, dict[str, Any]]:
    dialog = Dialog("talk")
    small_talk(dialog, rng, split)
    check = {"kind": "contains", "all": [dialog.messages[1]["content"].split(". ")[0].rstrip(".")]}
    return dialog, 1, check


def _refuse(rng: random.Random, split: Split) -> tuple[Dialog, int, dict[str, Any]]:
    dialog = Dialog("refuse")
    if rng.random() < 0.25:
        dialog.tools = bystanders(rng, split, 1)
    refuse(dialog, rng, split)
    return dialog, *_last(dialog, "refusal")


def _recall(rng: random.Random, split: Split) -> tuple[Dialog, int, dict[str, Any]]:
    dialog = compound(rng, split) if rng.random() < 0.3 else recall(rng, split)
    return dialog, *_last(dialog, "contains")


def _result(rng: random.Random, split: Split) -> tuple[Dialog, int, dict[str, Any]]:
    make = calculator_dialog if rng.random() < 0.25 else tool_dialog
    dialog = make(rng, split)
    return dialog, *_last(dialog, "contains")


def _with(make: Callable[[random.Random, Split], Dialog], *kinds: str) -> Callable[..., Any]:
    def build(rng: random.Random, split: Split) -> tuple[Dialog, int, dict[str, Any]]:
        dialog = make(rng, split)
        return dialog, *_last(dialog, *kinds)

    return build


def _first_absent(rng: random.Random, split: Split) -> tuple[Dialog, int, dict[str, Any]]:
    dialog = cite(rng, split, absent=True)
    return dialog, *_cases(dialog, {"refusal"})[0]


TASKS: dict[str, Callable[[random.Random, Split], tuple[Dialog, int, dict[str, Any]]]] = {
    "cite": _with(lambda rng, split: cite(rng, split, absent=False), "cited"),
    "not_stated": _first_absent,
    "extract": _with(extract, "json"),
    "tool_call": _with(tool_dialog, "tool_call"),
    "new_tool": _with(lambda rng, split: tool_dialog(rng, split, new=True), "tool_call"),
    "tool_result": _result,
    "calculator": _with(calculator_dialog, "tool_call"),
    "recall": _recall,
    "refuse": _refuse,
    "talk": _talk,
}


def _line(task: str, number: int, dialog: Dialog, index: int, check: dict[str, Any]) -> str:
    """One case as a line of the suite."""
    case: Case = {"id": f"{task}-{number:03}", "task": task, "messages": dialog.messages[:index]}
    if dialog.tools:
        case["tools"] = dialog.tools
    case |= {"check": check, "max_tokens": MAX_TOKENS.get(task, 64)}
    return json.dumps(case, ensure_ascii=False, separators=(",", ":"))


def build(split: Split, cases: int = CASES) -> list[str]:
    """All cases of a split as lines, without repetition and none too long."""
    suite: list[str] = []
    for task, make in TASKS.items():
        rng = random.Random(f"{SEED}/{split}/{task}")
        seen: set[str] = set()
        for _ in range(cases * 20):
            dialog, index, check = make(rng, split)
            line = _line(task, len(seen) + 1, dialog, index, check)
            key = json.dumps([dialog.messages[:index], dialog.tools])
            if key in seen or len(line.encode()) > LARGEST_BYTES:
                continue
            seen.add(key)
            suite.append(line)
            if len(seen) == cases:
                break
    return suite


def main() -> None:
    """Write the suite of a split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("train", "validation", "final"), default="final")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.split}.jsonl"
    path.write_text("\n".join(build(options.split)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
