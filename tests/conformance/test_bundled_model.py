"""What the bundled model is for, through the OpenAI protocol: the plumbing, not the score.

How often it is right is measured by `octant eval`; here one case of each kind has to come out in
the form that clients rely on.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from openai import OpenAI
from openai.types.chat.chat_completion import Choice

from tests.support.server import RunningServer

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CITIES = ("Paris", "Oslo", "Rome", "Berlin", "Madrid", "Lisbon", "Vienna", "Dublin")


class Called(NamedTuple):
    """A question that the model answered with a call, and that answer."""

    city: str
    messages: list[Any]
    choice: Choice


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with server.client() as opened:
        yield opened


@pytest.fixture
def called(server: RunningServer, client: OpenAI) -> Called:
    """The first of some ordinary questions that the model answers with a call."""
    for city in CITIES:
        messages: list[Any] = [{"role": "user", "content": f"How is the weather in {city}?"}]
        answer = client.chat.completions.create(
            model=server.model, messages=messages, tools=[WEATHER], temperature=0
        )
        if answer.choices[0].message.tool_calls:
            return Called(city, messages, answer.choices[0])
    raise AssertionError(f"the bundled model called no tool for any of {CITIES}")


def test_a_declared_tool_is_called_and_its_result_is_used(
    server: RunningServer, client: OpenAI, called: Called
) -> None:
    choice = called.choice
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": called.city}
    told = client.chat.completions.create(
        model=server.model,
        tools=[WEATHER],
        messages=[
            *called.messages,
            choice.message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": "7 C"}'},
        ],
    )
    assert told.choices[0].finish_reason == "stop"
    assert "7" in (told.choices[0].message.content or "")


def test_a_streamed_tool_call_adds_up_to_the_whole_one(
    server: RunningServer, client: OpenAI, called: Called
) -> None:
    stream = client.chat.completions.create(
        model=server.model, messages=called.messages, tools=[WEATHER], stream=True, temperature=0
    )
    names: list[str] = []
    arguments = ""
    reasons: list[str] = []
    for chunk in stream:
        choice = chunk.choices[0]
        for call in choice.delta.tool_calls or []:
            assert call.index == 0 and call.function is not None
            names += [call.function.name] if call.function.name else []
            arguments += call.function.arguments or ""
        reasons += [choice.finish_reason] if choice.finish_reason else []
    assert names == ["get_weather"]
    assert json.loads(arguments) == {"city": called.city}
    assert reasons == ["tool_calls"]


def test_the_tools_are_not_called_when_the_caller_forbids_it(
    server: RunningServer, client: OpenAI, called: Called
) -> None:
    answer = client.chat.completions.create(
        model=server.model, messages=called.messages, tools=[WEATHER], tool_choice="none"
    )
    assert answer.choices[0].message.tool_calls is None
