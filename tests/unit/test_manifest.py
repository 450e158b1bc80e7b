"""Manifests: what was pinned stays, what was scheduled and used is added, nothing is guessed."""

from pathlib import Path

import msgspec
from msgspec.structs import replace

from octant.adapters.system.hardware import read_hardware
from octant.core.events import (
    AttemptFailed,
    AttemptStarted,
    SequencePreempted,
    SequenceScheduled,
)
from octant.core.failure import Failure, FailureKind
from octant.core.ids import ReleaseId, RouteId, SessionId
from octant.core.manifest import ExecutionManifest, Hardware
from octant.core.record import decode, encode
from octant.core.stage import Stage
from octant.core.tools import SideEffect, ToolStatus
from octant.observability.manifest import completed, schema_digest
from tests.support import happenings, settlements

PINNED = replace(
    settlements.manifest(1),
    route=happenings.ROUTE.id,
    release=ReleaseId("1"),
    artifact_digest="sha256:aa",
    engine="openvino",
    engine_version="2026.4",
)


def test_every_model_call_tool_and_source_is_in_it() -> None:
    whole = completed(
        PINNED,
        happenings.whole_run(),
        octant_version="0.1.0",
        output_schema={"type": "object"},
        evaluator_version="3",
    )

    first, second = whole.steps
    assert (first.step, first.attempt, first.route) == (1, 1, happenings.ROUTE.id)
    assert (first.prompt_tokens, first.prompt_digest) == (40, "sha256:01")
    assert (first.cached_tokens, first.completion_tokens, first.max_batch) == (0, 11, 3)
    assert (second.step, second.attempt, second.prompt_tokens) == (2, 2, 80)
    assert (second.cached_tokens, second.max_batch) == (32, 4)
    assert {step.artifact_digest for step in whole.steps} == {"sha256:aa"}
    (tool,) = whole.tools
    assert (tool.tool, tool.version, tool.idempotency_key) == ("calculator", "2", "key-1")
    assert (tool.side_effect, tool.status) == (SideEffect.READ, ToolStatus.SUCCEEDED)
    assert whole.evidence_digest == "sha256:ee"
    assert (whole.session, whole.session_version) == (SessionId("ses_1"), 4)
    assert whole.output_schema_digest == schema_digest({"type": "object"})
    assert (whole.octant_version, whole.evaluator_version) == ("0.1.0", "3")


def test_what_was_pinned_is_not_touched() -> None:
    whole = completed(PINNED, happenings.whole_request(), evaluator_version="3")

    assert whole.evaluator_version == ""
    for name in ("route", "artifact_digest", "sampling", "seed", "kv_precision", "prompt_digest"):
        assert getattr(whole, name) == getattr(PINNED, name)


def test_only_the_attempt_that_answered_counts_as_the_step() -> None:
    lost = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="Gone.")
    first = happenings.model_call(1, 0)
    failed = AttemptFailed(
        at_ns=happenings.at(134),
        request_id=happenings.REQUEST,
        attempt=1,
        route=happenings.ROUTE.id,
        failure=lost,
    )
    second = happenings.model_call(1, 140, attempt=2)[1:]

    (step,) = completed(PINNED, [happenings.received(), *first, failed, *second]).steps

    assert (step.attempt, step.completion_tokens) == (2, 11)


def test_steps_on_another_route_name_that_routes_artifact() -> None:
    other = replace(
        PINNED, route=RouteId("other"), artifact_digest="sha256:bb", engine_version="2025.1"
    )
    calls = happenings.model_call(1, 0)
    elsewhere = [
        replace(event, route=RouteId("other")) if isinstance(event, AttemptStarted) else event
        for event in calls
    ]
    events = [*elsewhere, *happenings.model_call(2, 140, attempt=2)]

    known = completed(PINNED, events, pins=[other]).steps
    unknown = completed(PINNED, events).steps

    assert [step.artifact_digest for step in known] == ["sha256:bb", "sha256:aa"]
    assert [step.engine_version for step in known] == ["2025.1", "2026.4"]
    assert unknown[0].artifact_digest == ""


def test_preemptions_are_counted_and_their_recomputation_is_no_cache_hit() -> None:
    again = SequenceScheduled(
        at_ns=happenings.at(60),
        request_id=happenings.REQUEST,
        choice=0,
        prompt_tokens=40,
        cached_tokens=40,
    )
    preempted = SequencePreempted(
        at_ns=happenings.at(50), request_id=happenings.REQUEST, choice=0, freed_blocks=7
    )
    calls = happenings.model_call(1, 0)

    (step,) = completed(PINNED, [*calls[:-1], preempted, again, calls[-1]]).steps

    assert (step.preemptions, step.cached_tokens) == (1, 0)


def test_schema_digests_do_not_depend_on_the_order_of_keys() -> None:
    assert schema_digest({"a": 1, "b": {"c": 2, "d": 3}}) == schema_digest(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )
    assert schema_digest({"a": 1}) != schema_digest({"a": 2})


def test_manifests_of_an_older_octant_are_read_with_what_they_said() -> None:
    old = msgspec.json.decode(encode(settlements.manifest(1)))
    for name in ("octant_version", "steps", "tools", "hardware", "engine_flags", "adapter"):
        del old[name]

    read = decode(msgspec.json.encode(old), ExecutionManifest)

    assert (read.octant_version, read.steps, read.hardware) == ("", (), Hardware())
    assert read.adapter == "none"


def test_this_machine_says_what_it_is(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 amx_bf16 sse4_2\n\n"
        "processor\t: 1\nmodel name\t: Another\nflags\t\t: fpu\n"
    )

    read = read_hardware(cpuinfo)

    assert (read.cpu, read.features) == ("Some CPU @ 2 GHz", ("sse4_2", "avx2", "amx_bf16"))
    assert read.cores >= 1
    assert read_hardware(tmp_path / "none").features == ()
