"""The model card: fixed text around the figures of accuracy.json, so that it claims only those."""

import json
import os
import platform
from pathlib import Path

CARD_FILE = Path(__file__).parent / "card.md"
TASKS = {
    "cite": "answer from given texts, with the mark of the text",
    "not_stated": "say that the given texts do not answer",
    "extract": "extract named fields to one JSON object",
    "tool_call": "call a declared tool with the right arguments",
    "tool_result": "report the result of a tool in a sentence",
    "calculator": "turn arithmetic in words into a calculator call",
    "recall": "recall a fact said earlier in the conversation",
    "refuse": "refuse what it was not made for",
    "talk": "greetings and questions about itself",
}
CLAIMED_FROM = 0.75


def describe_machine() -> str:
    """The processor and the number of cores, without the name of the machine."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(": ", 1)[1] for line in info.read_text(encoding="utf-8").splitlines()
                  if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores"


def write_card(folder: Path) -> None:
    """Write MODEL_CARD.md beside the accuracy it reports; a task below the limit is not claimed."""
    record = json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))
    rows = ["| task | correct | accuracy | 95 % interval |", "|---|---|---|---|"]
    for task, figures in record["tasks"].items():
        if figures["accuracy"] >= CLAIMED_FROM:
            low, high = figures["interval_95"]
            rows.append(f"| `{task}`: {TASKS[task]} | {figures['correct']} of {figures['n']} "
                        f"| {figures['accuracy']:.0%} | {low:.0%} to {high:.0%} |")
    text = CARD_FILE.read_text(encoding="utf-8")
    facts = {"table": "\n".join(rows), "digest": record["model_sha256"], "seed": record["seed"],
             "tokens": f"{record['training_tokens'] / 1e6:.1f} million",
             "minutes": round(record["training_seconds"] / 60), "machine": record["machine"]}
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", str(value))
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
