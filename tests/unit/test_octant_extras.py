"""The octant object and the fields of a run: what is read, and what is refused with which words."""

import json
from typing import Any

import pytest

from octant.core.content import ChatInput
from octant.core.envelope import (
    ContextPolicy,
    ModelConstraints,
    OutputContract,
    Preference,
    RiskClass,
    SessionUse,
    ToolGrant,
    TraceSettings,
)
from octant.core.evidence import Classification, Document
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import SessionId
from octant.core.limits import Profile, RunBudget
from octant.core.units import NanoUsd
from octant.gateway.dialects.chat_completions import ChatCompletions
from octant.gateway.dialects.completions import Completions
from octant.gateway.dialects.dialect import Dialect, Question, Terms
from octant.gateway.dialects.octant_terms import check_schema
from octant.gateway.dialects.runs import Runs
from octant.gateway.settings import GatewaySettings

SETTINGS = GatewaySettings(max_documents=2, max_steps=6, max_repairs=2, max_tools=2)
SCHEMA = {"type": "object", "properties": {"total": {"type": "number"}}}
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
EVERYTHING: dict[str, Any] = {
    "profile": "batch",
    "deadline_ms": 5_000,
    "budget": {"tokens": 500, "cost_nano_usd": 9},
    "session": {"id": "ses_1", "expected_version": 3, "store": False},
    "documents": [
        {"id": "a", "text": "One.", "title": "T", "source": "s", "classification": "public"},
        {"id": "b", "text": "Two."},
    ],
    "context": {"max_tokens": 100, "require_citations": True},
    "tools": ["calculator"],
    "max_steps": 6,
    "output": {"json_schema": SCHEMA, "name": "bill", "max_repairs": 2},
    "risk": "high",
    "trace": {"record": False},
    "cache_salt": "s",
}
CONSTRAINTS: dict[str, Any] = {
    "capabilities": ["tools"],
    "residency": "local",
    "max_cost_nano_usd": 70,
    "prefer": "quality",
    "labels": ["precise", "precise"],
}


def run(**fields: Any) -> Question:
    body = {"model": "tiny", "input": "Hi"} | fields
    return Runs().read(json.dumps(body).encode(), SETTINGS)


def chat(octant: Any = None, **fields: Any) -> Question:
    body = {"model": "tiny", "messages": [USER], "octant": octant} | fields
    return ChatCompletions().read(json.dumps(body).encode(), SETTINGS)


def refusal(dialect: Dialect, **body: Any) -> Failure:
    with pytest.raises(Failed) as raised:
        question = dialect.read(json.dumps(body).encode(), SETTINGS)
        if question.terms.output is not None:
            check_schema(question.terms.output, dialect.extras_at)
    return raised.value.failure


def refused_run(**fields: Any) -> Failure:
    return refusal(Runs(), **({"model": "tiny", "input": "Hi"} | fields))


def refused_chat(octant: Any, **fields: Any) -> Failure:
    return refusal(
        ChatCompletions(), **({"model": "tiny", "messages": [USER], "octant": octant} | fields)
    )


def test_every_field_arrives_through_both_doors() -> None:
    expected = Terms(
        profile=Profile.BATCH,
        deadline_ms=5_000,
        cache_salt="s",
        budget=RunBudget(tokens=500, cost_nano_usd=NanoUsd(9)),
        session=SessionUse(id=SessionId("ses_1"), expected_version=3, store=False),
        context=ContextPolicy(
            documents=(
                Document(
                    id="a",
                    text="One.",
                    title="T",
                    source="s",
                    classification=Classification.PUBLIC,
                ),
                Document(id="b", text="Two."),
            ),
            max_tokens=100,
            require_citations=True,
        ),
        tools=ToolGrant(allowed=("calculator",), max_steps=6),
        output=OutputContract(json_schema=SCHEMA, name="bill", max_repairs=2),
        risk=RiskClass.HIGH,
        trace=TraceSettings(record=False),
    )
    model = ModelConstraints(
        name="tiny",
        capabilities=("tools",),
        residency="local",
        max_cost_nano_usd=NanoUsd(70),
        prefer=Preference.QUALITY,
        labels=("precise",),
    )
    native = run(**EVERYTHING, model={"name": "tiny"} | CONSTRAINTS)
    compatible = chat(EVERYTHING | {"model": CONSTRAINTS})
    assert (native.terms, native.model) == (expected, model)
    assert (compatible.terms, compatible.model) == (expected, model)


