"""Chat completions: bodies become questions, items become bodies and chunks in OpenAI's shape."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from octant.core.content import ChatInput, ImagePart, Role, TextPart, ToolCall, ToolChoice
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import RequestId, RouteId, TraceId
from octant.core.limits import Profile
from octant.core.stream import (
    ChoiceFinished,
    Completed,
    PositionLogprobs,
    Started,
    StreamItem,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from octant.core.usage import FinishReason, Usage
from octant.gateway.dialects.chat_completions import ChatCompletions
from octant.gateway.dialects.dialect import Answering, Question
from octant.gateway.settings import GatewaySettings

SETTINGS = GatewaySettings()
USER: dict[str, Any] = {"role": "user", "content": "Hi"}
USAGE = Usage(prompt_tokens=7, cached_tokens=4, completion_tokens=3)
STARTED = Started(RouteId("local"), 1, 7)
POSITION = PositionLogprobs(
    TokenLogprob(5, "é", "é".encode(), -0.5),
    (TokenLogprob(5, "é", "é".encode(), -0.5), TokenLogprob(9, "e", b"e", -1.5)),
)


def read(**fields: Any) -> Question:
    body = {"model": "tiny", "messages": [USER]} | fields
    return ChatCompletions().read(json.dumps(body).encode(), SETTINGS)


def refusal(**fields: Any) -> Failure:
    with pytest.raises(Failed) as raised:
        read(**fields)
    return raised.value.failure


def answering(**fields: Any) -> Answering:
    return Answering(
        request_id=RequestId("req_" + "0" * 32),
        trace_id=TraceId("0" * 32),
        created_unix_s=1_700_000_000,
        question=read(**fields),
    )


def stream(*items: StreamItem, **fields: Any) -> list[dict[str, Any]]:
    """The chunks of a stream, checked against the client's own types."""
    answer = ChatCompletions().stream(answering(stream=True, **fields))
    data = b"".join(answer.events(item) for item in items) + answer.end(Completed(USAGE))
    events = [event.removeprefix(b"data: ") for event in data.split(b"\n\n")]
    assert events[-2:] == [b"[DONE]", b""]
    chunks = [json.loads(event) for event in events[:-2]]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=False)
    return chunks


def whole(*items: StreamItem, **fields: Any) -> dict[str, Any]:
    """The body, checked against the client's own type."""
    answer = ChatCompletions().whole(answering(**fields))
    for item in items:
        answer.add(item)
    body = json.loads(answer.body(Completed(USAGE)))
    ChatCompletion.model_validate(body)
    return body


def test_every_sampling_field_arrives() -> None:
    sampling = read(
        temperature=0.5, top_k=40, top_p=0.9, min_p=0.1, presence_penalty=-1, frequency_penalty=2,
        repetition_penalty=1.1, seed=-3, logprobs=True, top_logprobs=5, n=3, stop=["a", "b"],
        stop_token_ids=[1, 2], min_tokens=2, ignore_eos=True, logit_bias={"7": -100},
        max_completion_tokens=9,
    ).sampling  # fmt: skip
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.5, 40, 0.9)
    assert (sampling.min_p, sampling.presence_penalty, sampling.frequency_penalty) == (0.1, -1, 2)
    assert (sampling.repetition_penalty, sampling.seed, sampling.n) == (1.1, -3, 3)
    assert (sampling.top_logprobs, sampling.stop, sampling.stop_token_ids) == (
        5,
        ("a", "b"),
        (1, 2),
    )
    assert (sampling.min_tokens, sampling.ignore_eos, sampling.max_tokens) == (2, True, 9)
    assert sampling.logit_bias == {7: -100.0}


def test_null_means_the_default_everywhere() -> None:
    names = [name for name in ChatCompletions.fields if name not in ("model", "messages")]
    assert read(**dict.fromkeys(names)) == read()


def test_off_switches_are_normalised() -> None:
    assert read(top_k=-1).sampling.top_k == 0
    assert 0 < read(top_p=0).sampling.top_p < 1e-6
    assert read(logprobs=False).sampling.top_logprobs is None
    assert read(logprobs=True).sampling.top_logprobs == 0


