"""Helper processes: one line in, one line out, and a reason when they are gone."""

import pytest

from octant.cli.json_child import json_child
from octant.core.failure import Failed, FailureKind


async def test_a_child_that_cannot_start_tells_its_last_words() -> None:
    with pytest.raises(Failed, match="No module named octant.cli.not_there") as caught:
        async with json_child("helper", "octant.cli.not_there") as child:
            await child.read()

    assert caught.value.failure.kind is FailureKind.UPSTREAM_FAILURE


async def test_a_failure_of_the_child_arrives_as_one() -> None:
    question = {
        "url": "http://127.0.0.1:9",
        "key": "",
        "model": "m",
        "concurrency": 1,
        "prompt_tokens": 1,
        "max_tokens": 1,
        "seed": 1,
    }
    async with json_child("load generator", "octant.cli.load_generator") as child:
        for _ in range(2):
            with pytest.raises(Failed, match="No server answers"):
                await child.ask(question)
