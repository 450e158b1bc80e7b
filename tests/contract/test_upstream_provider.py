"""An OpenAI-compatible server as a provider: what is sent, what comes back, what is held."""

import asyncio
from typing import Any

import pytest

from octant.adapters.openai_upstream.provider import UpstreamProvider
from octant.adapters.openai_upstream.session import open_session
from octant.adapters.openai_upstream.settings import UpstreamSettings
from octant.core.content import (
    ChatInput,
    ImagePart,
    Message,
    Role,
    TextPart,
    TextPrompt,
    ToolCall,
    ToolDefinition,
)
from octant.core.failure import FailureKind
from octant.core.route import DeploymentState
from octant.core.sampling import Sampling
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    Started,
    TextDelta,
    ToolCallDelta,
)
from octant.core.units import NS_PER_MS
from octant.core.usage import FinishReason, Usage
from tests.support.faulty_upstream import ANSWER, HEAD, Reply, delta, event, streamed, usage
from tests.support.upstreams import CLOCK, ROUTE, Events, spare, until, work

WHOLE = streamed(*ANSWER)


def begun(chunk: Any) -> Reply:
    """An answer of which only one event ever comes."""
    piece = event(chunk)
    return Reply([HEAD + b"%x\r\n%s\r\n" % (len(piece), piece)], hang=True)


async def test_an_answer_comes_with_the_upstreams_own_count() -> None:
    async with spare(WHOLE) as made:
        items = await made.ask(work())
    started, *rest = items
    assert isinstance(started, Started)
    assert started.route == ROUTE
    assert rest == [
        TextDelta(0, "Hello wörld", ()),
        ChoiceFinished(0, FinishReason.STOP),
        Completed(Usage(prompt_tokens=7, completion_tokens=3)),
    ]


async def test_the_request_is_what_the_caller_asked_for_under_the_upstreams_name() -> None:
    talk = ChatInput(
        messages=(
            Message(role=Role.SYSTEM, parts=(TextPart(text="Be brief."),)),
            Message(
                role=Role.USER,
                parts=(TextPart(text="What is it?"), ImagePart(url="https://x/a.png")),
            ),
            Message(
                role=Role.ASSISTANT, tool_calls=(ToolCall(id="c1", name="look", arguments="{}"),)
            ),
            Message(role=Role.TOOL, parts=(TextPart(text="a cat"),), tool_call_id="c1"),
        ),
        tools=(ToolDefinition(name="look", parameters={"type": "object"}),),
    )
    sampling = Sampling(max_tokens=9, temperature=0.0, stop=("x",), top_k=5, top_logprobs=2)
    async with spare(WHOLE, api_key="sk-secret") as made:
        await made.ask(work(attempt=2, input=talk, sampling=sampling))
        (asked,) = made.server.asked
    assert asked.line == "POST /v1/chat/completions HTTP/1.1"
    assert asked.body == {
        "model": "their-model",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "https://x/a.png", "detail": "auto"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "look", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "content": "a cat", "tool_call_id": "c1"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look",
                    "description": "",
                    "parameters": {"type": "object"},
                },
            }
        ],
        "tool_choice": "auto",
        "max_tokens": 9,
        "temperature": 0.0,
        "stop": ["x"],
        "top_k": 5,
        "logprobs": True,
        "top_logprobs": 2,
    }
    assert asked.headers["authorization"] == "Bearer sk-secret"
    assert asked.headers["x-request-id"] == "req_1"
    assert asked.headers["x-octant-attempt"] == "2"
    assert asked.headers["traceparent"] == f"00-{'1'.zfill(32)}-{'2'.zfill(16)}-01"
    assert 0 < int(asked.headers["x-octant-deadline-ms"]) <= 30_000


async def test_defaults_are_left_out_and_raw_text_goes_to_completions() -> None:
    said = [{"choices": [{"index": 0, "text": "ok", "finish_reason": "length"}]}, "[DONE]"]
    async with spare(streamed(*said)) as made:
        items = await made.ask(work(input=TextPrompt(text="Once")))
        (asked,) = made.server.asked
    assert asked.line == "POST /v1/completions HTTP/1.1"
    assert asked.body == {
        "model": "their-model",
        "stream": True,
        "stream_options": {"include_usage": True},
        "prompt": "Once",
    }
    assert items[1:3] == [TextDelta(0, "ok", ()), ChoiceFinished(0, FinishReason.LENGTH)]


async def test_tool_calls_come_as_they_are_sent_and_are_numbered_from_nought() -> None:
    def call(index: int, arguments: str, **head: str) -> object:
        function = {"arguments": arguments} | ({"name": head["name"]} if head else {})
        entry = {"index": index, "function": function} | ({"id": head["id"]} if head else {})
        return delta(tool_calls=[entry])

    events = [
        call(3, "", id="a", name="f"),
        call(3, '{"x"'),
        call(7, "{}", id="b", name="g"),
        call(3, ":1}"),
        delta(finish="tool_calls"),
        "[DONE]",
    ]
    async with spare(streamed(*events)) as made:
        items = await made.ask(work())
    assert items[1:-1] == [
        ToolCallDelta(0, 0, "a", "f", ""),
        ToolCallDelta(0, 0, None, None, '{"x"'),
        ToolCallDelta(0, 1, "b", "g", "{}"),
        ToolCallDelta(0, 0, None, None, ":1}"),
        ChoiceFinished(0, FinishReason.TOOL_CALLS),
    ]


