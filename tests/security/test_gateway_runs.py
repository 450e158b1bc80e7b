"""Hostile run bodies: whatever is sent, the answer is a run or a refusal that blames the caller."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octant.core.failure import RULES, Blame, Failed
from octant.gateway.dialects.chat_completions import ChatCompletions
from octant.gateway.dialects.dialect import Dialect
from octant.gateway.dialects.runs import RunBody, Runs
from octant.gateway.settings import GatewaySettings
from tests.support.gateway import Gateway, running_gateway
from tests.support.sent_strategies import sent

SETTINGS = GatewaySettings(max_nesting=20)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway that must still answer an ordinary run after each test."""
    async with running_gateway(SETTINGS) as running:
        yield running
        assert (await running.post("/v1/runs", {"model": "m", "input": "x"})).status_code == 200


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A valid body with one value anywhere in it replaced by junk."""
    body = draw(sent(RunBody))
    place: Any = body
    for _ in range(draw(st.integers(0, 3))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
        if not inner:
            break
        place = place[draw(st.sampled_from(inner))]
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[draw(st.sampled_from(keys))] = draw(JUNK)
    return body


def read(dialect: Dialect, body: bytes) -> None:
    """Reads a body; a refusal must blame the caller and name no more than it was sent."""
    try:
        dialect.read(body, SETTINGS)
    except Failed as error:
        rule = RULES[error.failure.kind]
        assert rule.blame is Blame.CALLER
        assert 400 <= rule.status < 500
        assert len(error.failure.message) < 2_000


@settings(max_examples=150)
@given(damaged())
def test_a_damaged_run_is_read_or_refused(body: Any) -> None:
    read(Runs(), json.dumps(body).encode())


@given(JUNK)
def test_junk_as_an_octant_object_is_read_or_refused(octant: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "octant": octant}
    read(ChatCompletions(), json.dumps(body).encode())


@given(sent(RunBody), st.data())
def test_bytes_cut_or_changed_anywhere_are_read_or_refused(body: Any, data: st.DataObject) -> None:
    encoded = bytearray(json.dumps(body).encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    if data.draw(st.booleans()):
        del encoded[at:]
    else:
        encoded[at] = data.draw(st.integers(0, 255))
    read(Runs(), bytes(encoded))


def doubling(references: int) -> dict[str, Any]:
    """A schema whose checking takes two to that power steps."""
    both = [{"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(references)]
    definitions = {str(i): node for i, node in enumerate(both)} | {str(references): {}}
    return {"$ref": "#/$defs/0", "$defs": definitions}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"output": {"json_schema": doubling(60)}}, "output.json_schema"),
        ({"output": {"json_schema": {"$ref": "#"}}}, "output.json_schema"),
        ({"output": {"json_schema": {"$ref": "file:///etc/passwd"}}}, "output.json_schema"),
        ({"output": {"json_schema": {"pattern": "(a{1000}){1000}"}}}, "output.json_schema"),
        ({"output": {"json_schema": {"enum": ["x" * 70_000]}}}, "output.json_schema"),
        ({"documents": [{"id": str(i), "text": "x"} for i in range(65)]}, "documents"),
        ({"tools": [f"t{i}" for i in range(129)]}, "tools"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"sampling": {"n": 1 << 40}}, "sampling.n"),
        ({"session": {"id": "x" * 65}}, "session.id"),
    ],
)
async def test_costly_requests_are_refused_before_any_work(
    gateway: Gateway, fields: dict[str, Any], param: str
) -> None:
    response = await gateway.post("/v1/runs", {"model": "m", "input": "x"} | fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert gateway.path.envelopes == []


@pytest.mark.parametrize(
    "path", ["/v1/sessions/..%2f..", "/v1/sessions/%00", "/v1/sessions/'; DROP TABLE", "/v1/runs/"]
)
async def test_strange_paths_are_not_found(gateway: Gateway, path: str) -> None:
    response = await gateway.http.get(path, headers={"authorization": "Bearer none"})
    assert response.status_code in (401, 404)
