"""Evaluation: what a suite asks, how a reply is judged, what the counts mean (LC5).

Law: judging is pure and the same for every model: a case passes or it does not, a reply that never
came has failed, and every share is told with its number of cases and its 95 % interval. How a
question reaches a model is the caller's business (`Ask`).

    suite lines -> EvalCase -> request body -> Ask -> Reply -> passes -> TaskScore
"""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.lifecycle.checks import Check, Reply, passes

_Z_95 = 1.959964


class EvalCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question with its check; `messages` and `tools` have OpenAI's shapes."""

    id: str
    task: str
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    check: Check
    max_tokens: int


class Verdict(NamedTuple):
    """How one case went. `error` says why there was no reply to judge."""

    case: EvalCase
    passed: bool
    reply: Reply | None
    error: str | None


class TaskScore(NamedTuple):
    """One task: `low` and `high` bound the accuracy with 95 % confidence (Wilson).

    `recorded` is the accuracy written down beside the model, if it has one.
    """

    task: str
    cases: int
    correct: int
    low: float
    high: float
    recorded: float | None = None

    @property
    def accuracy(self) -> float:
        """Share of cases passed."""
        return self.correct / self.cases

    @property
    def below_record(self) -> bool:
        """Whether the recorded accuracy lies above what chance explains."""
        return self.recorded is not None and self.recorded > self.high


Ask = Callable[[EvalCase], Awaitable[Reply]]


def parse_suite(lines: Sequence[str], origin: str) -> tuple[EvalCase, ...]:
    """The cases of a JSONL suite. Raises Failed(INVALID_VALUE) with `origin` and the line."""
    cases: dict[str, EvalCase] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            case = msgspec.json.decode(line, type=EvalCase)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise _bad_suite(f"{origin}, line {number}: {error}.") from error
        if case.id in cases:
            raise _bad_suite(f"{origin}, line {number}: the id `{case.id}` occurs twice.")
        cases[case.id] = case
    if not cases:
        raise _bad_suite(f"{origin} holds no case.")
    return tuple(cases.values())


def request_body(case: EvalCase, model: str) -> dict[str, Any]:
    """The greedy chat completion request that asks the case's question."""
    body: dict[str, Any] = {
        "model": model,
        "messages": list(case.messages),
        "max_tokens": case.max_tokens,
        "temperature": 0,
    }
    return body | {"tools": list(case.tools)} if case.tools else body


async def run_suite(
    cases: Sequence[EvalCase], ask: Ask, concurrency: int, seen: Callable[[Verdict], None]
) -> tuple[Verdict, ...]:
    """Asks every case, at most `concurrency` at once; verdicts come back in suite order.

    `seen` is called with each verdict as it falls. A case whose `ask` raises Failed has failed;
    anything else that `ask` raises ends the run.
    """
    verdicts: dict[str, Verdict] = {}
    waiting = iter(cases)
    async with asyncio.TaskGroup() as workers:
        for _ in range(min(concurrency, len(cases))):
            workers.create_task(_work(waiting, ask, verdicts, seen))
    return tuple(verdicts[case.id] for case in cases)


def score(verdicts: Sequence[Verdict], recorded: Mapping[str, float]) -> tuple[TaskScore, ...]:
    """Scores by task, in the order in which tasks first appear."""
    counts: dict[str, list[bool]] = {}
    for verdict in verdicts:
        counts.setdefault(verdict.case.task, []).append(verdict.passed)
    return tuple(
        TaskScore(
            task, len(passed), sum(passed), *wilson(sum(passed), len(passed)), recorded.get(task)
        )
        for task, passed in counts.items()
    )


class Interval(NamedTuple):
    """Bounds of a share, both within 0 to 1."""

    low: float
    high: float


def wilson(correct: int, cases: int) -> Interval:
    """The Wilson score interval of `correct` in `cases` at 95 %; `cases` is at least 1."""
    share, spread = correct / cases, _Z_95 * _Z_95 / cases
    middle = (share + spread / 2) / (1 + spread)
    half = _Z_95 * math.sqrt(share * (1 - share) / cases + spread / (4 * cases)) / (1 + spread)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def recorded_accuracy(text: str, origin: str) -> dict[str, float]:
    """Accuracy by task from a model's `accuracy.json`. Raises Failed(INVALID_VALUE)."""
    try:
        tasks = json.loads(text)["tasks"]
        return {task: float(figures["accuracy"]) for task, figures in tasks.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _bad_suite(f"{origin} is not a record of accuracy: {error!r}.") from error


async def _work(
    waiting: Iterator[EvalCase],
    ask: Ask,
    verdicts: dict[str, Verdict],
    seen: Callable[[Verdict], None],
) -> None:
    for case in waiting:
        try:
            reply = await ask(case)
        except Failed as error:
            verdict = Verdict(case, False, None, str(error))
        else:
            verdict = Verdict(case, passes(case.check, reply), reply, None)
        verdicts[case.id] = verdict
        seen(verdict)


def _bad_suite(message: str) -> Failed:
    return Failed(Failure(kind=FailureKind.INVALID_VALUE, stage=Stage.VALIDATION, message=message))