def test_messages_of_every_role() -> None:
    question = read(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "annotations": [],
                "audio": None,
                "function_call": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ]
    )
    assert isinstance(question.input, ChatInput)
    system, user, assistant, tool = question.input.messages
    assert (system.role, system.text) == (Role.SYSTEM, "Be brief.")
    assert user.text == "ab"
    assert assistant.tool_calls == (ToolCall(id="c1", name="f", arguments="{}"),)
    assert (tool.role, tool.text, tool.tool_call_id) == (Role.TOOL, "42", "c1")


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    body = whole(
        STARTED,
        ToolCallDelta(0, 0, "call_1", "look", "{}"),
        ChoiceFinished(0, FinishReason.TOOL_CALLS),
    )
    returned = ChatCompletion.model_validate(body).choices[0].message
    question = read(messages=[USER, returned.model_dump(exclude_unset=True)])
    assert isinstance(question.input, ChatInput)
    assert question.input.messages[1].tool_calls[0].name == "look"


def test_an_image_asks_for_the_vision_capability() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    question = read(messages=[{"role": "user", "content": parts}])
    assert question.model.capabilities == ("vision",)
    assert isinstance(question.input, ChatInput)
    assert isinstance(question.input.messages[0].parts[0], ImagePart)
    assert read().model.capabilities == ()


def test_tools_and_their_choice() -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    asked = read(tools=[tool], tool_choice="none", parallel_tool_calls=True).input
    assert isinstance(asked, ChatInput)
    assert asked.tools[0].name == "look"
    assert asked.tool_choice is ToolChoice.NONE


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"store": True}, "store"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
            "tools[0].function.strict",
        ),
    ],
)
def test_what_is_not_enforced_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    failure = refusal(**fields)
    assert failure.kind is FailureKind.UNSUPPORTED_PARAMETER
    assert failure.param == param
    assert param.split("[")[0].split(".")[0] in failure.message or "strict" in failure.message


def test_fields_that_change_nothing_are_accepted() -> None:
    assert read(
        user="u", metadata={"a": "b"}, store=False, service_tier="auto", prompt_cache_key="k",
        safety_identifier="s", response_format={"type": "text"}, modalities=["text"],
        stream_options=None, reasoning_effort="none",
    ) == read()  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"x": 1}, FailureKind.UNKNOWN_PARAMETER, "x"),
        ({"messages": []}, FailureKind.INVALID_VALUE, "messages"),
        ({"messages": "Hi"}, FailureKind.INVALID_TYPE, "messages"),
        ({"messages": [USER | {"role": "x"}]}, FailureKind.INVALID_VALUE, "messages[0].role"),
        ({"messages": [{"content": "Hi"}]}, FailureKind.MISSING_PARAMETER, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, FailureKind.MISSING_PARAMETER, "messages[0].content"),
        ({"messages": [USER | {"mood": 1}]}, FailureKind.UNKNOWN_PARAMETER, "messages[0].mood"),
        ({"messages": [USER | {"content": []}]}, FailureKind.INVALID_VALUE, "messages[0].content"),
        ({"messages": [{"role": "assistant"}]}, FailureKind.INVALID_VALUE, "messages[0].content"),
        ({"messages": [USER] * 2_049}, FailureKind.INVALID_VALUE, "messages"),
        ({"model": 5}, FailureKind.INVALID_TYPE, "model"),
        ({"model": ""}, FailureKind.INVALID_VALUE, "model"),
        ({"temperature": 2.1}, FailureKind.INVALID_VALUE, "temperature"),
        ({"temperature": "hot"}, FailureKind.INVALID_TYPE, "temperature"),
        ({"n": 17}, FailureKind.INVALID_VALUE, "n"),
        ({"n": 0}, FailureKind.INVALID_VALUE, "n"),
        ({"max_tokens": 10**400}, FailureKind.INVALID_VALUE, "max_tokens"),
        ({"max_tokens": 1.5}, FailureKind.INVALID_TYPE, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, FailureKind.INVALID_VALUE, "max_tokens"),
        ({"max_tokens": 5, "min_tokens": 6}, FailureKind.INVALID_VALUE, "min_tokens"),
        ({"seed": 1 << 63}, FailureKind.INVALID_VALUE, "seed"),
        ({"stop": [""]}, FailureKind.INVALID_VALUE, "stop[0]"),
        ({"stop": ["x"] * 17}, FailureKind.INVALID_VALUE, "stop"),
        ({"top_logprobs": 3}, FailureKind.INVALID_VALUE, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, FailureKind.INVALID_VALUE, "top_logprobs"),
        ({"logit_bias": {"1": 101}}, FailureKind.INVALID_VALUE, "logit_bias"),
        ({"logit_bias": {"one": 1}}, FailureKind.INVALID_VALUE, "logit_bias"),
        ({"stream_options": {"include_usage": True}}, FailureKind.INVALID_VALUE, "stream_options"),
        ({"response_format": {"type": "xml"}}, FailureKind.INVALID_VALUE, "response_format.type"),
        ({"tool_choice": "maybe"}, FailureKind.INVALID_VALUE, "tool_choice"),
        ({"octant": {"profile": "fast"}}, FailureKind.INVALID_VALUE, "octant.profile"),
        ({"octant": {"speed": 1}}, FailureKind.UNKNOWN_PARAMETER, "octant.speed"),
        (
            {"tools": [{"type": "custom", "function": {"name": "a"}}]},
            FailureKind.INVALID_VALUE,
            "tools[0].type",
        ),
        ({"tools": [{"function": {"name": "a"}}]}, FailureKind.MISSING_PARAMETER, "tools[0].type"),
        *(
            (
                {"messages": [{"role": role, "content": [{"text": "a"}]} | more]},
                FailureKind.MISSING_PARAMETER,
                "messages[0].content[0].type",
            )
            for role, more in (
                ("system", {}),
                ("developer", {}),
                ("user", {}),
                ("assistant", {}),
                ("tool", {"tool_call_id": "c1"}),
            )
        ),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "text": "a"}]}]},
            FailureKind.INVALID_VALUE,
            "messages[0].content[0].type",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            FailureKind.INVALID_VALUE,
            "tools[0].function.name",
        ),
    ],
)  # fmt: skip
def test_bad_values_name_the_field(fields: dict[str, Any], kind: FailureKind, param: str) -> None:
    failure = refusal(**fields)
    assert (failure.kind, failure.param) == (kind, param)
    assert failure.message.endswith((".", "supplied: x"))


