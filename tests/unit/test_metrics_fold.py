"""Metrics: a fold with a place for every event, exact counts and bounded growth."""

from typing import get_args

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from octant.core import events
from octant.core.events import (
    AnyEvent,
    EngineLoadChanged,
    EngineStateChanged,
    FirstToken,
    StepExecuted,
    ToolFinished,
)
from octant.core.failure import Failure, FailureKind
from octant.core.ids import RequestId
from octant.core.outcome import OutcomeStatus
from octant.core.route import DeploymentState
from octant.core.stage import Stage
from octant.core.tools import ToolStatus
from octant.core.units import NS_PER_MS
from octant.observability import catalogue
from octant.observability.metrics import Metrics, MetricsLimits
from octant.observability.recorder import EventRecorder
from octant.observability.series import MetricKind, MetricSpec, SeriesTable
from tests.support import happenings

ENGINE = ("octant-mini", "embedded")
GEN_AI = ("chat", "octant", "octant-mini")


def _samples(metrics: Metrics) -> dict[str, float]:
    text = metrics.render().body.decode()
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _folded(*happened: AnyEvent, limits: MetricsLimits | None = None) -> Metrics:
    metrics = Metrics(version="1") if limits is None else Metrics(version="1", limits=limits)
    for event in happened:
        metrics.fold(event)
        metrics.check_integrity()
    return metrics


def _step(at_ms: float, *, decode: int, prefill: int = 0) -> StepExecuted:
    return StepExecuted(
        at_ns=happenings.at(at_ms),
        route=happenings.ROUTE.id,
        duration_ns=10 * NS_PER_MS,
        executor_ns=9 * NS_PER_MS,
        sequences=4,
        prefill_tokens=prefill,
        decode_tokens=decode,
    )


def _load(at_ms: float, *, running: int) -> EngineLoadChanged:
    return EngineLoadChanged(
        at_ns=happenings.at(at_ms),
        route=happenings.ROUTE.id,
        running=running,
        waiting=3,
        kv_blocks_used=5,
        kv_blocks_total=20,
    )


def test_every_event_type_has_a_fold() -> None:
    metrics = Metrics(version="1")

    assert set(metrics._fold_by_type()) == set(get_args(AnyEvent))  # pyright: ignore[reportPrivateUsage]


def test_a_request_that_went_well_is_counted_once_everywhere() -> None:
    metrics = _folded(*happenings.whole_request())

    assert metrics.value(catalogue.REQUESTS, "octant-mini", "interactive", "completed") == 1
    assert metrics.value(catalogue.IN_FLIGHT, "interactive") == 0
    assert metrics.value(catalogue.TIME_TO_FIRST_TOKEN, *ENGINE) == 1
    assert metrics.value(catalogue.GEN_AI_TIME_TO_FIRST_TOKEN, *GEN_AI) == 1
    assert metrics.value(catalogue.GEN_AI_REQUEST_DURATION, *GEN_AI, "") == 1
    assert metrics.value(catalogue.PROMPT_TOKENS, *ENGINE) == 40
    assert metrics.value(catalogue.PROMPT_TOKENS_CACHED, *ENGINE) == 32
    assert metrics.value(catalogue.GENERATION_TOKENS, *ENGINE) == 11
    assert metrics.value(catalogue.PREFIX_HITS, *ENGINE) == 32
    assert metrics.value(catalogue.REQUEST_SUCCESS, *ENGINE, "stop") == 1
    assert metrics.value(catalogue.COST, "default", "octant-mini") == 510
    for spec in (catalogue.QUEUE_TIME, catalogue.PREFILL_TIME, catalogue.DECODE_TIME):
        assert metrics.value(spec, *ENGINE) == 1


def test_times_are_those_of_the_events() -> None:
    samples = _samples(_folded(*happenings.whole_request()))
    engine = "[('engine', 'embedded'), ('model_name', 'octant-mini')]"

    assert samples[f"vllm:time_to_first_token_seconds_sum{engine}"] == pytest.approx(0.036)
    assert samples[f"vllm:request_queue_time_seconds_sum{engine}"] == pytest.approx(0.010)
    assert samples[f"vllm:request_prefill_time_seconds_sum{engine}"] == pytest.approx(0.020)
    assert samples[f"vllm:request_decode_time_seconds_sum{engine}"] == pytest.approx(0.100)
    assert samples[f"vllm:request_time_per_output_token_seconds_sum{engine}"] == pytest.approx(
        0.010
    )
    assert samples[f"vllm:e2e_request_latency_seconds_sum{engine}"] == pytest.approx(0.140)


def test_first_token_is_observed_once_for_all_choices_and_attempts() -> None:
    again = FirstToken(at_ns=happenings.at(90), request_id=happenings.REQUEST, choice=1)

    metrics = _folded(
        happenings.received(),
        *happenings.before_the_engine(),
        *happenings.in_the_engine(),
        again,
        happenings.settled(happenings.outcome()),
    )

    assert metrics.value(catalogue.TIME_TO_FIRST_TOKEN, *ENGINE) == 1


