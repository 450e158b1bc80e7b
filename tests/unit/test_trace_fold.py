"""Traces: deterministic, total, and their stages tile the request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octant.core.events import (
    AnyEvent,
    AttemptFailed,
    AttemptStarted,
    OutputChecked,
    SequencePreempted,
    StepExecuted,
    ToolFinished,
)
from octant.core.failure import Failure, FailureKind
from octant.core.ids import RequestId, RouteId
from octant.core.outcome import OutcomeStatus
from octant.core.stage import Stage
from octant.core.tools import ToolStatus
from octant.core.units import NS_PER_MS
from octant.observability import trace
from octant.observability.stages import ENGINE_EVENTS
from octant.observability.summary import stages
from tests.support import happenings


def _by_name(folded: trace.Trace) -> dict[str, tuple[float, float]]:
    return {
        span.name: ((span.start_ns - folded.start_ns) / NS_PER_MS, span.duration_ns / NS_PER_MS)
        for span in folded.spans
    }


def test_each_stage_is_named_and_lies_where_it_happened() -> None:
    folded = trace.fold(happenings.whole_request())

    assert _by_name(folded) == {
        "chat octant-mini": (0, 140),
        "boundary": (0, 1),
        "admission": (1, 2),
        "step 1": (3, 133),
        "context": (3, 1),
        "route": (4, 1),
        "attempt 1": (5, 131),
        "queue": (6, 10),
        "prefill": (16, 20),
        "decode": (36, 100),
        "response": (136, 4),
    }


def test_root_carries_the_documented_attributes_and_the_callers_parent() -> None:
    root = trace.fold(happenings.whole_request()).root

    assert root.parent_span_id == "3" * 16
    assert {name: value for name, value in root.attributes.items() if name[:7] == "gen_ai."} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "octant",
        "gen_ai.request.model": "octant-mini",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "octant-mini",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.037,
        "gen_ai.usage.input_tokens": 40,
        "gen_ai.usage.output_tokens": 11,
        "gen_ai.usage.cache_read.input_tokens": 32,
    }


def test_same_events_in_any_order_give_the_same_spans() -> None:
    events = happenings.whole_request()

    assert trace.fold(events) == trace.fold(list(reversed(events)))


def test_span_ids_are_unique_and_differ_between_requests_of_one_trace() -> None:
    first = trace.fold(happenings.whole_request())
    second = trace.fold(happenings.whole_request(RequestId("req_" + "9" * 32)))

    ids = [span.span_id for span in (*first.spans, *second.spans)]
    assert len(set(ids)) == len(ids)
    assert all(len(span_id) == 16 for span_id in ids)


def _assert_tiled(folded: trace.Trace) -> None:
    """Spans below the request, and those below each step, follow each other without a gap."""
    steps = [span for span in folded.spans if span.name.startswith("step ")]
    for parent in (folded.root, *steps):
        children = [s for s in folded.spans if s.parent_span_id == parent.span_id]
        mark_ns = parent.start_ns
        for child in children:
            assert child.start_ns == mark_ns, child
            mark_ns = child.end_ns
        assert mark_ns <= parent.end_ns
        if parent is not folded.root or folded.complete:
            assert mark_ns == parent.end_ns


def test_a_run_shows_its_steps_and_everything_between_them() -> None:
    folded = trace.fold(happenings.whole_run())

    depth = {folded.root.span_id: 0}
    for span in folded.spans[1:]:
        depth[span.span_id] = depth[str(span.parent_span_id)] + 1
    shown = [
        (depth[s.span_id], s.name, (s.start_ns - folded.start_ns) // NS_PER_MS)
        for s in folded.spans
    ]
    assert shown == [
        (0, "chat octant-mini", 0),
        (1, "admission", 0),
        (1, "governance", 2),
        (1, "session", 3),
        (1, "context", 5),
        (1, "step 1", 8),
        (2, "context", 8),
        (2, "route", 9),
        (2, "attempt 1", 10),
        (3, "queue", 11),
        (3, "prefill", 21),
        (3, "decode", 41),
        (1, "tool_authorization", 141),
        (1, "tool calculator", 144),
        (1, "step 2", 151),
        (2, "context", 151),
        (2, "route", 152),
        (2, "attempt 2", 153),
        (3, "queue", 154),
        (3, "prefill", 164),
        (3, "decode", 184),
        (1, "validation", 284),
        (1, "response", 286),
    ]


@given(st.permutations(happenings.whole_run()), st.integers(0, 40))
def test_any_part_of_a_run_in_any_order_is_a_trace_that_tiles_it(
    events: list[AnyEvent], length: int
) -> None:
    some = [happenings.received(), *(e for e in events[:length] if e.at_ns > happenings.at(0))]

    folded = trace.fold(some)

    _assert_tiled(folded)
    assert len({span.span_id for span in folded.spans}) == len(folded.spans)
    assert sum(s.duration_ns for s in stages(some)) == max(e.at_ns for e in some) - some[0].at_ns


def test_stage_times_add_up_to_the_request() -> None:
    spent = {each.stage: each.duration_ns / NS_PER_MS for each in stages(happenings.whole_run())}

    assert spent == {
        "admission": 2,
        "governance": 1,
        "session": 2,
        "context": 3 + 1 + 1,
        "route": 2,
        "queue": 2 * 11,
        "prefill": 2 * 20,
        "decode": 2 * 100,
        "tool_authorization": 3,
        "tool": 7,
        "validation": 2,
        "response": 4,
    }


def test_an_engine_that_reports_nothing_decodes_until_the_path_goes_on() -> None:
    call = [e for e in happenings.model_call(1, 0) if not isinstance(e, ENGINE_EVENTS)]
    checked = OutputChecked(
        at_ns=happenings.at(90), request_id=happenings.REQUEST, valid=True, citations=0, supported=0
    )
    events = [happenings.received(), *call, checked]

    spent = {each.stage: each.duration_ns / NS_PER_MS for each in stages(events, happenings.at(95))}
    folded = trace.fold(events)

    assert spent == {"context": 1, "route": 1, "queue": 1, "decode": 87, "response": 5}
    (attempt,) = (span for span in folded.spans if span.name == "attempt 1")
    assert attempt.end_ns == happenings.at(90)


def test_a_tool_call_refused_before_it_ran_ends_its_authorization() -> None:
    refused = Failure(
        kind=FailureKind.PERMISSION_DENIED, stage=Stage.TOOL_AUTHORIZATION, message="Not yours."
    )
    ended = ToolFinished(
        at_ns=happenings.at(150),
        request_id=happenings.REQUEST,
        outcome=happenings.tool_outcome(ToolStatus.REFUSED, refused),
    )
    events = [happenings.received(), *happenings.model_call(1, 0), ended]

    last = trace.fold(events).spans[-1]

    assert (last.name, last.error) == ("tool_authorization", "Not yours.")
    assert stages(events)[-1].stage == "tool_authorization"


def test_an_answer_that_breaks_its_contract_fails_in_validation() -> None:
    invalid = Failure(kind=FailureKind.OUTPUT_INVALID, stage=Stage.VALIDATION, message="No JSON.")
    ended = happenings.outcome(status=OutcomeStatus.PARTIAL, failure=invalid)
    events = [happenings.received(), *happenings.model_call(1, 0)]

    folded = trace.fold(
        [*events, happenings.settled(ended)],
    )

    assert (folded.spans[-1].name, folded.spans[-1].error) == ("validation", "No JSON.")
    _assert_tiled(folded)


def test_any_prefix_of_a_request_is_a_trace_whose_stages_tile_it() -> None:
    events = happenings.whole_request()

    for length in range(1, len(events) + 1):
        folded = trace.fold(events[:length])
        mark_ns = folded.start_ns
        for span in folded.spans[1:]:
            if span.parent_span_id == folded.root.span_id:
                assert span.start_ns == mark_ns
                mark_ns = span.end_ns
        assert mark_ns <= folded.root.end_ns
        assert folded.complete is (length == len(events))
    assert mark_ns == folded.root.end_ns


def test_a_stored_outcome_completes_a_trace_without_a_settling_event() -> None:
    events = happenings.whole_request()

    assert trace.fold(events[:-1], happenings.outcome()) == trace.fold(events)


def test_a_failed_attempt_shows_its_failure_and_the_next_one_follows() -> None:
    lost = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="The engine died.")
    events = [
        happenings.received(),
        *happenings.before_the_engine(),
        AttemptFailed(
            at_ns=happenings.at(10),
            request_id=happenings.REQUEST,
            attempt=1,
            route=happenings.ROUTE.id,
            failure=lost,
        ),
        AttemptStarted(
            at_ns=happenings.at(12),
            request_id=happenings.REQUEST,
            attempt=2,
            route=RouteId("embedded"),
        ),
        *happenings.in_the_engine(),
        happenings.settled(happenings.outcome(attempts=2)),
    ]

    folded = trace.fold(events)

    first, second = (span for span in folded.spans if span.name.startswith("attempt"))
    assert first.error == "The engine died."
    assert first.attributes["error.type"] == "engine_lost"
    assert first.attributes["octant.failure.class"] == "execution"
    assert first.end_ns == second.start_ns == happenings.at(10)
    assert [s.name for s in folded.spans if s.parent_span_id == first.span_id] == []
    assert [s.name for s in folded.spans if s.parent_span_id == second.span_id] == [
        "queue",
        "prefill",
        "decode",
    ]


def test_parallel_choices_each_have_their_own_parts() -> None:
    events = [
        happenings.received(),
        *happenings.before_the_engine(),
        *happenings.in_the_engine(choice=0),
        *happenings.in_the_engine(choice=1),
    ]

    folded = trace.fold(events)

    decodes = [span for span in folded.spans if span.name == "decode"]
    assert [span.attributes["octant.choice"] for span in decodes] == [0, 1]


def test_a_preemption_is_an_event_of_the_part_it_fell_in() -> None:
    preempted = SequencePreempted(
        at_ns=happenings.at(50), request_id=happenings.REQUEST, choice=0, freed_blocks=7
    )

    folded = trace.fold([*happenings.whole_request(), preempted])

    (decode,) = (span for span in folded.spans if span.name == "decode")
    assert [(event.name, event.attributes) for event in decode.events] == [
        ("preempted", {"octant.freed_blocks": 7})
    ]


def test_a_refused_request_has_an_error_and_no_attempt() -> None:
    refused = Failure(
        kind=FailureKind.RATE_LIMIT_EXCEEDED, stage=Stage.ADMISSION, message="Too many requests."
    )
    ended = happenings.outcome(status=OutcomeStatus.FAILED, failure=refused, attempts=0)

    folded = trace.fold([happenings.received(), happenings.settled(ended)])

    assert folded.root.error == "Too many requests."
    assert folded.root.attributes["error.type"] == "rate_limit_exceeded"
    assert "gen_ai.usage.input_tokens" not in folded.root.attributes
    (refusing,) = folded.spans[1:]
    assert (refusing.name, refusing.stage) == ("admission", "admission")
    assert refusing.error == folded.root.error
    assert refusing.end_ns == folded.root.end_ns


def test_events_of_another_request_are_refused() -> None:
    stranger = happenings.in_the_engine(RequestId("req_" + "8" * 32))
    step = StepExecuted(
        at_ns=1,
        route=happenings.ROUTE.id,
        duration_ns=1,
        executor_ns=1,
        sequences=1,
        prefill_tokens=0,
        decode_tokens=1,
    )

    for events in ([*happenings.whole_request(), *stranger], [*happenings.whole_request(), step]):
        with pytest.raises(ValueError, match="something else"):
            trace.fold(events)
    with pytest.raises(ValueError, match="exactly one request_received"):
        trace.fold(happenings.in_the_engine())
