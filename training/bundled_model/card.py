"""The model card: fixed text around the figures of accuracy.json, so that it claims only those."""

import json
import os
import platform
from pathlib import Path
from typing import Any

CARD_FILE = Path(__file__).parent / "card.md"
TASKS = {
    "cite": "answer from given texts, with the mark of the text",
    "not_stated": "say that the given texts do not answer",
    "extract": "extract named fields to one JSON object",
    "tool_call": "call a declared tool with the right arguments",
    "new_tool": "call a tool that no training text has",
    "tool_result": "report the result of a tool in a sentence",
    "calculator": "turn arithmetic in words into a calculator call",
    "recall": "recall a fact said earlier in the conversation",
    "refuse": "refuse what it was not made for",
    "talk": "greetings and questions about itself",
}


USES = {
    "cite": "an answer quoted from given texts with its mark",
    "extract": "fields of a text as one JSON object",
    "tool_call": "calls of declared tools",
    "tool_result": "sentences made of tool results",
    "calculator": "a calculator call instead of guessed arithmetic",
    "recall": "memory of the conversation",
    "refuse": "polite refusals",
}


def _uses(claimed: dict[str, Any]) -> str:
    """What the claimed tasks are good for, as a list in words."""
    named = [use for task, use in USES.items() if task in claimed]
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else "".join(named)


def describe_machine() -> str:
    """The processor and the number of cores, without the name of the machine."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(": ", 1)[1]
            for line in info.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores"


def _row(task: str, figures: dict[str, Any]) -> str:
    low, high = figures["interval_95"]
    return (
        f"| `{task}`: {TASKS[task]} | {figures['correct']} of {figures['n']} "
        f"| {figures['accuracy']:.0%} | {low:.0%} to {high:.0%} |"
    )


def drop_unclaimed(folder: Path) -> None:
    """Take the tasks that the model cannot do out of the suite that ships."""
    record = json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))
    suite = folder / "eval" / record["suite"]
    lines = suite.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if json.loads(line)["task"] not in record["not_claimed"]]
    suite.write_text("\n".join(kept) + "\n", encoding="utf-8")


def write_card(folder: Path) -> None:
    """Write MODEL_CARD.md beside the accuracy it reports."""
    record = json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))
    head = ["| task | correct | accuracy | 95 % interval |", "|---|---|---|---|"]
    table = "\n".join(head + [_row(*item) for item in record["tasks"].items()])
    if record["not_claimed"]:
        weak = [_row(*item) for item in record["not_claimed"].items()]
        table += (
            "\n\nMeasured below 75 %, therefore not claimed and not in the suite:\n\n"
            + "\n".join(head + weak)
        )
    familiar = ", ".join(
        f"`{task}` {figures['accuracy']:.0%}"
        for task, figures in record["trained_phrasings"].items()
    )
    text = CARD_FILE.read_text(encoding="utf-8")
    facts = {
        "uses": _uses(record["tasks"]),
        "table": table,
        "familiar": familiar,
        "digest": record["model_sha256"],
        "seed": record["seed"],
        "tokens": f"{record['training_tokens'] / 1e6:.1f} million",
        "minutes": round(record["training_seconds"] / 60),
        "machine": record["machine"],
    }
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", str(value))
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
