"""POST /v1/runs over real HTTP: status, headers, bodies and events of every ending."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import jsonschema_rs
import pytest
from msgspec.structs import replace

from octant.core.content import ChatInput
from octant.core.envelope import Api, RequestEnvelope, RiskClass
from octant.core.failure import RULES, FailureKind
from octant.core.stream import Completed, StreamItem, TextDelta
from octant.gateway.dialects.runs import Runs
from octant.gateway.schemas import CONTRACTS, schema
from octant.gateway.settings import GatewaySettings
from tests.support.gateway import (
    ACME,
    HELLO,
    STARTED,
    USAGE,
    Gateway,
    broken,
    running_gateway,
    says,
)
from tests.support.run_summaries import summarised

SETTINGS = GatewaySettings(keep_alive_interval_ms=40, overdue_grace_ms=1)
REQUEST = jsonschema_rs.validator_for(schema("run-request.v1"))
RESPONSE = jsonschema_rs.validator_for(schema("run-response.v1"))
EVENT = jsonschema_rs.validator_for(schema("run-event.v1"))


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running_gateway(SETTINGS) as running:
        yield running


async def ask(gateway: Gateway, **fields: Any) -> Any:
    body = {"model": "tiny", "input": "Hi"} | fields
    REQUEST.validate(body)
    return await gateway.post("/v1/runs", body)


def run_of(response: Any) -> dict[str, Any]:
    """The run object, after checking that it is one."""
    assert response.headers["content-type"] == "application/json"
    run = response.json()
    RESPONSE.validate(run)
    assert run["id"] == response.headers["x-request-id"]
    assert run["trace_id"] == response.headers["x-octant-trace-id"]
    return run


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of the events, after checking them."""
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    for number, event in enumerate(events):
        EVENT.validate(event)
        assert event["sequence_number"] == number
    terminal = [event["type"] in ("run.completed", "run.failed") for event in events]
    assert terminal == [False] * (len(events) - 1) + [True]
    return events


async def test_a_run_is_answered_whole(gateway: Gateway) -> None:
    gateway.path.script = summarised(*HELLO)
    response = await ask(gateway, metadata={"a": "b"})
    assert response.status_code == 200
    assert int(response.headers["openai-processing-ms"]) >= 0
    run = run_of(response)
    assert (run["status"], run["output"]["text"], run["route"]["id"]) == (
        "completed",
        "Hello",
        "tiny@2",
    )
    (envelope,) = gateway.path.envelopes
    assert envelope.api is Api.RUNS
    assert isinstance(envelope.input, ChatInput)
    assert not envelope.stream


async def test_the_envelope_holds_what_the_body_said(gateway: Gateway) -> None:
    response = await gateway.post(
        "/v1/runs",
        {
            "model": {"name": "tiny", "prefer": "quality", "labels": ["precise"]},
            "input": "Hi",
            "session": {"id": "ses_1"},
            "documents": [{"id": "a", "text": "One."}],
            "tools": ["calculator"],
            "max_steps": 3,
            "output": {"json_schema": {"type": "object"}},
            "budget": {"tokens": 9, "cost_nano_usd": 8},
            "risk": "medium",
            "trace": {"record": False},
            "profile": "critical",
        },
        **{"idempotency-key": "once"},
    )
    assert response.status_code == 200
    (envelope,) = gateway.path.envelopes
    assert envelope.session is not None and envelope.output is not None
    assert (envelope.session.id, envelope.session.store) == ("ses_1", True)
    assert (envelope.model.prefer, envelope.model.labels) == ("quality", ("precise",))
    assert envelope.context.documents[0].text == "One."
    assert (envelope.tools.allowed, envelope.tools.max_steps) == (("calculator",), 3)
    assert (envelope.budget.tokens, envelope.budget.cost_nano_usd) == (9, 8)
    assert (envelope.risk, envelope.trace.record) == ("medium", False)
    assert (envelope.profile, envelope.idempotency_key) == ("critical", "once")


@pytest.mark.parametrize(
    ("tenants", "asked", "taken"),
    [
        (RiskClass.LOW, None, "low"),
        (RiskClass.LOW, "high", "high"),
        (RiskClass.MEDIUM, None, "medium"),
        (RiskClass.MEDIUM, "low", "medium"),
        (RiskClass.HIGH, "medium", "high"),
    ],
)
async def test_a_caller_may_raise_the_risk_and_never_lower_it(
    gateway: Gateway, tenants: RiskClass, asked: str | None, taken: str
) -> None:
    gateway.keys.tenants[ACME] = replace(gateway.keys.tenants[ACME], risk=tenants)
    await ask(gateway, risk=asked)
    await gateway.chat(octant={"risk": asked})
    assert [envelope.risk for envelope in gateway.path.envelopes] == [taken, taken]