@pytest.mark.parametrize(
    "counts",
    [(), (usage(10**9, 3),), (usage(7, 10**9),)],
    ids=["none", "more prompt than fits", "more answer than fits"],
)
async def test_without_a_count_that_can_be_true_tokens_are_estimated_and_marked(
    counts: tuple[object, ...],
) -> None:
    events = [delta("x" * 40), delta(finish="stop"), *counts, "[DONE]"]
    async with spare(streamed(*events)) as made:
        items = await made.ask(work())
    (started, *_, completed) = items
    assert isinstance(started, Started)
    assert isinstance(completed, Completed)
    assert completed.usage == Usage(
        prompt_tokens=started.prompt_tokens, completion_tokens=10, estimated=True
    )


async def test_log_probabilities_come_with_their_text() -> None:
    top = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}
    chosen = top | {"top_logprobs": [top, {"token": "ö", "logprob": -3.0, "bytes": None}]}
    chunk = delta("Hi")
    chunk["choices"][0]["logprobs"] = {"content": [chosen]}
    async with spare(streamed(chunk, delta(finish="stop"), "[DONE]")) as made:
        items = await made.ask(work(sampling=Sampling(top_logprobs=2)))
    said = items[1]
    assert isinstance(said, TextDelta)
    (position,) = said.logprobs
    assert (position.chosen.text, position.chosen.logprob) == ("Hi", -0.1)
    assert [token.utf8 for token in position.top] == [b"Hi", "ö".encode()]


async def test_connections_are_kept_for_the_next_request() -> None:
    async with spare(WHOLE) as made:
        for _ in range(5):
            await made.ask(work())
        # One for the list of models and the first request, for they follow each other.
        assert made.server.connections == 1


async def test_leaving_early_cuts_the_connection() -> None:
    async with spare(begun(delta("Hi"))) as made:
        async with made.provider.generate(work()) as items:
            async for item in items:
                if isinstance(item, TextDelta):
                    break
            assert made.provider.load().running == 1
            assert made.server.open == 1
        assert made.provider.load().running == 0
        await until(lambda: made.server.open == 0)


async def test_no_more_requests_are_sent_at_once_than_the_upstream_takes() -> None:
    gate = asyncio.Event()
    inside = most = 0

    async with spare(WHOLE, max_connections=2) as made:

        async def one() -> None:
            nonlocal inside, most
            async with made.provider.generate(work()) as items:
                async for item in items:
                    if isinstance(item, Started):
                        inside, most = inside + 1, max(most, inside + 1)
                        await gate.wait()
                inside -= 1

        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(one())
            await until(lambda: inside == 2)
            load = made.provider.load()
            assert (load.running, load.waiting) == (2, 4)
            assert load.waiting_tokens > 0
            made.provider.check_integrity()
            gate.set()
        assert most == 2
        assert made.provider.load().waiting_tokens == 0


async def test_a_request_that_gets_no_place_in_time_says_so() -> None:
    limits = {"max_connections": 1, "first_byte_ns": 20 * NS_PER_MS}
    async with (
        spare(begun(delta("", role="assistant")), **limits) as made,
        made.provider.generate(work()) as items,
    ):
        assert isinstance(await anext(items), Started)
        failure = await made.failure(work(attempt=2))
    assert failure.kind is FailureKind.CAPACITY_EXHAUSTED


async def test_an_upstream_that_cannot_be_reached_takes_nothing_until_it_can() -> None:
    async with spare(WHOLE) as made:
        assert made.provider.load().state is DeploymentState.READY
        address = made.server.url
        await made.server.stop()
        # The first one may find out on a kept connection, which proves nothing about new ones.
        for _ in range(2):
            assert (await made.failure(work())).kind is FailureKind.UPSTREAM_FAILURE
        assert made.provider.load().state is DeploymentState.FAILED
        await made.server.start(address)
        await until(lambda: made.provider.load().state is DeploymentState.READY)
        assert isinstance((await made.ask(work()))[-1], Completed)
        states = [event.state.value for event in made.events]
        assert states[0] == states[-1] == "ready"
        assert "failed" in states


def test_settings_never_print_the_key() -> None:
    shown = repr(UpstreamSettings(ROUTE, "http://x/v1", "m", 10, api_key="sk-secret"))
    assert "sk-secret" not in shown


async def test_pieces_may_end_anywhere() -> None:
    whole = b"".join(event(data) for data in ANSWER)
    for size in (1, 2, 3, 7):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        async with spare(Reply([HEAD, chunks + b"0\r\n\r\n"])) as made:
            items = await made.ask(work())
        text = "".join(item.text for item in items if isinstance(item, TextDelta))
        assert text == "Hello wörld"
        assert items[-1] == Completed(Usage(prompt_tokens=7, completion_tokens=3))


async def test_an_address_that_no_host_can_have_is_one_that_cannot_be_reached() -> None:
    async with spare(WHOLE, base_url="http://" + "ü" * 300 + "/v1") as made:
        assert made.provider.load().state is DeploymentState.FAILED
        assert (await made.failure(work())).kind is FailureKind.UPSTREAM_FAILURE


async def test_a_defect_of_a_check_costs_the_route_alone(caplog: pytest.LogCaptureFixture) -> None:
    session, events = open_session("test"), Events()
    await session.close()
    settings = UpstreamSettings(ROUTE, "http://127.0.0.1:9/v1", "m", 10)
    provider = UpstreamProvider(settings, session, CLOCK, events)
    watching = asyncio.create_task(provider.watch())
    await provider.checked()
    await until(lambda: provider.load().state is DeploymentState.FAILED)
    assert provider.load().reason == "it could not be checked"
    assert "met a defect" in caplog.text
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_an_answer_has_not_started_before_its_first_event() -> None:
    refused = streamed({"error": {"code": "rate_limit_exceeded"}})
    for reply in (refused, streamed(), Reply([HEAD])):
        async with spare(reply) as made:
            (only,) = await made.ask(work())
        assert isinstance(only, Broken)