def test_null_and_nothing_are_the_defaults() -> None:
    nothing = dict.fromkeys(EVERYTHING)
    assert run(**nothing).terms == run().terms == Terms()
    assert chat(nothing | {"model": None}).terms == chat({}).terms == chat().terms == Terms()


def test_the_report_is_for_those_who_know_of_it() -> None:
    assert [chat().include_report, chat({}).include_report] == [False, True]
    assert run().include_report


def test_a_run_takes_text_messages_or_both_with_tools() -> None:
    asked = ChatInput(messages=chat().input.messages)  # type: ignore[union-attr]
    assert run().input == run(input=[USER]).input == run(input={"messages": [USER]}).input == asked
    proposed = run(input={"messages": [USER], "tools": [TOOL], "tool_choice": "none"}).input
    assert proposed == chat(tools=[TOOL], tool_choice="none").input


def test_a_runs_sampling_is_that_of_the_other_endpoints() -> None:
    sampling = {"temperature": 0.5, "n": 2, "stop": ["a"], "max_tokens": 9, "logit_bias": {"7": 1}}
    native = run(sampling=sampling | {"top_logprobs": 3})
    assert native.sampling == chat(**sampling, logprobs=True, top_logprobs=3).sampling
    assert run(sampling={}).sampling == chat().sampling


def test_an_image_needs_a_model_that_sees() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    asked = run(
        input=[{"role": "user", "content": [image]}],
        model={"name": "tiny", "capabilities": ["vision", "tools"]},
    )
    assert asked.model.capabilities == ("vision", "tools")


def test_settings_bound_the_defaults_too() -> None:
    tight = GatewaySettings(max_steps=2, max_repairs=0)
    body = {"model": "tiny", "input": "Hi", "output": {"json_schema": SCHEMA}}
    terms = Runs().read(json.dumps(body).encode(), tight).terms
    assert terms.tools.max_steps == 2
    assert terms.output is not None and terms.output.max_repairs == 0


DOCUMENT = {"id": "a", "text": "One."}


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"documents": [DOCUMENT | {"id": str(i)} for i in range(3)]}, "documents", "at most 2"),
        ({"documents": [DOCUMENT, DOCUMENT]}, "documents[1]", "'a' stands there twice"),
        ({"documents": [{"id": "", "text": "x"}]}, "documents[0].id", "1 to 128 characters"),
        ({"documents": [{"id": "a", "text": ""}]}, "documents[0].text", "At least one"),
        (
            {"documents": [DOCUMENT | {"classification": "secret"}]},
            "documents[0].classification",
            "public, internal",
        ),
        ({"context": {"require_citations": True}}, "context.require_citations", "documents"),
        ({"context": {"max_tokens": 0}}, "context.max_tokens", "1 or more"),
        ({"tools": ["a", "a"]}, "tools[1]", "'a' stands there twice"),
        ({"tools": ["a", "b", "c"]}, "tools", "at most 2"),
        ({"tools": ["not a name"]}, "tools[0]", "Names of Octant's own tools"),
        ({"max_steps": 0}, "max_steps", ">= 1"),
        ({"max_steps": 7}, "max_steps", "at most 6"),
        ({"output": {"json_schema": SCHEMA, "max_repairs": 3}}, "output.max_repairs", "at most 2"),
        ({"output": {"json_schema": {"type": "nope"}}}, "output.json_schema", "this schema"),
        (
            {"output": {"json_schema": {"$ref": "https://example.com/s"}}},
            "output.json_schema",
            "out of the schema",
        ),
        ({"output": {"json_schema": {"pattern": "(?=a)"}}}, "output.json_schema", "regex"),
        ({"budget": {"tokens": 0}}, "budget.tokens", "1 to 2147483648"),
        ({"budget": {"cost_nano_usd": -1}}, "budget.cost_nano_usd", "1 or more"),
        ({"session": {"id": ""}}, "session.id", "POST /v1/sessions"),
        ({"session": {"id": "s", "expected_version": -1}}, "session.expected_version", "0 or more"),
        ({"risk": "none"}, "risk", "low, medium or high"),
        ({"profile": "fast"}, "profile", "interactive"),
        ({"deadline_ms": 0}, "deadline_ms", "1 to 86400000"),
    ],
)
def test_a_bound_is_named_with_its_field(fields: dict[str, Any], param: str, says: str) -> None:
    native, compatible = refused_run(**fields), refused_chat(fields)
    assert native.kind is compatible.kind is FailureKind.INVALID_VALUE
    assert (native.param, compatible.param) == (param, f"octant.{param}")
    assert says in native.message
    assert says in compatible.message


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"session": {}}, FailureKind.MISSING_PARAMETER, "session.id"),
        ({"output": {}}, FailureKind.MISSING_PARAMETER, "output.json_schema"),
        ({"documents": [{"id": "a"}]}, FailureKind.MISSING_PARAMETER, "documents[0].text"),
        ({"output": {"json_schema": True}}, FailureKind.INVALID_TYPE, "output.json_schema"),
        ({"tools": "calculator"}, FailureKind.INVALID_TYPE, "tools"),
        ({"trace": {"record": "no"}}, FailureKind.INVALID_TYPE, "trace.record"),
    ],
)
def test_missing_and_mistyped_fields_have_their_place(
    fields: dict[str, Any], kind: FailureKind, param: str
) -> None:
    native, compatible = refused_run(**fields), refused_chat(fields)
    assert (native.kind, native.param) == (kind, param)
    assert (compatible.kind, compatible.param) == (kind, f"octant.{param}")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"sesion": {"id": "s"}}, "session"),
        ({"session": {"id": "s", "expected_verson": 1}}, "expected_version"),
        ({"documents": [{"id": "a", "txt": "x"}]}, "text"),
        ({"output": {"schema": {}}}, "json_schema"),
        ({"max_step": 1}, "max_steps"),
    ],
)
def test_an_unknown_field_is_refused_with_a_suggestion(fields: dict[str, Any], param: str) -> None:
    for failure in (refused_run(**fields), refused_chat(fields)):
        assert failure.kind is FailureKind.UNKNOWN_PARAMETER
        assert f"Did you mean '{param}'?" in failure.message