async def test_a_refused_body_never_becomes_a_run(gateway: Gateway) -> None:
    for body in ({"model": "tiny"}, {"model": "tiny", "input": "Hi", "sesion": {}}):
        response = await gateway.post("/v1/runs", body)
        assert response.status_code == 400
        assert list(response.json()) == ["error"]
    assert gateway.path.envelopes == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        FailureKind.POLICY_BLOCKED,
        FailureKind.OUTPUT_INVALID,
        FailureKind.INSUFFICIENT_QUOTA,
        FailureKind.RATE_LIMIT_EXCEEDED,
        FailureKind.ENGINE_LOST,
        FailureKind.TOOL_AMBIGUOUS,
        FailureKind.RECORD_NOT_STORED,
    ],
)
async def test_a_failure_has_its_own_status_and_is_a_run(
    gateway: Gateway, kind: FailureKind, stream: bool
) -> None:
    gateway.path.script = summarised(broken(kind, "Because.", retry_after_ns=1_500_000_000))
    response = await ask(gateway, stream=stream)
    rule = RULES[kind]
    assert response.status_code == rule.status
    assert ("retry-after" in response.headers) == (response.headers["x-should-retry"] == "true")
    run = run_of(response)
    assert run["status"] == "failed"
    assert run["error"]["code"] == kind.value
    assert run["error"]["octant"]["class"] == rule.failure_class.value


async def test_a_stream_is_events_with_names_and_numbers(gateway: Gateway) -> None:
    gateway.path.script = summarised(*HELLO)
    response = await ask(gateway, stream=True)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = events_of(response.text)
    assert [event["type"] for event in events] == [
        "run.started",
        "run.text.delta",
        "run.text.delta",
        "run.completed",
    ]
    assert events[-1]["run"]["output"]["text"] == "Hello"
    assert "[DONE]" not in response.text
    names = [line for line in response.text.splitlines() if line.startswith("event: ")]
    assert names == [f"event: {event['type']}" for event in events]


async def test_a_failure_in_the_middle_ends_the_stream_with_the_run(gateway: Gateway) -> None:
    gateway.path.script = summarised(*HELLO[:4], broken(FailureKind.ENGINE_LOST, "It died."))
    events = events_of((await ask(gateway, stream=True)).text)
    assert events[-1]["type"] == "run.failed"
    assert events[-1]["run"]["error"]["message"] == "It died."
    assert events[-1]["run"]["output"]["text"] == "Hello"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_run_that_outlives_its_deadline_says_so_as_a_run(
    gateway: Gateway, stream: bool
) -> None:
    async def stuck(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        yield STARTED
        yield TextDelta(0, "a", (1,))
        await asyncio.Event().wait()

    gateway.path.script = stuck
    response = await ask(gateway, stream=stream, deadline_ms=30)
    run = events_of(response.text)[-1]["run"] if stream else run_of(response)
    assert response.status_code == (200 if stream else 504)
    assert (run["status"], run["error"]["code"]) == ("partial", "deadline_exceeded")
    assert run["output"]["text"] == "a"
    assert gateway.path.hangups[-1].failure.kind is FailureKind.DEADLINE_EXCEEDED


async def test_silence_is_kept_alive(gateway: Gateway) -> None:
    go_on = asyncio.Event()

    async def slow(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        yield STARTED
        await go_on.wait()
        yield Completed(USAGE)

    gateway.path.script = slow
    body = {"model": "tiny", "input": "Hi", "stream": True}
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with gateway.http.stream("POST", "/v1/runs", json=body, headers=headers) as response:
        text = ""
        async for piece in response.aiter_text():
            text += piece
            if ": keep-alive" in text:
                go_on.set()
    assert events_of(text)[-1]["type"] == "run.completed"


async def test_leaving_a_stream_ends_the_work(gateway: Gateway) -> None:
    async def endless(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        yield STARTED
        while True:
            yield TextDelta(0, "a", (1,))
            await asyncio.sleep(0)

    gateway.path.script = endless
    body = {"model": "tiny", "input": "Hi", "stream": True}
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with gateway.http.stream("POST", "/v1/runs", json=body, headers=headers) as response:
        await anext(response.aiter_text())
    await gateway.path.left()
    assert gateway.path.unfinished == 1


async def test_a_defect_is_a_failed_run_without_its_detail(gateway: Gateway) -> None:
    async def defect(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        yield STARTED
        raise ValueError("secret detail")

    gateway.path.script = defect
    response = await ask(gateway)
    assert response.status_code == 500
    assert run_of(response)["error"]["code"] == "internal_error"
    assert "secret" not in response.text


async def test_schemas_are_served_to_anyone(gateway: Gateway) -> None:
    listed = (await gateway.http.get("/v1/schemas")).json()
    assert [entry["id"] for entry in listed["data"]] == list(CONTRACTS)
    for entry in listed["data"]:
        response = await gateway.http.get(entry["url"])
        assert response.headers["content-type"] == "application/schema+json"
        assert response.json() == schema(entry["id"])
        jsonschema_rs.meta.validate(response.json())
    missing = await gateway.http.get("/v1/schemas/run-request.v9")
    assert missing.status_code == 404
    assert "run-request.v1" in missing.json()["error"]["message"]


def test_a_schema_explains_every_field_that_callers_write() -> None:
    for name in ("run-request.v1", "octant-object.v1"):
        shapes = schema(name)["$defs"]
        for kind in ("SentSession", "SentDocument", "SentOutput", "SentBudget"):
            assert all("description" in node for node in shapes[kind]["properties"].values())
    body = schema("run-request.v1")["$defs"]["RunBody"]["properties"]
    assert body["max_steps"]["description"] == Runs.fields["max_steps"].note


async def test_a_run_is_whole_also_without_a_summary(gateway: Gateway) -> None:
    gateway.path.script = says(*HELLO)
    run = run_of(await ask(gateway))
    assert (run["status"], run["usage"]["total_tokens"]) == ("completed", 10)
