"""Evaluation: what passes, what does not, and how sure a share is."""

import asyncio
import json
from typing import Any

import pytest

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.lifecycle.checks import (
    CalledTool,
    Check,
    Cited,
    Contains,
    Exact,
    Json,
    Refusal,
    Reply,
    ToolCall,
    passes,
)
from octant.lifecycle.evaluation import (
    EvalCase,
    Verdict,
    parse_suite,
    recorded_accuracy,
    request_body,
    run_suite,
    score,
    wilson,
)

CALL = ToolCall(name="add", arguments={"a": 1, "b": [True, "x"]})


def _call(name: str, arguments: Any) -> CalledTool:
    return CalledTool(name, arguments if isinstance(arguments, str) else json.dumps(arguments))


@pytest.mark.parametrize(
    ("check", "reply"),
    [
        (Exact("Yes."), Reply(" Yes.\n")),
        (Json({"a": 1, "b": None}), Reply('{"b": null, "a": 1.0}')),
        (CALL, Reply("", (_call("add", {"b": [True, "x"], "a": 1}),))),
        (Cited(("Paris",), "[2]"), Reply("It is paris [2] ")),
        (Contains(("Anna", "7")), Reply("anna has 7")),
        (Refusal(("cannot",)), Reply("I cannot do that.")),
    ],
)
def test_good_replies_pass(check: Check, reply: Reply) -> None:
    assert passes(check, reply)


@pytest.mark.parametrize(
    ("check", "reply"),
    [
        (Exact("Yes."), Reply("Yes")),
        (Json({"a": 1}), Reply('{"a": true}')),
        (Json({"a": 1}), Reply('{"a": 1, "b": 2}')),
        (Json([1, 2]), Reply("[2, 1]")),
        (Json([1]), Reply("[1, 1]")),
        (Json({"a": 1}), Reply('Sure: {"a": 1}')),
        (CALL, Reply("")),
        (CALL, Reply("", (_call("add", {"a": 1, "b": [1, "x"]}),))),
        (CALL, Reply("", (_call("sub", {"a": 1, "b": [True, "x"]}),))),
        (CALL, Reply("", (_call("add", CALL.arguments), _call("add", CALL.arguments)))),
        (CALL, Reply("", (_call("add", '{"a": 1,'),))),
        (Cited(("Paris",), "[2]"), Reply("It is Paris [1]")),
        (Cited(("Paris",), "[2]"), Reply("Paris [1] [2]")),
        (Cited(("Paris",), "[2]"), Reply("[2] Paris")),
        (Cited(("Paris",), "[2]"), Reply("Rome [2]")),
        (Contains(("Anna", "7")), Reply("Anna")),
        (Refusal(("cannot",)), Reply("I cannot [1]")),
        (Refusal(("cannot",)), Reply("I cannot", (_call("add", {}),))),
        (Refusal(("cannot",)), Reply("Sure!")),
    ],
)
def test_bad_replies_fail(check: Check, reply: Reply) -> None:
    assert not passes(check, reply)


def _line(case_id: str, task: str, **more: Any) -> str:
    case = {
        "id": case_id,
        "task": task,
        "messages": [{"role": "user", "content": case_id}],
        "check": {"kind": "exact", "text": "ok"},
        "max_tokens": 8,
    }
    return json.dumps(case | more)


def test_a_suite_becomes_greedy_requests() -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    first, second = parse_suite([_line("a-1", "a"), "", _line("b-1", "b", tools=tools)], "suite")

    assert request_body(first, "m") == {
        "model": "m",
        "messages": [{"role": "user", "content": "a-1"}],
        "max_tokens": 8,
        "temperature": 0,
    }
    assert request_body(second, "m")["tools"] == tools


@pytest.mark.parametrize(
    "line", ["{", _line("a", "a", check={"kind": "vibes"}), _line("a", "a", extra=1)]
)
def test_a_bad_line_is_named(line: str) -> None:
    with pytest.raises(Failed, match=r"my\.jsonl, line 2") as caught:
        parse_suite([_line("a-1", "a"), line], "my.jsonl")
    assert caught.value.failure.kind is FailureKind.INVALID_VALUE


def test_two_cases_of_one_name_are_refused() -> None:
    with pytest.raises(Failed, match="line 2: the id `a-1` occurs twice"):
        parse_suite([_line("a-1", "a"), _line("a-1", "b")], "my.jsonl")


def test_an_empty_suite_is_refused() -> None:
    with pytest.raises(Failed, match="holds no case"):
        parse_suite(["", " "], "my.jsonl")


async def test_a_suite_is_run_within_its_concurrency_and_failures_count() -> None:
    cases = parse_suite([_line(f"a-{n}", "a") for n in range(20)], "suite")
    running, most, seen = 0, 0, list[Verdict]()

    async def ask(case: EvalCase) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            if case.id == "a-7":
                raise Failed(
                    Failure(kind=FailureKind.OVERLOADED, stage=Stage.ADMISSION, message="Full.")
                )
            return Reply("ok" if case.id != "a-3" else "no")
        finally:
            running -= 1

    verdicts = await run_suite(cases, ask, 4, seen.append)

    assert most == 4
    assert [verdict.case.id for verdict in verdicts] == [case.id for case in cases]
    assert {v.case.id for v in verdicts if not v.passed} == {"a-3", "a-7"}
    assert len(seen) == 20
    (scored,) = score(verdicts, {"a": 0.999})
    assert (scored.cases, scored.correct, scored.accuracy) == (20, 18, 0.9)
    assert scored.low < 0.9 < scored.high
    assert scored.below_record


def test_wilson_intervals_match_the_published_ones() -> None:
    # R: prop.test(90, 100, correct = FALSE)
    assert wilson(90, 100) == pytest.approx((0.8256343, 0.9447708), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775328), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((0.7224672, 1.0), abs=1e-6)


def test_the_record_beside_a_model_is_read_or_refused() -> None:
    record = {"tasks": {"cite": {"n": 100, "accuracy": 0.97}}}

    assert recorded_accuracy(json.dumps(record), "accuracy.json") == {"cite": 0.97}
    for text in ("{", "[]", '{"tasks": {"cite": 1}}'):
        with pytest.raises(Failed, match=r"accuracy\.json"):
            recorded_accuracy(text, "accuracy.json")
