"""What a tool call and the evidence of a request cost: milliseconds, medians.

    python -m benchmarks.tools_and_evidence [--json]

Tools run through the runner as in the server, a fresh process for each call; the start of a bare
interpreter stands beside them. Evidence is counted with the tokenizer of the bundled model and
chosen for a budget of 1,024 tokens; what cutting and ranking alone take is beside it.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from tests.support.tools import invocation

from octant.adapters.huggingface.tokenizer import load_tokenizer
from octant.adapters.system.clock import SystemClock
from octant.adapters.tools.runner import IsolatedToolRunner
from octant.adapters.tools.settings import ToolSettings
from octant.cli import machine
from octant.context.citations import check
from octant.context.evidence import select
from octant.core.evidence import Document
from octant.orchestration.json_contract import Contract

ROUNDS = 25
SIZES = (4_000, 40_000, 400_000)
BUDGET_TOKENS = 1_024


def milliseconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median time of one call."""
    taken: list[float] = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started_s) * 1e3)
    return median(taken)


async def awaited(work: Callable[[], Awaitable[object]], rounds: int = ROUNDS) -> float:
    """Median time of one awaited call."""
    taken: list[float] = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - started_s) * 1e3)
    return median(taken)


async def of_tools() -> dict[str, float]:
    """One call at a time, then four at once."""
    runner = IsolatedToolRunner(ToolSettings(), SystemClock())
    calculator = invocation("calculator", expression="(17 + 4) * 2")
    clock = invocation("clock", timezone="Europe/Berlin")
    bare = [sys.executable, "-I", "-S", "-c", "0"]

    async def four() -> object:
        return await asyncio.gather(*(runner.run(calculator) for _ in range(4)))

    try:
        return {
            "interpreter_start_ms": milliseconds(lambda: subprocess.run(bare, env={})),
            "calculator_ms": await awaited(lambda: runner.run(calculator)),
            "clock_ms": await awaited(lambda: runner.run(clock)),
            "four_calculators_ms": await awaited(four),
        }
    finally:
        await runner.close()


def of_evidence() -> dict[str, float]:
    """Selection by characters of the documents, then checks of an answer."""
    tokenizer = load_tokenizer(_BUNDLED)
    figures: dict[str, float] = {}
    for size in SIZES:
        documents = _documents(size)

        def chosen(count: Callable[[str], int], given: list[Document] = documents) -> object:
            return select(given, "Which word7 is word21 of word3?", BUDGET_TOKENS, count)

        figures[f"evidence_{size}_ms"] = milliseconds(
            lambda c=chosen: c(lambda text: len(tokenizer.encode_untrusted(text))), 7
        )
        figures[f"cut_and_rank_{size}_ms"] = milliseconds(
            lambda c=chosen: c(lambda text: len(text) // 3), 7
        )
    evidence = select(_documents(4_000), "word7", 4_000, lambda text: len(text) // 3)
    answer = " ".join(f"{text[:80]}. [{i}]" for i, text in enumerate(evidence.texts, 1))
    figures["citations_ms"] = milliseconds(lambda: check(0, answer, evidence))
    figures["schema_compile_ms"] = milliseconds(lambda: Contract(_SCHEMA))
    contract = Contract(_SCHEMA)
    figures["schema_check_ms"] = milliseconds(lambda: contract.problems(_VALUE))
    return figures


_BUNDLED = Path(__file__).parents[1] / "src" / "octant" / "bundled" / "octant-mini"
_SCHEMA = {
    "type": "object",
    "properties": {f"field{i}": {"type": "string", "maxLength": 40} for i in range(20)},
    "required": ["field1"],
    "additionalProperties": False,
}
_VALUE = {f"field{i}": "value" for i in range(20)}


def _documents(chars: int) -> list[Document]:
    """Sixteen documents of made-up sentences, the same on every run."""
    chance = random.Random(2026)
    words = [f"word{i}" for i in range(2_000)]
    documents: list[Document] = []
    for number in range(16):
        sentences: list[str] = []
        while sum(map(len, sentences)) < chars // 16:
            sentences.append(" ".join(chance.choices(words, k=12)) + ".")
        text = " ".join(sentences)[: chars // 16]
        documents.append(Document(id=str(number), text=text))
    return documents


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    figures = asyncio.run(of_tools()) | of_evidence()
    measured = {name: round(value, 2) for name, value in figures.items()}
    record = {
        "benchmark": "tools_and_evidence",
        "figures": measured,
        "machine": machine.facts(),
        "versions": machine.versions(),
        "commit": machine.commit(),
    }
    if parser.parse_args().json:
        print(json.dumps(record))
    else:
        for name, value in measured.items():
            print(f"{name:<24}{value:10.2f}")


if __name__ == "__main__":
    main()
