"""Traces reach a real collector over OTLP; a collector that does not take them harms nobody."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from octant.adapters.otel.exporter import OtlpTraces
from octant.adapters.otel.settings import OtlpSettings
from octant.app import telemetry
from octant.app.settings import load_settings
from octant.core.events import RequestReceived, RequestSettled
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import TraceId
from octant.core.outcome import OutcomeStatus
from octant.core.stage import Stage
from octant.observability import semconv
from octant.observability.metrics import Metrics
from octant.observability.recorder import EventRecorder
from octant.observability.semconv import SCHEMA_URL
from octant.observability.trace import fold
from octant.ports.telemetry import ExportedSpan, SettledTrace
from tests.support import happenings
from tests.support.collector import Collector, collector
from tests.support.server import eventually


@pytest.fixture
def kept() -> Iterator[Collector]:
    with collector() as running:
        yield running


def _settings(endpoint: str, **changes: object) -> OtlpSettings:
    quick = OtlpSettings(
        endpoint=f"{endpoint}/v1/traces",
        headers={"x-tenant": "a"},
        service_name="octant-test",
        service_version="1.2",
        schema_url=SCHEMA_URL,
        interval_s=0.01,
        timeout_s=2.0,
        flush_s=2.0,
    )
    return quick._replace(**changes)


def _settled(trace: int = 1) -> SettledTrace:
    events = happenings.whole_run()
    outcome = replace(happenings.outcome(attempts=2), trace_id=TraceId(f"{trace:032x}"))
    received, *between, end = events
    assert isinstance(received, RequestReceived) and isinstance(end, RequestSettled)
    return SettledTrace(
        (
            replace(received, trace_id=outcome.trace_id),
            *between,
            replace(end, outcome=outcome),
        ),
        outcome,
        None,
    )


def spans_of(settled: SettledTrace) -> tuple[ExportedSpan, ...]:
    return semconv.spans_of(settled, lambda _, text: text)


def _totals(traces: OtlpTraces) -> tuple[int, dict[str, int]]:
    """Sent, and what was lost."""
    sent, lost = traces.totals()
    return sent, {reason: count for reason, count in lost.items() if count}


def test_a_trace_arrives_whole_with_its_own_ids(kept: Collector) -> None:
    traces = OtlpTraces(_settings(kept.address), spans_of)
    settled = _settled()

    traces.offer(settled)
    traces.close()

    folded = fold(settled.events)
    assert kept.paths == ["/v1/traces"] and kept.headers[0]["x-tenant"] == "a"
    assert {received.trace_id for received in kept.received} == {folded.trace_id}
    ids = {received.span.span_id.hex() for received in kept.received}
    assert ids > {span.span_id for span in folded.spans}
    (root,) = kept.named("request chat_completions")
    assert root.span.kind == Span.SPAN_KIND_SERVER
    assert root.span.parent_span_id.hex() == "3" * 16
    assert root.span.end_time_unix_nano - root.span.start_time_unix_nano == 290_000_000
    assert root.resource == {"service.name": "octant-test", "service.version": "1.2"}
    assert (root.scope, root.schema_url) == ("octant", SCHEMA_URL)
    first, second = kept.named("chat octant-mini")
    assert first.span.kind == second.span.kind == Span.SPAN_KIND_CLIENT
    assert second.attributes["gen_ai.usage.input_tokens"] == 80
    assert _totals(traces) == (1, {})


def test_a_failure_is_an_error_status(kept: Collector) -> None:
    traces = OtlpTraces(_settings(kept.address), spans_of)
    lost = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="The engine died.")
    outcome = happenings.outcome(status=OutcomeStatus.PARTIAL, failure=lost)
    events = [*happenings.whole_request()[:-1], happenings.settled(outcome)]

    traces.offer(SettledTrace(events, outcome, None))
    traces.close()

    (root,) = kept.named("request chat_completions")
    assert root.span.status.code == Status.STATUS_CODE_ERROR
    assert root.span.status.message == "The engine died."
    assert root.attributes["error.type"] == "engine_lost"


def test_the_sample_is_chosen_by_trace_id(kept: Collector) -> None:
    half = 1 << 63
    traces = OtlpTraces(_settings(kept.address, sample_ratio=0.5), spans_of)

    for trace in (1, half - 1, half, 2 * half - 1):
        traces.offer(_settled(trace))
    traces.close()

    assert {int(r.trace_id, 16) for r in kept.received} == {1, half - 1}
    assert _totals(traces) == (2, {})


def test_what_a_collector_refuses_is_counted_and_later_traces_arrive(kept: Collector) -> None:
    traces = OtlpTraces(_settings(kept.address), spans_of)
    kept.status = 400

    traces.offer(_settled(1))
    eventually(lambda: _totals(traces) == (0, {"export_failed": 1}), "the loss is counted")
    kept.status = 200
    traces.offer(_settled(2))
    traces.close()

    assert _totals(traces) == (1, {"export_failed": 1})
    assert {int(received.trace_id, 16) for received in kept.received} == {2}


def test_a_collector_that_is_not_there_costs_its_traces_only(unused_tcp_port: int) -> None:
    address = f"http://127.0.0.1:{unused_tcp_port}"
    traces = OtlpTraces(_settings(address, timeout_s=0.2), spans_of)

    traces.offer(_settled())
    traces.close()

    assert _totals(traces) == (0, {"export_failed": 1})


def test_a_full_queue_and_a_silent_collector_lose_what_does_not_fit(kept: Collector) -> None:
    kept.answering.clear()
    traces = OtlpTraces(_settings(kept.address, max_waiting=2, max_batch=1, flush_s=0.05), spans_of)

    traces.offer(_settled(1))
    eventually(lambda: traces._queue.empty(), "the first one is on its way")  # pyright: ignore[reportPrivateUsage]
    for trace in range(2, 6):
        traces.offer(_settled(trace))
    traces.close()

    assert traces.totals().sent == 0
    assert traces.totals().lost["queue_full"] == 2
    assert traces.totals().lost["shutdown"] == 2


def test_a_trace_without_words_costs_itself_only(kept: Collector) -> None:
    traces = OtlpTraces(_settings(kept.address), spans_of)

    traces.offer(_settled(1)._replace(events=()))
    traces.offer(_settled(2))
    traces.close()

    assert _totals(traces) == (1, {"unmappable": 1})


def test_the_recorder_offers_what_was_settled_and_the_metrics_show_it(kept: Collector) -> None:
    traces = OtlpTraces(_settings(kept.address), spans_of)
    metrics = Metrics(version="1")
    metrics.follow(traces)
    recorder = EventRecorder(metrics, 10, 100, traces)
    *events, end = happenings.whole_request()
    assert isinstance(end, RequestSettled)

    for event in events:
        recorder.emit(event)
    recorder.settled(end, recorder.take(happenings.REQUEST), None)
    recorder.settled(end, (), None)
    traces.close()

    page = metrics.render().body.decode()
    assert "octant_telemetry_sent_total 1.0" in page
    assert 'octant_telemetry_lost_total{reason="queue_full"} 0.0' in page
    assert len(kept.named("chat octant-mini")) == 1


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_a_base_address_gets_the_path_of_the_signal(endpoint: str, expected: str) -> None:
    assert telemetry._signal_url(endpoint) == expected  # pyright: ignore[reportPrivateUsage]


def test_headers_come_from_a_variable_or_a_file(
    kept: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "headers"
    secret.write_text("Authorization=Bearer one\nx-org=two\n", encoding="utf-8")
    monkeypatch.setenv("COLLECTOR_HEADERS", "authorization=Bearer three,x-org=four")
    base = {"observability.otlp_endpoint": kept.address, "server.data_dir": str(tmp_path)}

    for given in (
        {"observability.otlp_headers_file": str(secret)},
        {"observability.otlp_headers_env": "COLLECTOR_HEADERS"},
    ):
        traces = telemetry.collector(load_settings(None, base | given).settings)
        assert traces is not None
        traces.offer(_settled())
        traces.close()

    assert [(h["authorization"], h["x-org"]) for h in kept.headers] == [
        ("Bearer one", "two"),
        ("Bearer three", "four"),
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"observability.otlp_headers_env": "NOBODY_SET_THIS"},
        {"observability.otlp_headers_file": "/nonexistent/headers"},
    ],
)
def test_headers_that_are_missing_stop_the_start(given: dict[str, str], tmp_path: Path) -> None:
    base = {"observability.otlp_endpoint": "http://c:4318", "server.data_dir": str(tmp_path)}

    with pytest.raises(Failed) as refused:
        telemetry.collector(load_settings(None, base | given).settings)

    assert refused.value.failure.kind is FailureKind.INVALID_VALUE


def test_words_of_a_caller_leave_by_the_tenants_policy(kept: Collector, tmp_path: Path) -> None:
    given = {"observability.otlp_endpoint": kept.address, "server.data_dir": str(tmp_path)}
    traces = telemetry.collector(load_settings(None, given).settings)
    assert traces is not None
    failure = Failure(
        kind=FailureKind.MODEL_NOT_FOUND,
        stage=Stage.ROUTE,
        message="The model `ann.lee@example.com` is not served here.",
    )
    outcome = happenings.outcome(status=OutcomeStatus.FAILED, failure=failure, attempts=0)
    received = happenings.received(model="ann.lee@example.com")

    traces.offer(SettledTrace([received, happenings.settled(outcome)], outcome, None))
    traces.close()

    told = repr([(r.span.name, r.attributes, r.span.status.message) for r in kept.received])
    assert "is not served here" in told
    assert "ann.lee" not in told


def test_without_a_collector_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys, octant.app.server; "
        "sys.exit(any(name.split('.')[0] == 'opentelemetry' for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