def test_a_field_that_resembles_none_is_left_out() -> None:
    assert "Leave it out" in refused_chat({"zzz": 1}).message
    assert refused_run(zzz=1).message == "Unrecognized request argument supplied: zzz"
    assert (
        "'temperature'"
        in refusal(ChatCompletions(), model="tiny", messages=[USER], temprature=1).message
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"session": {"id": "s"}},
        {"documents": [DOCUMENT]},
        {"tools": ["calculator"]},
        {"output": {"json_schema": SCHEMA}},
    ],
)
def test_a_raw_prompt_has_no_conversation(fields: dict[str, Any]) -> None:
    failure = refusal(Completions(), model="tiny", prompt="Once", octant=fields)
    assert failure.kind is FailureKind.UNSUPPORTED_PARAMETER
    assert failure.param == f"octant.{next(iter(fields))}"


def test_one_session_goes_on_from_one_answer() -> None:
    several: dict[str, Any] = {"sampling": {"n": 2}}
    for fields in ({"session": {"id": "s"}}, {"tools": ["calculator"]}):
        failure = refused_run(**several, **fields)
        assert failure.kind is FailureKind.UNSUPPORTED_PARAMETER
        assert failure.param in fields
    read_only = run(**several, session={"id": "s", "store": False})
    assert read_only.sampling.n == 2


def test_a_name_is_one_tool_only() -> None:
    failure = refused_run(input={"messages": [USER], "tools": [TOOL]}, tools=["look"])
    assert (failure.kind, failure.param) == (FailureKind.INVALID_VALUE, "tools")
    assert "Rename yours" in failure.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"sampling": {"temperature": 3}}, "sampling.temperature"),
        ({"sampling": {"n": 99}}, "sampling.n"),
        ({"sampling": {"logit_bias": {"x": 1}}}, "sampling.logit_bias"),
        ({"sampling": {"max_tokens": 1, "min_tokens": 2}}, "sampling.min_tokens"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "assistant"}]}, "input[0].content"),
        ({"input": {"messages": [{"role": "assistant"}]}}, "input.messages[0].content"),
        ({"version": 2}, "version"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"model": ""}, "model"),
        ({"model": {"name": "tiny", "labels": ["a b"]}}, "model.labels[0]"),
    ],
)
def test_a_runs_own_bounds(fields: dict[str, Any], param: str) -> None:
    failure = refused_run(**fields)
    assert (failure.kind, failure.param) == (FailureKind.INVALID_VALUE, param)


def test_a_format_that_is_not_enforced_points_to_one_that_is_checked() -> None:
    failure = refusal(
        ChatCompletions(),
        model="tiny",
        messages=[USER],
        response_format={"type": "json_schema", "json_schema": {}},
    )
    assert failure.kind is FailureKind.UNSUPPORTED_PARAMETER
    assert "octant.output" in failure.message
