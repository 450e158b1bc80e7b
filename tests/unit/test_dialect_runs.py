"""Runs: items become run objects and events, whole, streamed and failed."""

import json
from typing import Any

import jsonschema_rs
from msgspec.structs import replace

from octant.core.failure import Failure, FailureKind
from octant.core.ids import RequestId, RouteId, TraceId
from octant.core.outcome import OutcomeStatus
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    PositionLogprobs,
    Started,
    StreamItem,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolRan,
)
from octant.core.usage import FinishReason, Usage
from octant.gateway.dialects.dialect import Answering
from octant.gateway.dialects.runs import Runs
from octant.gateway.schemas import schema
from octant.gateway.settings import GatewaySettings
from tests.support.run_summaries import ANSWER, USAGE, run_summary

STARTED = Started(RouteId("tiny@2"), 2, 7)
STOP = ChoiceFinished(0, FinishReason.STOP, "END")
RAN = ToolRan("calculator", '{"expression":"6*7"}', ANSWER)
LOST = Failure(
    kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="It died.", param="octant.output"
)
RESPONSE = jsonschema_rs.validator_for(schema("run-response.v1"))
EVENT = jsonschema_rs.validator_for(schema("run-event.v1"))


def answering(**fields: Any) -> Answering:
    body = {"model": "tiny", "input": "Hi"} | fields
    return Answering(
        request_id=RequestId("req_1"),
        trace_id=TraceId("1" * 32),
        created_unix_s=1_700_000_000,
        question=Runs().read(json.dumps(body).encode(), GatewaySettings()),
    )


def whole(*items: StreamItem, end: Completed | Broken, **fields: Any) -> dict[str, Any]:
    """The body, checked against the schema."""
    answer = Runs().whole(answering(**fields))
    for item in items:
        answer.add(item)
    body = answer.body(end) if isinstance(end, Completed) else answer.failure(end)
    said = json.loads(body)
    RESPONSE.validate(said)
    return said


def events(*items: StreamItem, end: Completed | Broken, **fields: Any) -> list[dict[str, Any]]:
    """The data of the events, checked against the schema and their own names."""
    answer = Runs().stream(answering(stream=True, **fields))
    data = b"".join(answer.events(item) for item in items)
    data += answer.end(end) if isinstance(end, Completed) else answer.failure(end)
    found: list[dict[str, Any]] = []
    for event in data.decode().split("\n\n")[:-1]:
        name, _, said = event.partition("\n")
        found.append(json.loads(said.removeprefix("data: ")))
        EVENT.validate(found[-1])
        assert name == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def test_a_completed_run_says_everything() -> None:
    said = whole(
        STARTED,
        RAN,
        TextDelta(0, "It is ", (1,)),
        TextDelta(0, "42 [1].", (2,)),
        STOP,
        end=Completed(USAGE, run_summary()),
        metadata={"case": "7"},
    )
    assert (said["id"], said["object"], said["version"]) == ("req_1", "run", 1)
    assert (said["status"], said["error"], said["model"]) == ("completed", None, "tiny")
    assert said["created"] == 1_700_000_000
    assert said["output"] == {
        "text": "It is 42 [1].",
        "structured": None,
        "tool_calls": [],
        "finish_reason": "stop",
        "stop": "END",
        "logprobs": None,
        "choices": [],
    }
    assert said["route"]["id"] == "tiny@2"
    assert [attempt["route"] for attempt in said["attempts"]] == ["tiny@1", "tiny@2"]
    assert said["attempts"][0]["error"]["octant"]["class"] == "execution"
    assert said["attempts"][1]["error"] is None
    assert said["decisions"][0]["findings"] == {"card": 1}
    assert (said["evidence"][0]["document_id"], said["citations"][0]["supported"]) == ("a", True)
    assert said["session"] == {"id": "ses_1", "version": 4, "messages_added": 2}
    assert said["stages"] == [{"stage": "decode", "duration_ns": 9}]
    assert said["usage"] == {
        "prompt_tokens": 7,
        "cached_tokens": 4,
        "completion_tokens": 3,
        "total_tokens": 10,
    }
    assert (said["cost_nano_usd"], said["duration_ns"], said["review"]) == (70, 11, "none")
    assert said["metadata"] == {"case": "7"}


def test_a_tool_is_shown_with_what_it_was_given_and_gave() -> None:
    (tool,) = whole(STARTED, RAN, STOP, end=Completed(USAGE, run_summary()))["tools"]
    assert (tool["status"], tool["side_effect"]) == ("succeeded", "read")
    assert (tool["arguments"], tool["result"]) == ('{"expression":"6*7"}', "42")


def test_calls_with_one_id_are_each_shown_with_their_own_result() -> None:
    """Upstreams can begin to count anew with every answer."""
    answers = [replace(ANSWER.outcome, step=step) for step in (1, 2, 3)]
    ran = [RAN._replace(answer=ANSWER._replace(outcome=outcome)) for outcome in answers[:2]]
    ran[1] = ran[1]._replace(arguments="{}", answer=ran[1].answer._replace(content="7"))
    summary = run_summary(tools=tuple(answers))
    tools = whole(STARTED, *ran, STOP, end=Completed(USAGE, summary))["tools"]
    assert [(tool["step"], tool["result"]) for tool in tools] == [(1, "42"), (2, "7"), (3, None)]


