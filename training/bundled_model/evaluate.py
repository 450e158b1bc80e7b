"""Free-running accuracy of an exported model on a suite, with the judge of every check kind.

    python -m bundled_model.evaluate --model ../src/octant/bundled/octant-mini --suite FILE

The exported IR is run as it is served (greedy, weights in 8 bit), not the checkpoint. With
`--record` the figures are written to `accuracy.json` beside the model.
"""

import argparse
import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from tokenizers import Tokenizer

from .export import EOS_IDS, write_json
from .rendering import render

TOOL_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
CLAIMED_FROM = 0.75
Case = dict[str, Any]
Figures = dict[str, dict[str, Any]]


class Runner:
    """The stateful IR, one conversation at a time, greedy."""

    def __init__(self, folder: Path, precision: str = "bf16") -> None:
        self.tokenizer = Tokenizer.from_file(str(self._beside(folder, "tokenizer.json")))
        core = ov.Core()
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        model = core.read_model(folder / "openvino_model.xml")
        self.request = core.compile_model(model, "CPU", options).create_infer_request()

    @staticmethod
    def _beside(folder: Path, name: str) -> Path:
        return folder / name if (folder / name).exists() else folder.parent / name

    def reply(self, text: str, max_tokens: int) -> str:
        """The raw text that follows `text`."""
        self.request.reset_state()
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        made: list[int] = []
        past = 0
        while len(made) < max_tokens:
            past += len(ids)
            logits = self.request.infer(
                {
                    "input_ids": np.array([ids]),
                    "attention_mask": np.ones((1, past), np.int64),
                    "position_ids": np.arange(past - len(ids), past)[None],
                    "beam_idx": np.zeros(1, np.int32),
                }
            )["logits"]
            ids = [int(logits[0, -1].argmax())]
            if ids[0] in EOS_IDS:
                break
            made += ids
        return self.tokenizer.decode(made, skip_special_tokens=False)


def tool_calls(reply: str) -> list[dict[str, Any]]:
    """The calls in a raw reply; one that is no JSON object counts as an empty call."""
    calls = []
    for body in TOOL_CALL.findall(reply):
        try:
            call = json.loads(body)
        except ValueError:
            call = {}
        calls.append(call if isinstance(call, dict) else {})
    return calls


def _is_json(check: Case, reply: str) -> bool:
    try:
        return json.loads(reply) == check["value"]
    except ValueError:
        return False


def _is_call(check: Case, reply: str) -> bool:
    return tool_calls(reply) == [{"name": check["name"], "arguments": check["arguments"]}]


def _is_cited(check: Case, reply: str) -> bool:
    marks = re.findall(r"\[\d+\]", reply)
    return (
        reply.rstrip().endswith(check["citation"])
        and marks == [check["citation"]]
        and any(text.lower() in reply.lower() for text in check["any_of"])
    )


def _is_refusal(check: Case, reply: str) -> bool:
    return (
        not tool_calls(reply)
        and not re.search(r"\[\d+\]", reply)
        and any(text.lower() in reply.lower() for text in check["any_of"])
    )


JUDGES: dict[str, Callable[[Case, str], bool]] = {
    "exact": lambda check, reply: reply.strip() == check["text"].strip(),
    "json": _is_json,
    "tool_call": _is_call,
    "cited": _is_cited,
    "contains": lambda check, reply: all(t.lower() in reply.lower() for t in check["all"]),
    "refusal": _is_refusal,
}


def wilson(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share."""
    share, spread = correct / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / total + spread / total / 4) / (1 + spread)
    return round(middle - half, 3), round(middle + half, 3)


def with_own_replies(runner: Runner, case: Case) -> list[dict[str, Any]]:
    """The conversation with the model's own replies in place of the written ones (not calls)."""
    messages: list[dict[str, Any]] = []
    for message in case["messages"]:
        if message["role"] == "assistant" and message.get("content"):
            text = render(messages, case.get("tools"), generate=True)
            message = message | {"content": runner.reply(text, case["max_tokens"])}
        messages.append(message)
    return messages


def judge(
    runner: Runner, suite: list[Case], shown: int, *, own_history: bool
) -> dict[str, Counter[str]]:
    """Run every case; print up to `shown` failures of each task."""
    results: dict[str, Counter[str]] = defaultdict(Counter)
    for case in suite:
        messages = with_own_replies(runner, case) if own_history else case["messages"]
        text = render(messages, case.get("tools"), generate=True)
        reply = runner.reply(text, case["max_tokens"])
        right = JUDGES[case["check"]["kind"]](case["check"], reply)
        results[case["task"]]["n"] += 1
        results[case["task"]]["correct"] += right
        if not right and results[case["task"]]["shown"] < shown:
            results[case["task"]]["shown"] += 1
            print(
                f"--- {case['id']} {json.dumps(case['check'])}\n{text[-600:]}\n>>> {reply}",
                flush=True,
            )
    return results


def summary(results: dict[str, Counter[str]]) -> Figures:
    """Accuracy and interval by task."""
    return {
        task: {
            "n": count["n"],
            "correct": count["correct"],
            "accuracy": round(count["correct"] / count["n"], 3),
            "interval_95": wilson(count["correct"], count["n"]),
        }
        for task, count in results.items()
    }


def main() -> None:
    """Evaluate, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--familiar", type=Path, help="a suite of trained phrasings, beside it")
    parser.add_argument("--limit", type=int, default=10_000, help="cases of each task at most")
    parser.add_argument("--show", type=int, default=0, help="failures of each task to print")
    parser.add_argument("--precision", default="bf16", choices=("f32", "bf16"))
    parser.add_argument(
        "--own-history",
        action="store_true",
        help="earlier replies are the model's own, not the written ones",
    )
    parser.add_argument("--record", type=Path, help="JSON with what to record beside the figures")
    options = parser.parse_args()
    runner = Runner(options.model, options.precision)
    tasks = measure(runner, options.suite, options)
    familiar = measure(runner, options.familiar, options) if options.familiar else {}
    if options.record:
        record(options, tasks, familiar)


def measure(runner: Runner, suite: Path, options: argparse.Namespace) -> Figures:
    """Run a suite and print the accuracy of its tasks."""
    cases = [json.loads(line) for line in suite.read_text(encoding="utf-8").splitlines()]
    kept = [case for case in cases if int(case["id"].rsplit("-", 1)[1]) <= options.limit]
    tasks = summary(judge(runner, kept, options.show, own_history=options.own_history))
    print(suite.name)
    for task, figures in tasks.items():
        print(
            f"{task:12} {figures['correct']:4}/{figures['n']:<4} {figures['accuracy']:.3f} "
            f"{figures['interval_95']}"
        )
    return tasks


def record(options: argparse.Namespace, tasks: Figures, familiar: Figures) -> None:
    """Write accuracy.json; a task below the limit is recorded, but not among the claimed ones."""
    about = json.loads(options.record.read_text(encoding="utf-8"))
    digest = hashlib.sha256((options.model / "openvino_model.bin").read_bytes()).hexdigest()
    claimed = {t: f for t, f in tasks.items() if f["accuracy"] >= CLAIMED_FROM}
    write_json(
        options.model / "accuracy.json",
        {
            "model": "octant-mini",
            "model_sha256": digest,
            "suite": options.suite.name,
            "decoding": f"greedy, free-running, int8 weights, {options.precision}",
            **about,
            "tasks": claimed,
            "not_claimed": {t: f for t, f in tasks.items() if t not in claimed},
            "trained_phrasings": familiar,
        },
    )


if __name__ == "__main__":
    main()
