"""Runs: every body that the types allow is read or refused with a reason, whatever it says."""

import json
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import RequestId, TraceId
from octant.core.stream import Broken, Completed
from octant.core.summary import RunSummary
from octant.core.usage import Usage
from octant.gateway.dialects.chat_completions import ChatCompletions
from octant.gateway.dialects.dialect import Answering, Question, encode_json
from octant.gateway.dialects.octant_extras import OctantObject
from octant.gateway.dialects.run_report import report_of
from octant.gateway.dialects.run_shapes import RunResponse
from octant.gateway.dialects.runs import FIELDS, RunBody, Runs
from octant.gateway.fields import Field, Table, table
from octant.gateway.schemas import schema
from octant.gateway.settings import GatewaySettings
from tests.support.sent_strategies import sent
from tests.support.value_strategies import values_of

SETTINGS = GatewaySettings()
REQUEST = jsonschema_rs.validator_for(schema("run-request.v1"))
RESPONSE = jsonschema_rs.validator_for(schema("run-response.v1"))
REPORT = jsonschema_rs.validator_for(schema("octant-report.v1"))
OBJECT = jsonschema_rs.validator_for(schema("octant-object.v1"))
ASKED: dict[str, Any] = {"model": "tiny", "input": "Hi"}
# What a body that its types allow may still be refused for: bounds that are settings, and
# combinations.
LATE = {FailureKind.INVALID_VALUE, FailureKind.UNSUPPORTED_PARAMETER}


def answering() -> Answering:
    question = Runs().read(json.dumps(ASKED | {"sampling": {"n": 2}}).encode(), SETTINGS)
    return Answering(
        request_id=RequestId("req_1"), trace_id=TraceId("1"), created_unix_s=1, question=question
    )


@given(sent(RunBody))
def test_a_body_survives_and_fits_its_schema(body: dict[str, Any]) -> None:
    read = msgspec.convert(body, RunBody)
    assert msgspec.json.decode(msgspec.json.encode(read), type=RunBody) == read
    REQUEST.validate(body)


@given(sent(RunBody))
def test_a_body_is_read_or_refused_by_its_field(body: dict[str, Any]) -> None:
    try:
        question = Runs().read(json.dumps(body).encode(), SETTINGS)
    except Failed as error:
        assert error.failure.kind in LATE
        assert (error.failure.param or "").split(".")[0].split("[")[0] in FIELDS
        return
    assert isinstance(question, Question)
    assert question.model.name in (body["model"], _name(body["model"]))
    assert question.terms.tools.allowed == tuple(body.get("tools") or ())


@given(sent(OctantObject))
def test_the_octant_object_says_the_same_in_a_chat(extras: dict[str, Any]) -> None:
    OBJECT.validate(extras)
    model = extras.pop("model", None)
    native = ASKED | extras | {"model": {"name": "tiny"} | (model or {})}
    messages = [{"role": "user", "content": "Hi"}]
    chat = {"model": "tiny", "messages": messages, "octant": extras | {"model": model}}
    try:
        read = Runs().read(json.dumps(native).encode(), SETTINGS)
    except Failed as error:
        with pytest.raises(Failed) as raised:
            ChatCompletions().read(json.dumps(chat).encode(), SETTINGS)
        assert raised.value.failure.param == f"octant.{error.failure.param}"
        return
    asked = ChatCompletions().read(json.dumps(chat).encode(), SETTINGS)
    assert (asked.terms, asked.model, asked.input) == (read.terms, read.model, read.input)


def _name(model: Any) -> str:
    return model["name"] if isinstance(model, dict) else model


def places(fields: Table) -> list[tuple[tuple[str, ...], Field]]:
    """Every field of a table with the names on the way to it."""
    found = [((name,), field) for name, field in fields.items()]
    for name, field in fields.items():
        found += [((name, *way), inner) for way, inner in places(table(*field.inside))]
    return found


@settings(max_examples=200)
@given(st.sampled_from(places(FIELDS)), st.sampled_from("xyz"), st.booleans())
def test_a_misspelt_field_is_refused_with_the_right_one(
    place: tuple[tuple[str, ...], Field], letter: str, at_end: bool
) -> None:
    *around, name = place[0]
    misspelt = name + letter if at_end else letter + name
    value: Any = {misspelt: 1}
    for outer in reversed(around):
        value = {outer: [value] if outer == "documents" else value}
    with pytest.raises(Failed) as raised:
        Runs().read(json.dumps(ASKED | value).encode(), SETTINGS)
    failure = raised.value.failure
    assert failure.kind is FailureKind.UNKNOWN_PARAMETER
    assert f"Did you mean '{name}'?" in failure.message
    assert failure.param is not None and failure.param.endswith(misspelt)


@given(values_of(RunSummary))
def test_whatever_a_run_was_its_answer_fits_the_schema(summary: RunSummary) -> None:
    body = Runs().whole(answering()).body(Completed(summary.usage, summary))
    RESPONSE.validate(json.loads(body))
    read = msgspec.json.decode(body, type=RunResponse)
    assert (read.status, read.cost_nano_usd) == (summary.status, summary.cost_nano_usd)
    assert [tool.status for tool in read.tools] == [tool.status for tool in summary.tools]
    assert read.error is None


@given(values_of(Failure), st.none() | values_of(RunSummary))
def test_a_failed_run_is_a_run_with_an_error(failure: Failure, summary: RunSummary | None) -> None:
    body = Runs().whole(answering()).failure(Broken(failure, Usage(), summary))
    RESPONSE.validate(json.loads(body))
    read = msgspec.json.decode(body, type=RunResponse)
    assert read.error is not None
    assert (read.error.code, read.error.octant.stage) == (failure.kind, failure.stage)


@given(values_of(RunSummary))
def test_the_report_in_an_answer_fits_its_schema(summary: RunSummary) -> None:
    REPORT.validate(json.loads(encode_json(report_of(summary))))