def test_a_run_starts_once_however_many_routes_were_tried() -> None:
    names = [event["type"] for event in events(STARTED, STARTED, STOP, end=Completed(USAGE))]
    assert names.count("run.started") == 1


def test_structured_output_is_there_when_it_was_checked() -> None:
    text = TextDelta(0, '{"total": 42}', (1,))
    checked = run_summary(output_valid=True)
    assert whole(text, STOP, end=Completed(USAGE, checked))["output"]["structured"] == {"total": 42}
    for summary in (run_summary(), run_summary(output_valid=False)):
        said = whole(text, STOP, end=Completed(USAGE, summary))
        assert said["output"]["structured"] is None


def test_several_choices_stand_side_by_side() -> None:
    said = whole(
        STARTED,
        TextDelta(1, "b", (1,)),
        TextDelta(0, "a", (1,)),
        ChoiceFinished(1, FinishReason.LENGTH),
        STOP,
        end=Completed(USAGE, run_summary()),
        sampling={"n": 2},
    )["output"]
    assert [choice["text"] for choice in said["choices"]] == ["a", "b"]
    assert [choice["finish_reason"] for choice in said["choices"]] == ["stop", "length"]
    assert said["text"] == "a"


def test_calls_of_the_callers_tools_are_proposed() -> None:
    items = (
        STARTED,
        ToolCallDelta(0, 0, "call_9", "look", ""),
        ToolCallDelta(0, 0, None, None, '{"at":'),
        ToolCallDelta(0, 0, None, None, '"sky"}'),
        ChoiceFinished(0, FinishReason.TOOL_CALLS),
    )
    end = Completed(USAGE, run_summary())
    proposed = {"id": "call_9", "name": "look", "arguments": '{"at":"sky"}'}
    assert whole(*items, end=end)["output"]["tool_calls"] == [proposed]
    said = events(*items, end=end)
    assert [event["type"] for event in said[1:4]] == ["run.tool_call.delta"] * 3
    assert said[-1]["run"]["output"]["tool_calls"] == [proposed]


def test_log_probabilities_are_the_tokens_own() -> None:
    token = TokenLogprob(5, "é", "é".encode(), -0.5)
    said = whole(
        TextDelta(0, "é", (5,), (PositionLogprobs(token, (token,)),)),
        STOP,
        end=Completed(USAGE, run_summary()),
        sampling={"top_logprobs": 1},
    )
    shown = {"text": "é", "bytes": [195, 169], "logprob": -0.5}
    assert said["output"]["logprobs"] == [shown | {"top": [shown]}]


def test_a_stream_ends_with_what_the_body_would_have_been() -> None:
    items = (STARTED, TextDelta(0, "Hel", (1,)), TextDelta(0, "", (2,)), TextDelta(0, "lo", (3,)))
    end = Completed(USAGE, run_summary())
    said = events(*items, RAN, STOP, end=end)
    assert [event["type"] for event in said] == [
        "run.started",
        "run.text.delta",
        "run.text.delta",
        "run.tool.finished",
        "run.completed",
    ]
    assert said[0] == {
        "type": "run.started",
        "sequence_number": 0,
        "id": "req_1",
        "trace_id": "1" * 32,
        "created": 1_700_000_000,
        "model": "tiny",
        "route": "tiny@2",
        "prompt_tokens": 7,
    }
    assert said[3]["tool"]["result"] == "42"
    assert said[-1]["run"] == whole(*items, RAN, STOP, end=end)


def test_a_failed_run_keeps_what_was_said_and_names_the_failure() -> None:
    summary = run_summary(status=OutcomeStatus.PARTIAL, failure=LOST)
    said = whole(STARTED, TextDelta(0, "Hel", (1,)), end=Broken(LOST, USAGE, summary))
    assert (said["status"], said["output"]["text"]) == ("partial", "Hel")
    assert said["output"]["finish_reason"] is None
    assert said["error"] == {
        "message": "It died.",
        "type": "server_error",
        "param": "output",
        "code": "engine_lost",
        "octant": {
            "class": "execution",
            "stage": "decode",
            "retry": "other_route",
            "request_id": "req_1",
        },
    }
    assert said["cost_nano_usd"] == 70


def test_a_run_that_the_edge_ended_is_a_run_too() -> None:
    end = Broken(LOST, Usage())
    nothing = whole(STARTED, end=end)
    assert (nothing["id"], nothing["trace_id"]) == ("req_1", "1" * 32)
    assert (nothing["status"], nothing["route"], nothing["stages"]) == ("failed", None, [])
    assert whole(STARTED, TextDelta(0, "a", (1,)), end=end)["status"] == "partial"
    ran = whole(STARTED, RAN, end=end)
    assert (ran["status"], ran["tools"][0]["result"]) == ("partial", "42")


def test_a_failed_stream_ends_with_the_run_as_far_as_it_came() -> None:
    said = events(STARTED, TextDelta(0, "Hel", (1,)), end=Broken(LOST, Usage()))
    assert [event["type"] for event in said] == ["run.started", "run.text.delta", "run.failed"]
    assert said[-1]["run"]["error"]["code"] == "engine_lost"
    assert said[-1]["run"]["output"]["text"] == "Hel"
