"""A real server's accounts and traces: metrics equal the ledger, and a collector gets the whole."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from openai import BadRequestError, NotFoundError
from prometheus_client.parser import text_string_to_metric_families

from octant.app import wiring
from octant.app.settings import load_settings
from octant.ports.store import UsageLine
from tests.support.collector import Collector, Received, collector
from tests.support.server import RunningServer, eventually, running_server

pytestmark = pytest.mark.server

TENANTS = ("default", "acme", "umbrella")
# Prices that make every sum tell which tokens went into it.
PRICES = {"OCTANT_MODEL__INPUT_NANO_USD": "1009", "OCTANT_MODEL__OUTPUT_NANO_USD": "100003"}


@pytest.fixture(scope="module")
def kept() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory, kept: Collector) -> Iterator[RunningServer]:
    sent = {
        "OCTANT_OBSERVABILITY__OTLP_ENDPOINT": kept.address,
        "OCTANT_OBSERVABILITY__OTLP_INTERVAL_MS": "50",
    }
    data_dir: Path = tmp_path_factory.mktemp("priced") / "data"
    with running_server(data_dir, environment=PRICES | sent) as started:
        yield started


def _of(server: RunningServer, tenant: str) -> RunningServer:
    """The server as a caller of `tenant` sees it."""
    if tenant != "default":
        server.octant("tenants", "create", tenant)
    made = server.octant("keys", "create", "--tenant", tenant, "--json")
    return server._replace(key=json.loads(made.stdout)["key"])


def _use(server: RunningServer, turn: int) -> None:
    """Plain, streamed, broken off, several choices, and two that are refused."""
    client, model = server.client(), server.model
    said = [{"role": "user", "content": f"Hello number {turn}, how are you?"}]
    client.chat.completions.create(model=model, messages=said, max_tokens=5 + turn)
    client.completions.create(model=model, prompt="One two three", max_tokens=7, n=2)
    for _ in client.chat.completions.create(
        model=model, messages=said, max_tokens=9, stream=True, seed=turn, temperature=0.7
    ):
        pass
    stream = client.chat.completions.create(
        model=model, messages=said, max_tokens=400, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    with pytest.raises(NotFoundError):
        client.chat.completions.create(model="nobody-serves-this", messages=said)
    with pytest.raises(BadRequestError):
        client.completions.create(model=model, prompt="word " * 40_000, max_tokens=1)


def _ledger(server: RunningServer) -> list[UsageLine]:
    settings = load_settings(None, {"server.data_dir": str(server.data_dir)}).settings
    month = datetime.now(UTC).strftime("%Y-%m")

    async def read() -> list[UsageLine]:
        async with wiring.open_store(settings) as store:
            return list(await store.usage(None, month))

    return asyncio.run(read())


def _metrics(server: RunningServer) -> dict[tuple[str, ...], int]:
    page = httpx2.get(f"{server.address}/metrics").text
    found: dict[tuple[str, ...], int] = {}
    for family in text_string_to_metric_families(page):
        if family.name in ("octant_tokens", "octant_cost_nano_usd"):
            for sample in family.samples:
                labels = sample.labels
                kind = labels.get("token_type", "cost")
                assert sample.value == int(sample.value)
                found[(labels["tenant"], labels["model"], kind)] = int(sample.value)
    return found


def test_tokens_and_cost_of_every_tenant_equal_the_ledger_to_the_unit(
    priced: RunningServer,
) -> None:
    for turn, tenant in enumerate(TENANTS):
        _use(_of(priced, tenant), turn)
    priced.wait_idle()

    expected: Counter[tuple[str, ...]] = Counter()
    for line in _ledger(priced):
        model = line.model if line.model == priced.model else "other"
        expected[line.tenant, model, "input"] += line.prompt_tokens
        expected[line.tenant, model, "cached"] += line.cached_tokens
        expected[line.tenant, model, "output"] += line.completion_tokens
        expected[line.tenant, model, "cost"] += line.cost_nano_usd

    assert _metrics(priced) == dict(expected)
    for tenant in TENANTS:
        tokens_in = expected[tenant, priced.model, "input"]
        tokens_out = expected[tenant, priced.model, "output"]
        owed = 1009 * tokens_in + 100003 * tokens_out
        assert expected[tenant, priced.model, "cost"] == owed > 0


def test_the_collector_gets_what_was_traced_under_the_callers_trace(
    priced: RunningServer, kept: Collector
) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answered = httpx2.post(
        f"{priced.address}/v1/chat/completions",
        headers={"authorization": f"Bearer {priced.key}", "traceparent": parent},
        json={
            "model": priced.model,
            "messages": [{"role": "user", "content": "Hello."}],
            "max_tokens": 6,
        },
    )
    assert answered.status_code == 200
    request = answered.headers["x-request-id"]

    def roots() -> list[Received]:
        return [r for r in kept.received if r.attributes.get("octant.request.id") == request]

    eventually(lambda: len(roots()) == 1, "the trace has arrived")
    (root,) = roots()
    assert root.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert root.span.parent_span_id.hex() == "b7ad6b7169203331"
    local = json.loads(priced.octant("trace", "show", request, "--json").stdout)
    sent = {r.span.span_id.hex() for r in kept.received if r.trace_id == root.trace_id}
    assert {span["span_id"] for span in local["spans"]} == sent
    assert priced.metric("octant_telemetry_sent_total") > 0