def test_unknown_fields_are_refused_in_openais_words() -> None:
    assert refusal(colour="red").message == "Unrecognized request argument supplied: colour"


def test_messages_state_the_bound_and_the_meaning() -> None:
    assert refusal(temperature=3).message == (
        "Invalid value for 'temperature': expected a number <= 2.0. "
        "0 to 2; 0 takes the most likely token. Default: the model's, else 1."
    )
    assert refusal(stream="yes").message == (
        "Invalid type for 'stream': expected a boolean or null, but got a string instead. "
        "true answers with server-sent events."
    )


def test_extras() -> None:
    question = read(
        octant={"profile": "batch", "deadline_ms": 5, "cache_salt": "s", "budget": {"tokens": 9}}
    )
    terms = question.terms
    assert terms.profile is Profile.BATCH
    assert (terms.deadline_ms, terms.cache_salt, terms.budget.tokens) == (5, "s", 9)


def test_a_whole_answer() -> None:
    body = whole(
        STARTED,
        TextDelta(0, "Hel", (1,)),
        TextDelta(0, "lo", (2,)),
        ChoiceFinished(0, FinishReason.LENGTH),
    )
    assert body["id"] == "chatcmpl-" + "0" * 32
    assert body["object"] == "chat.completion"
    assert body["system_fingerprint"].startswith("fp_")
    choice = body["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello", "length")
    assert choice["logprobs"] is None
    assert body["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 4},
    }


def test_a_whole_answer_of_calls_has_no_content() -> None:
    message = whole(
        STARTED,
        ToolCallDelta(0, 1, "b", "g", "{}"),
        ToolCallDelta(0, 0, "a", "f", '{"x":'),
        ToolCallDelta(0, 0, None, None, "1}"),
        ChoiceFinished(0, FinishReason.TOOL_CALLS),
    )["choices"][0]["message"]
    assert message["content"] is None
    assert [call["id"] for call in message["tool_calls"]] == ["a", "b"]
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":1}'}


