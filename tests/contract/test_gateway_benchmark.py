"""The parts of `octant bench gateway`: an upstream that answers at once, and callers who wait."""

import pytest

from octant.cli.gateway_load import QUESTION
from octant.cli.instant_upstream import ANSWER_TOKENS
from octant.cli.json_child import json_child
from octant.core.failure import Failed
from octant.core.stream import Completed, TextDelta
from octant.core.usage import Usage
from tests.support.faulty_upstream import FaultyUpstream, status
from tests.support.upstreams import spare, work


async def test_the_upstream_answers_every_caller_whole_and_streamed() -> None:
    async with (
        json_child("instant upstream", "octant.cli.instant_upstream") as upstream,
        json_child("gateway load", "octant.cli.gateway_load") as load,
    ):
        url = (await upstream.read())["url"]
        for stream in (False, True):
            asked = {"url": url, "key": "k", "model": "m", "connections": 3, "seconds": 0.2}
            answer = await load.ask(asked | {"stream": stream})
            assert answer["requests"] > 3
            assert 0 < answer["p50_ms"] <= answer["p99_ms"]


async def test_its_stream_is_one_that_the_adapter_takes_for_complete() -> None:
    async with json_child("instant upstream", "octant.cli.instant_upstream") as upstream:
        url = (await upstream.read())["url"]
        async with spare(status(500), base_url=f"{url}/v1") as made:
            items = await made.ask(work())
    said = "".join(item.text for item in items if isinstance(item, TextDelta))
    assert len(said.split()) == ANSWER_TOKENS
    assert items[-1] == Completed(Usage(prompt_tokens=32, completion_tokens=ANSWER_TOKENS))


async def test_callers_tell_of_an_answer_that_is_none() -> None:
    async with (
        FaultyUpstream(lambda _: status(503)).running() as upstream,
        json_child("gateway load", "octant.cli.gateway_load") as load,
    ):
        url = upstream.url.removesuffix("/v1")
        asked = {"url": url, "key": "k", "model": "m", "connections": 1, "seconds": 0.1}
        with pytest.raises(Failed, match="answered 503"):
            await load.ask(asked | {"stream": False})
    assert upstream.asked[0].body["messages"][0]["content"] == QUESTION