def test_an_engine_without_token_events_still_has_a_time_to_first_token() -> None:
    metrics = _folded(
        happenings.received(),
        *happenings.before_the_engine(),
        happenings.settled(happenings.outcome()),
    )

    samples = _samples(metrics)
    engine = "[('engine', 'embedded'), ('model_name', 'octant-mini')]"
    assert samples[f"vllm:time_to_first_token_seconds_sum{engine}"] == pytest.approx(0.037)


def test_step_intervals_count_once_per_decoded_token_and_skip_idle_gaps() -> None:
    metrics = _folded(
        happenings.received(),
        *happenings.before_the_engine(),
        _step(100, decode=0, prefill=40),
        _load(100, running=4),
        _step(110, decode=4),
        _step(120, decode=4),
        _load(120, running=0),
        _step(5000, decode=1),
        _load(5000, running=1),
    )

    assert metrics.value(catalogue.INTER_TOKEN_LATENCY, *ENGINE) == 8
    assert metrics.value(catalogue.ITERATION_TOKENS, *ENGINE) == 4
    assert metrics.value(catalogue.KV_USAGE, *ENGINE) == 0.25
    assert metrics.value(catalogue.WAITING, *ENGINE) == 3


def test_a_lost_engine_has_no_load_and_counts_its_restarts() -> None:
    lost = EngineStateChanged(
        at_ns=happenings.at(200),
        route=happenings.ROUTE.id,
        state=DeploymentState.FAILED,
        reason="died",
        restarts=2,
    )

    metrics = _folded(
        happenings.received(),
        *happenings.before_the_engine(),
        _step(100, decode=1),
        _load(100, running=4),
        lost,
    )

    assert metrics.value(catalogue.RUNNING, *ENGINE) == 0
    assert metrics.value(catalogue.ENGINE_RESTARTS, "embedded") == 2
    assert metrics.value(catalogue.ENGINE_STATE, "embedded", "failed") == 1
    assert metrics.value(catalogue.ENGINE_STATE, "embedded", "ready") == 0


def test_failures_are_counted_by_their_row_and_refusals_apart() -> None:
    limited = Failure(
        kind=FailureKind.RATE_LIMIT_EXCEEDED, stage=Stage.ADMISSION, message="Too many."
    )
    bad_key = Failure(kind=FailureKind.INVALID_API_KEY, stage=Stage.BOUNDARY, message="No.")
    ended = happenings.outcome(status=OutcomeStatus.FAILED, failure=limited, attempts=0)

    metrics = _folded(
        happenings.received(),
        happenings.settled(ended, stored=False),
        events.RequestRefused(at_ns=1, failure=bad_key),
    )

    labels = ("rate_limit_exceeded", "capacity", "admission", "tenant")
    assert metrics.value(catalogue.FAILURES, *labels) == 1
    assert metrics.value(catalogue.REFUSALS, "rate_limit_exceeded", "admission") == 1
    assert metrics.value(catalogue.REFUSALS, "invalid_api_key", "boundary") == 1
    assert metrics.value(catalogue.SETTLE_FAILURES) == 1


def test_callers_cannot_grow_the_label_space() -> None:
    limits = MetricsLimits(max_tenants=2, max_open_requests=3)
    happened: list[AnyEvent] = []
    for number in range(10):
        request = RequestId(f"req_{number:032x}")
        model, tenant = f"made-up-{number}", f"tenant-{number}"
        ended = happenings.outcome(request, attempts=0, tenant=tenant, model=model)
        happened += [
            happenings.received(request, model=model, tenant=tenant),
            happenings.settled(ended),
        ]

    metrics = _folded(*happened, limits=limits)

    assert metrics.value(catalogue.REQUESTS, "other", "interactive", "completed") == 10
    assert metrics.value(catalogue.TENANT_REQUESTS, "other", "completed") == 8
    assert b"made-up" not in metrics.render().body


def test_open_requests_are_bounded_and_the_gauge_stays_true() -> None:
    limits = MetricsLimits(max_open_requests=3)
    opened = [happenings.received(RequestId(f"req_{number:032x}")) for number in range(5)]

    metrics = _folded(*opened, limits=limits)

    assert metrics.value(catalogue.IN_FLIGHT, "interactive") == 3


def test_the_process_wide_registry_stays_untouched() -> None:
    _folded(*happenings.whole_request())

    assert not [m for m in REGISTRY.collect() if m.name.startswith(("vllm", "octant", "gen_ai"))]


