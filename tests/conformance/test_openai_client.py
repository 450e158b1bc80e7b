"""The official OpenAI client against a real server with a real model."""

import asyncio
import math
from collections.abc import Iterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.support.server import RunningServer

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello! What can you do?"}]


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    """The official client; every test closes its connections."""
    with server.client() as opened:
        yield opened


def test_answers_with_usage_and_a_finish_reason(server: RunningServer, client: OpenAI) -> None:
    answer = client.chat.completions.create(model=server.model, messages=HELLO, temperature=0)
    choice, usage = answer.choices[0], answer.usage
    assert usage is not None
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "stop"
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_stream_says_what_the_whole_answer_says(server: RunningServer, client: OpenAI) -> None:
    whole = client.chat.completions.create(model=server.model, messages=HELLO, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model=server.model,
            messages=HELLO,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *spoken, last = chunks
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.created for chunk in chunks} == {chunks[0].created}
    assert spoken[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in spoken[1:])
    text = "".join(chunk.choices[0].delta.content or "" for chunk in spoken)
    assert text == whole.choices[0].message.content
    reasons = [c.choices[0].finish_reason for c in spoken if c.choices[0].finish_reason]
    assert reasons == ["stop"]
    assert all(chunk.usage is None for chunk in spoken)
    assert last.choices == []
    assert last.usage is not None and whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens


def test_log_probabilities_are_consistent(server: RunningServer, client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=server.model,
        messages=HELLO,
        temperature=0,
        max_tokens=8,
        logprobs=True,
        top_logprobs=5,
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    spoken = b"".join(bytes(position.bytes or []) for position in logprobs.content)
    assert spoken.decode() == answer.choices[0].message.content
    for position in logprobs.content:
        assert len(position.top_logprobs) == 5
        best = position.top_logprobs[0]
        assert position.logprob == pytest.approx(best.logprob), "greedy takes the most likely"
        values = [top.logprob for top in position.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) <= 1 + 1e-4


def test_n_gives_distinct_choices_that_a_seed_repeats(
    server: RunningServer, client: OpenAI
) -> None:
    def sample() -> list[str]:
        # Logits depend a little on what else is in the batch, so nothing else may be.
        server.wait_idle()
        # Raw text that the model was not trained on: what follows is anybody's guess.
        answer = client.completions.create(
            model=server.model, prompt="zq", n=4, seed=7, temperature=2, max_tokens=24
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        return [choice.text for choice in answer.choices]

    first = sample()
    assert len(set(first)) > 1
    assert sample() == first


def test_a_stop_string_ends_the_answer_before_itself(server: RunningServer, client: OpenAI) -> None:
    whole = client.chat.completions.create(model=server.model, messages=HELLO, temperature=0)
    text = whole.choices[0].message.content or ""
    stop = text[len(text) // 2 :][:4]
    cut = client.chat.completions.create(
        model=server.model, messages=HELLO, temperature=0, stop=[stop]
    )
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_max_tokens_ends_with_length(server: RunningServer, client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=server.model, messages=HELLO, temperature=0, max_completion_tokens=3
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert answer.choices[0].finish_reason == "length"


def test_completions_continue_and_echo_text(server: RunningServer, client: OpenAI) -> None:
    answer = client.completions.create(
        model=server.model, prompt="Hello", echo=True, max_tokens=4, temperature=0
    )
    choice = answer.choices[0]
    assert choice.text.startswith("Hello")
    assert answer.usage is not None and answer.usage.completion_tokens <= 4


def test_models_are_listed_and_found_by_name(server: RunningServer, client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [server.model]
    assert client.models.retrieve(server.model).id == server.model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_errors_become_the_classes_of_the_client(server: RunningServer, client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as invalid:
        client.chat.completions.create(model=server.model, messages=HELLO, temperature=-1)
    assert invalid.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="oct_wrong").models.list()
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": "word " * 5000}]
        )
    assert too_long.value.code == "context_length_exceeded"


def test_a_deadline_that_cannot_be_met_is_not_retried(
    server: RunningServer, client: OpenAI
) -> None:
    before = server.metric("octant_failures_total")
    with pytest.raises(openai.APIStatusError) as caught:
        client.with_options(max_retries=3).chat.completions.create(
            model=server.model,
            messages=HELLO,
            max_tokens=1500,
            extra_body={"ignore_eos": True},
            extra_headers={"x-octant-deadline-ms": "150"},
        )
    assert caught.value.status_code == 504
    assert caught.value.code in {"deadline_exceeded", "deadline_unreachable"}
    assert server.metric("octant_failures_total") == before + 1


async def test_64_concurrent_streams_all_complete(server: RunningServer) -> None:
    async def one(client: AsyncOpenAI, number: int) -> int:
        stream = await client.chat.completions.create(
            model=server.model,
            messages=[{"role": "user", "content": f"Hello number {number}"}],
            max_tokens=16,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        usage = [chunk.usage async for chunk in stream if chunk.usage]
        assert len(usage) == 1
        return usage[0].completion_tokens

    async with server.async_client() as client:
        counts = await asyncio.gather(*(one(client, number) for number in range(64)))
    assert counts == [16] * 64
    assert server.metric("vllm:num_requests_running") == 0
