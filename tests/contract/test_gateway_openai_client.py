"""The official openai client against the gateway: what it shows its user, and how it retries."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from octant.core.envelope import RequestEnvelope
from octant.core.failure import FailureKind
from octant.core.limits import DeadlineOrigin
from octant.core.stream import (
    ChoiceFinished,
    Completed,
    PositionLogprobs,
    StreamItem,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolRan,
)
from octant.core.units import NS_PER_MS
from octant.core.usage import FinishReason
from octant.gateway.settings import GatewaySettings
from tests.support.gateway import (
    HELLO,
    STARTED,
    USAGE,
    Gateway,
    broken,
    running_gateway,
    says,
)
from tests.support.run_summaries import ANSWER, summarised

USER: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running_gateway(GatewaySettings()) as running:
        yield running


async def ask(gateway: Gateway, **more: Any) -> Any:
    fields = {"model": "tiny", "messages": USER} | more
    async with gateway.openai() as client:
        return await client.chat.completions.create(**fields)


async def test_a_whole_answer(gateway: Gateway) -> None:
    completion = await ask(gateway)
    assert completion.choices[0].message.content == "Hello"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.prompt_tokens_details.cached_tokens == 4
    assert completion._request_id == gateway.path.envelopes[0].request_id


async def test_a_stream_with_usage(gateway: Gateway) -> None:
    async with gateway.openai() as client:
        stream = await client.chat.completions.create(
            model="tiny", messages=USER, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(said) == "Hello"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10


async def test_the_streaming_helper_rebuilds_the_message(gateway: Gateway) -> None:
    gateway.path.script = says(
        STARTED,
        TextDelta(0, "I look.", (1,)),
        ToolCallDelta(0, 0, "call_1", "look", ""),
        ToolCallDelta(0, 0, None, None, '{"at":'),
        ToolCallDelta(0, 0, None, None, '"sky"}'),
        ChoiceFinished(0, FinishReason.TOOL_CALLS),
        Completed(USAGE),
    )
    async with (
        gateway.openai() as client,
        client.chat.completions.stream(
            model="tiny",
            messages=USER,
            tools=[{"type": "function", "function": {"name": "look", "parameters": {}}}],
        ) as stream,
    ):
        choice = (await stream.get_final_completion()).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look."
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].function.arguments == '{"at":"sky"}'


async def test_logprobs(gateway: Gateway) -> None:
    token = TokenLogprob(1, "Hi", b"Hi", -0.5)
    gateway.path.script = says(
        STARTED,
        TextDelta(0, "Hi", (1,), (PositionLogprobs(token, (token,)),)),
        ChoiceFinished(0, FinishReason.LENGTH),
        Completed(USAGE),
    )
    completion = await ask(gateway, logprobs=True, top_logprobs=1)
    position = completion.choices[0].logprobs.content[0]
    assert (position.token, position.bytes, position.logprob) == ("Hi", [72, 105], -0.5)
    assert position.top_logprobs[0].token == "Hi"


async def test_completions(gateway: Gateway) -> None:
    async with gateway.openai() as client:
        whole = await client.completions.create(model="tiny", prompt="Once")
        stream = await client.completions.create(model="tiny", prompt=[1, 2], stream=True)
        texts = [chunk.choices[0].text async for chunk in stream]
    assert whole.choices[0].text == "Hello"
    assert "".join(texts) == "Hello"


async def test_models(gateway: Gateway) -> None:
    async with gateway.openai() as client:
        assert [model.id async for model in client.models.list()] == ["tiny", "org/other"]
        assert (await client.models.retrieve("org/other")).owned_by == "octant"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FailureKind.INVALID_VALUE, openai.BadRequestError),
        (FailureKind.CONTEXT_LENGTH_EXCEEDED, openai.BadRequestError),
        (FailureKind.POLICY_BLOCKED, openai.BadRequestError),
        (FailureKind.EXPIRED_API_KEY, openai.AuthenticationError),
        (FailureKind.PERMISSION_DENIED, openai.PermissionDeniedError),
        (FailureKind.MODEL_NOT_FOUND, openai.NotFoundError),
        (FailureKind.CONFLICT, openai.ConflictError),
        (FailureKind.RATE_LIMIT_EXCEEDED, openai.RateLimitError),
        (FailureKind.OVERLOADED, openai.InternalServerError),
        (FailureKind.DEADLINE_EXCEEDED, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_failures_become_the_right_exceptions(
    gateway: Gateway, kind: FailureKind, expected: type[openai.APIStatusError], stream: bool
) -> None:
    gateway.path.script = says(broken(kind, "Because.", param="model"))
    with pytest.raises(expected) as raised:
        await ask(gateway, stream=stream)
    assert (raised.value.code, raised.value.param) == (kind.value, "model")
    assert "Because." in raised.value.message
    assert raised.value.request_id == gateway.path.envelopes[0].request_id


async def test_a_failure_in_the_middle_raises_after_the_partial_text(gateway: Gateway) -> None:
    gateway.path.script = says(*HELLO[:4], broken(FailureKind.ENGINE_LOST, "The engine died."))
    said = ""
    async with gateway.openai() as client:
        stream = await client.chat.completions.create(model="tiny", messages=USER, stream=True)
        with pytest.raises(openai.APIError) as raised:
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
    assert said == "Hello"
    assert raised.value.code == "engine_lost"
    assert raised.value.message == "The engine died."


@pytest.mark.parametrize(
    ("kind", "requests"),
    [
        (FailureKind.OVERLOADED, 3),
        (FailureKind.RATE_LIMIT_EXCEEDED, 3),
        (FailureKind.ENGINE_LOST, 3),
        # Statuses that the client would retry of its own accord, were it not told otherwise.
        (FailureKind.INSUFFICIENT_QUOTA, 1),
        (FailureKind.DEADLINE_EXCEEDED, 1),
        (FailureKind.DEADLINE_UNREACHABLE, 1),
        (FailureKind.CONFLICT, 1),
        (FailureKind.INTERNAL_ERROR, 1),
        (FailureKind.INVALID_VALUE, 1),
    ],
)
async def test_the_client_retries_what_can_succeed_and_nothing_else(
    gateway: Gateway, kind: FailureKind, requests: int
) -> None:
    gateway.path.script = says(broken(kind, retry_after_ns=NS_PER_MS))
    async with gateway.openai(max_retries=2) as client:
        with pytest.raises(openai.APIStatusError):
            await client.chat.completions.create(model="tiny", messages=USER)
    assert len(gateway.path.envelopes) == requests


async def test_a_retry_succeeds(gateway: Gateway) -> None:
    async def second_time(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        if len(gateway.path.envelopes) == 1:
            yield broken(FailureKind.OVERLOADED, retry_after_ns=NS_PER_MS)
            return
        for item in HELLO:
            yield item

    gateway.path.script = second_time
    async with gateway.openai(max_retries=1) as client:
        completion = await client.chat.completions.create(model="tiny", messages=USER)
    assert completion.choices[0].message.content == "Hello"


async def test_the_clients_timeout_becomes_the_deadline(gateway: Gateway) -> None:
    async with gateway.openai(timeout=30) as client:
        await client.chat.completions.create(model="tiny", messages=USER)
    deadline = gateway.path.envelopes[0].deadline
    assert deadline.origin is DeadlineOrigin.CLIENT_TIMEOUT
    assert deadline.at_ns - gateway.path.envelopes[0].received_ns == 30_000 * NS_PER_MS


async def test_extras_go_through_the_clients_own_doors(gateway: Gateway) -> None:
    await ask(
        gateway,
        extra_body={"top_k": 5, "octant": {"profile": "critical"}},
        extra_headers={"x-octant-deadline-ms": "900"},
    )
    (envelope,) = gateway.path.envelopes
    assert envelope.sampling.top_k == 5
    assert envelope.profile.value == "critical"
    assert envelope.deadline.origin is DeadlineOrigin.HEADER


OCTANT: dict[str, Any] = {"octant": {"tools": ["calculator"], "session": {"id": "ses_1"}}}


async def test_the_report_comes_with_the_octant_object_and_only_then(gateway: Gateway) -> None:
    gateway.path.script = summarised(*HELLO)
    assert "octant" not in (await ask(gateway)).model_extra
    completion = await ask(gateway, extra_body=OCTANT)
    report = completion.model_extra["octant"]
    assert report["id"] == completion._request_id
    assert (report["route"]["id"], report["tools"][0]["tool"]) == ("tiny@2", "calculator")
    assert completion.choices[0].message.content == "Hello"


@pytest.mark.parametrize("include_usage", [False, True])
async def test_a_stream_brings_the_report_without_choices_at_its_end(
    gateway: Gateway, include_usage: bool
) -> None:
    gateway.path.script = summarised(*HELLO)
    async with gateway.openai() as client:
        stream = await client.chat.completions.create(
            model="tiny",
            messages=USER,
            stream=True,
            stream_options={"include_usage": include_usage},
            extra_body=OCTANT,
        )
        *spoken, last = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken) == "Hello"
    assert all("octant" not in (chunk.model_extra or {}) for chunk in spoken)
    assert last.choices == []
    assert (last.usage is not None) == include_usage
    assert last.model_extra is not None
    assert last.model_extra["octant"]["status"] == "completed"
    assert last.id == spoken[0].id


async def test_the_streaming_helper_takes_the_report(gateway: Gateway) -> None:
    gateway.path.script = summarised(*HELLO)
    async with (
        gateway.openai() as client,
        client.chat.completions.stream(
            model="tiny", messages=USER, extra_body={"octant": {}}
        ) as stream,
    ):
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == "Hello"


async def test_completions_bring_the_report_too(gateway: Gateway) -> None:
    gateway.path.script = summarised(*HELLO)
    extra: dict[str, Any] = {"octant": {"risk": "high"}}
    async with gateway.openai() as client:
        whole = await client.completions.create(model="tiny", prompt="Once", extra_body=extra)
        stream = await client.completions.create(
            model="tiny", prompt="Once", stream=True, extra_body=extra
        )
        *_, last = [chunk async for chunk in stream]
    for answer in (whole, last):
        assert answer.model_extra is not None
        assert answer.model_extra["octant"]["cost_nano_usd"] == 70
    assert gateway.path.envelopes[0].risk == "high"


async def test_a_tool_that_octant_ran_is_not_proposed(gateway: Gateway) -> None:
    ran = ToolRan("calculator", "{}", ANSWER)
    gateway.path.script = summarised(*HELLO[:2], ran, *HELLO[2:])
    for stream in (False, True):
        answer = await ask(gateway, stream=stream, extra_body=OCTANT)
        if stream:
            chunks = [chunk async for chunk in answer]
            assert all(not chunk.choices[0].delta.tool_calls for chunk in chunks if chunk.choices)
        else:
            assert answer.choices[0].message.tool_calls is None


async def test_a_failure_brings_class_stage_and_report(gateway: Gateway) -> None:
    gateway.path.script = summarised(broken(FailureKind.OUTPUT_INVALID, "No JSON."))
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        await ask(gateway, extra_body=OCTANT)
    assert raised.value.code == "output_invalid"
    body: Any = raised.value.body
    assert body["octant"] == {
        "class": "policy",
        "stage": "decode",
        "retry": "never",
        "request_id": raised.value.request_id,
    }
    assert raised.value.response.json()["octant"]["id"] == raised.value.request_id


async def test_a_failed_stream_brings_its_report_with_the_error(gateway: Gateway) -> None:
    gateway.path.script = summarised(*HELLO[:4], broken(FailureKind.ENGINE_LOST))
    response = await gateway.chat(stream=True, **OCTANT)
    last = json.loads(response.text.strip().rpartition("data: ")[2])
    assert last["error"]["code"] == "engine_lost"
    assert (last["octant"]["partial"], last["octant"]["completion_tokens"]) == (True, 3)
    assert last["octant"]["attempts"][0]["error"]["code"] == "engine_lost"


async def test_a_run_through_the_clients_own_post(gateway: Gateway) -> None:
    gateway.path.script = summarised(*HELLO)
    async with gateway.openai() as client:
        run: Any = await client.post(
            "/runs", cast_to=object, body={"model": "tiny", "input": "Hi", "metadata": {"a": "b"}}
        )
    assert (run["object"], run["output"]["text"], run["metadata"]) == ("run", "Hello", {"a": "b"})


async def test_a_failed_run_raises_as_any_failure(gateway: Gateway) -> None:
    gateway.path.script = summarised(broken(FailureKind.POLICY_BLOCKED, "A secret."))
    async with gateway.openai() as client:
        with pytest.raises(openai.BadRequestError) as raised:
            await client.post("/runs", cast_to=object, body={"model": "tiny", "input": "Hi"})
    assert raised.value.code == "policy_blocked"
    assert raised.value.response.json()["object"] == "run"


async def test_a_wrong_key(gateway: Gateway) -> None:
    async with gateway.openai(api_key="sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.chat.completions.create(model="tiny", messages=USER)
    assert raised.value.code == "invalid_api_key"


async def test_leaving_a_stream_early_ends_the_work(gateway: Gateway) -> None:
    async def endless(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        yield STARTED
        while True:
            yield TextDelta(0, "a", (1,))
            await asyncio.sleep(0)

    gateway.path.script = endless
    async with gateway.openai() as client:
        stream = await client.chat.completions.create(model="tiny", messages=USER, stream=True)
        await anext(aiter(stream))
        await stream.close()
        await gateway.path.left()
    assert gateway.path.unfinished == 1