def test_exposition_is_valid_and_names_every_metric() -> None:
    exposed = _folded(*happenings.whole_request()).render()

    families = {family.name for family in text_string_to_metric_families(exposed.body.decode())}
    assert families == {spec.name for spec in catalogue.CATALOGUE}
    assert exposed.content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_histogram_buckets_are_cumulative_with_inclusive_bounds() -> None:
    spec = MetricSpec("h", MetricKind.HISTOGRAM, (), "", (1.0, 2.0))
    table = SeriesTable([spec])

    table.observe(spec, (), 1.0)
    table.observe(spec, (), 1.5, times=3)
    table.observe(spec, (), 9.0)

    (family,) = table.collect()
    counts = {sample.labels.get("le", sample.name): sample.value for sample in family.samples}
    assert counts == {"1.0": 1, "2.0": 4, "+Inf": 5, "h_count": 5, "h_sum": 14.5}


def test_a_counter_never_falls() -> None:
    spec = MetricSpec("c", MetricKind.COUNTER, (), "")
    table = SeriesTable([spec])
    table.set_to(spec, (), 3)
    table.set_to(spec, (), 1)

    assert table.value(spec, ()) == 3
    with pytest.raises(AssertionError):
        table.add(spec, (), -1)


def test_the_recorder_hands_over_a_requests_events_once() -> None:
    recorder = EventRecorder(Metrics(version="1"), max_requests=4, max_events_per_request=100)
    happened = happenings.whole_request()
    for event in happened[:-1]:
        recorder.emit(event)
        recorder.check_integrity()

    assert recorder.take(happenings.REQUEST) == tuple(happened[:-1])
    recorder.emit(happened[-1])
    assert recorder.take(happenings.REQUEST) == ()
    assert recorder.dropped == 0


def test_the_recorder_counts_what_it_has_no_room_for() -> None:
    metrics = Metrics(version="1")
    recorder = EventRecorder(metrics, max_requests=1, max_events_per_request=2)
    recorder.emit(happenings.received())
    recorder.emit(happenings.received(RequestId("req_" + "5" * 32)))
    for event in happenings.in_the_engine():
        recorder.emit(event)
    recorder.check_integrity()
    kept = recorder.take(happenings.REQUEST)
    recorder.emit(happenings.in_the_engine()[0])

    assert len(kept) == 2
    assert recorder.dropped == 4
    assert metrics.value(catalogue.EVENTS_DROPPED, "request_limit") == 1
    assert metrics.value(catalogue.EVENTS_DROPPED, "event_limit") == 2
    assert metrics.value(catalogue.EVENTS_DROPPED, "late") == 1


def test_every_model_call_of_a_run_has_its_own_engine_times() -> None:
    metrics = _folded(*happenings.whole_run())

    for spec in (
        catalogue.QUEUE_TIME,
        catalogue.PREFILL_TIME,
        catalogue.DECODE_TIME,
        catalogue.INFERENCE_TIME,
        catalogue.TIME_PER_OUTPUT_TOKEN,
    ):
        assert metrics.value(spec, *ENGINE) == 2, spec.name
    assert metrics.value(catalogue.TIME_TO_FIRST_TOKEN, *ENGINE) == 1
    assert metrics.value(catalogue.PREFIX_QUERIES, *ENGINE) == 40 + 80
    assert metrics.value(catalogue.GEN_AI_AGENT_DURATION, "octant", "octant-mini", "") == 1


def test_stages_are_observed_outside_of_engines_once_a_visit() -> None:
    samples = _samples(_folded(*happenings.whole_run()))

    spent = {
        name: samples[f"octant_stage_seconds_sum[('stage', '{name}')]"]
        for name in ("governance", "session", "route", "tool_authorization", "tool", "validation")
    }
    assert spent == pytest.approx(
        {
            "governance": 0.001,
            "session": 0.002,
            "route": 0.002,
            "tool_authorization": 0.003,
            "tool": 0.007,
            "validation": 0.002,
        }
    )


def test_tools_are_counted_and_an_invented_name_makes_no_series() -> None:
    refused = happenings.tool_outcome(ToolStatus.REFUSED)
    invented = ToolFinished(
        at_ns=happenings.at(152),
        request_id=happenings.REQUEST,
        outcome=replace(refused, tool="rm_rf_everything"),
    )

    metrics = _folded(*happenings.whole_run()[:-1], invented)

    assert metrics.value(catalogue.TOOL_CALLS, "calculator", "succeeded", "read") == 1
    assert metrics.value(catalogue.TOOL_CALLS, "other", "refused", "read") == 1
    assert metrics.value(catalogue.GEN_AI_TOOL_DURATION, "calculator", "") == 1
    assert "rm_rf" not in metrics.render().body.decode()


def test_what_was_not_stored_is_in_no_account() -> None:
    metrics = _folded(
        *happenings.whole_request()[:-1], happenings.settled(happenings.outcome(), stored=False)
    )

    assert metrics.value(catalogue.COST, "default", "octant-mini") == 0
    assert metrics.value(catalogue.TOKENS, "default", "octant-mini", "input") == 0
    assert metrics.value(catalogue.PROMPT_TOKENS, *ENGINE) == 0
    assert metrics.value(catalogue.TENANT_REQUESTS, "default", "completed") == 1