def test_whole_logprobs() -> None:
    items = (STARTED, TextDelta(0, "é", (5,), (POSITION,)), ChoiceFinished(0, FinishReason.STOP))
    logprobs = whole(*items, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]
    assert logprobs == {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [195, 169],
                "top_logprobs": [
                    {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
                    {"token": "e", "logprob": -1.5, "bytes": [101]},
                ],
            }
        ],
        "refusal": None,
    }


def test_a_stream_has_role_first_and_one_finish_reason() -> None:
    chunks = stream(
        STARTED,
        TextDelta(0, "a\n", (1,)),
        TextDelta(0, "b", (2,)),
        ChoiceFinished(0, FinishReason.STOP),
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "a\n"},
        {"content": "b"},
        {},
    ]
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, None, "stop"]
    constant = {(c["id"], c["created"], c["model"], c["system_fingerprint"]) for c in chunks}
    assert len(constant) == 1
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_is_null_on_all_chunks_but_the_last() -> None:
    chunks = stream(
        STARTED,
        TextDelta(0, "a", (1,), (POSITION,)),
        ToolCallDelta(0, 0, "c", "f", ""),
        ChoiceFinished(0, FinishReason.STOP),
        stream_options={"include_usage": True},
    )
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 4
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 10


def test_a_choice_without_text_still_has_a_role() -> None:
    chunks = stream(STARTED, TextDelta(0, "", (1,)), ChoiceFinished(0, FinishReason.STOP))
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[1]["choices"][0]["finish_reason"] == "stop"


def test_choices_interleave_by_index() -> None:
    chunks = stream(
        STARTED,
        TextDelta(1, "x", (1,)),
        TextDelta(0, "y", (1,)),
        TextDelta(1, "z", (1,)),
        ChoiceFinished(1, FinishReason.LENGTH),
        ChoiceFinished(0, FinishReason.STOP),
        n=2,
    )
    texts = {0: "", 1: ""}
    roles = {0: 0, 1: 0}
    reasons: dict[int, list[str]] = {0: [], 1: []}
    for chunk in chunks:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
        roles[choice["index"]] += "role" in choice["delta"]
        if choice["finish_reason"]:
            reasons[choice["index"]].append(choice["finish_reason"])
    assert texts == {0: "y", 1: "xz"}
    assert roles == {0: 1, 1: 1}
    assert reasons == {0: ["stop"], 1: ["length"]}


def test_streamed_calls_name_themselves_once() -> None:
    chunks = stream(
        STARTED,
        ToolCallDelta(0, 0, "c1", "f", ""),
        ToolCallDelta(0, 0, None, None, '{"a"'),
        ToolCallDelta(0, 1, "c2", "g", "{}"),
        ChoiceFinished(0, FinishReason.TOOL_CALLS),
    )
    calls = [c["choices"][0]["delta"]["tool_calls"][0] for c in chunks[1:-1]]
    assert calls == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_streamed_logprobs_come_with_text_that_lags() -> None:
    chunks = stream(
        STARTED,
        TextDelta(0, "", (5,), (POSITION,)),
        ChoiceFinished(0, FinishReason.STOP),
        logprobs=True,
    )
    choice = chunks[1]["choices"][0]
    assert choice["delta"] == {"content": ""}
    assert choice["logprobs"]["content"][0]["token"] == "é"
    assert choice["logprobs"]["refusal"] is None


def test_the_fingerprint_follows_the_route() -> None:
    finished = ChoiceFinished(0, FinishReason.STOP)
    here = whole(Started(RouteId("a"), 1, 1), finished)["system_fingerprint"]
    assert here == stream(Started(RouteId("a"), 1, 1), finished)[0]["system_fingerprint"]
    assert here != whole(Started(RouteId("b"), 1, 1), finished)["system_fingerprint"]


def test_parts_keep_their_order() -> None:
    parts = [{"type": "text", "text": text} for text in "abc"]
    asked = read(messages=[{"role": "user", "content": parts}]).input
    assert isinstance(asked, ChatInput)
    assert asked.messages[0].parts == tuple(TextPart(text=text) for text in "abc")
