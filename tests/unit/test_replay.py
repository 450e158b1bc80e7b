"""Replay: reruns find the first difference, and causes are only what was pinned."""

from typing import Any

import pytest
from msgspec.structs import replace

from octant.compute.schedule import SchedulerSettings
from octant.compute.token_scheduler import TokenScheduler
from octant.context.kv.block_pool import BlockPool
from octant.core.failure import Failed, FailureKind
from octant.core.ids import RouteId
from octant.core.manifest import ExecutedStep, ExecutionManifest, Hardware
from octant.core.recording import RecordedStep, Recording
from octant.core.stream import TextDelta
from octant.core.usage import FinishReason
from octant.lifecycle import replay
from octant.lifecycle.replay import Change, Difference, ReplayVerdict, RunFacts, StepReplay
from octant.serving.engine_loop import EngineLoop, LoopSettings
from octant.serving.messages.to_engine import Stop, generate
from octant.serving.rerun import Divergence, RerunChoice, rerun_step
from octant.serving.sequences import Vocabulary
from tests.support import settlements
from tests.support.engine_parts import ROUTE, MemoryLink, SetClock, work
from tests.support.modelled_lm import EOS, ByteTokenizer, ModelledExecutor, saying

WORDS = Vocabulary(ByteTokenizer(), frozenset({EOS}))
PROMPT = (10, 11, 12, 13, 14)


def _recorded(prompt: tuple[int, ...], **sampling: Any) -> Recording:
    """One work run by the engine loop."""
    executor, link = ModelledExecutor(), MemoryLink()
    facts = executor.facts
    scheduler = TokenScheduler(
        SchedulerSettings(), BlockPool(facts.block_count, facts.block_size), facts.max_context
    )
    loop = EngineLoop(link, executor, scheduler, WORDS, SetClock(), LoopSettings(route=ROUTE))
    asked = work(prompt, **({"max_tokens": 12} | sampling))
    link.tell(generate(asked))
    while not any(output.usage for output in link.outputs(asked.request_id)):
        loop.turn()
    link.tell(Stop())
    outputs = link.outputs(asked.request_id)
    deltas: list[TextDelta] = [delta for output in outputs for delta in output.deltas]
    finished = sorted(end for output in outputs for end in output.finished)
    step = RecordedStep(
        step=1,
        attempt=1,
        route=ROUTE,
        prompt_tokens=asked.prompt_tokens,
        sampling=asked.sampling,
        seed=asked.seed,
        outputs=tuple(
            tuple(token for d in deltas if d.choice == choice for token in d.tokens)
            for choice in range(asked.sampling.n)
        ),
        finish_reasons=tuple(end.reason for end in finished),
    )
    return Recording(request_id=asked.request_id, steps=(step,))


def _rerun(recording: Recording, chunk: int = 512) -> tuple[RerunChoice, ...]:
    return rerun_step(ModelledExecutor(), WORDS, recording, recording.steps[0], chunk)


def _changed(recording: Recording, **changes: Any) -> Recording:
    return replace(recording, steps=(replace(recording.steps[0], **changes),))


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"temperature": 1.0},
        {"temperature": 0.8, "top_p": 0.9, "top_k": 40, "n": 3},
        {"repetition_penalty": 1.3, "frequency_penalty": 0.5},
        {"min_tokens": 4, "logit_bias": {EOS: 50.0}},
        {"temperature": 1.0, "stop": ("e",), "max_tokens": 60},
        {"stop_token_ids": (101, 102, 103, 104, 105), "temperature": 1.0, "max_tokens": 60},
        {"ignore_eos": True},
    ],
)
def test_what_the_engine_said_is_said_again(sampling: dict[str, Any]) -> None:
    recording = _recorded(PROMPT, **sampling)

    reruns = _rerun(recording)

    assert [again.divergence for again in reruns] == [None] * recording.steps[0].sampling.n
    assert sum(r.same_tokens for r in reruns) == sum(map(len, recording.steps[0].outputs))


def test_an_answer_that_ended_by_itself_ends_again_however_the_prompt_is_cut() -> None:
    recording = _recorded(saying("hello"), max_tokens=50)

    assert recording.steps[0].finish_reasons == (FinishReason.STOP,)
    assert _rerun(recording, chunk=3) == (RerunChoice(0, 5, None),)


def test_the_first_token_that_differs_is_named_with_its_margin() -> None:
    recording = _recorded(PROMPT)
    (said,) = recording.steps[0].outputs
    other = (said[5] + 1) % 127

    (again,) = _rerun(_changed(recording, outputs=((*said[:5], other, *said[6:]),)))

    assert again.same_tokens == 5
    found = again.divergence
    assert found is not None and found[:3] == (5, other, said[5])
    assert found.margin is not None and found.margin > 0


def test_an_end_that_comes_early_or_late_is_a_difference() -> None:
    recording = _recorded(saying("hello"), max_tokens=50)
    (said,) = recording.steps[0].outputs

    (longer,) = _rerun(_changed(recording, outputs=((*said, 33),)))
    (shorter,) = _rerun(_changed(recording, outputs=(said[:3],)))
    limited = replace(recording.steps[0].sampling, max_tokens=3)
    (cut,) = _rerun(_changed(recording, sampling=limited))

    assert longer.divergence is not None and longer.divergence[:3] == (5, 33, None)
    assert shorter.divergence is not None and shorter.divergence[:3] == (3, None, said[3])
    assert cut.divergence == Divergence(3, said[3], None, None)


def test_an_answer_that_was_broken_off_is_compared_as_far_as_it_came() -> None:
    recording = _recorded(PROMPT)
    (said,) = recording.steps[0].outputs

    partial = _changed(recording, outputs=(said[:4],), finish_reasons=())

    assert _rerun(partial) == (RerunChoice(0, 4, None),)


def test_a_call_that_does_not_fit_the_memory_is_refused() -> None:
    recording = _recorded(PROMPT)
    small = ModelledExecutor(block_count=2)

    with pytest.raises(Failed) as refused:
        rerun_step(small, WORDS, recording, recording.steps[0], 512)

    assert refused.value.failure.kind is FailureKind.CAPACITY_EXHAUSTED


# Causes


MANIFEST = replace(
    settlements.manifest(1),
    engine_flags={"threads": "2"},
    hardware=Hardware(cpu="A", features=("avx2",), cores=2),
    octant_version="0.1.0",
)


def _facts(manifest: ExecutionManifest, **changes: Any) -> RunFacts:
    same = RunFacts(
        artifact_digest=manifest.artifact_digest,
        tokenizer_digest=manifest.tokenizer_digest,
        engine=manifest.engine,
        engine_version=manifest.engine_version,
        octant_version=manifest.octant_version,
        weight_precision=manifest.weight_precision,
        kv_precision=manifest.kv_precision,
        device=manifest.device,
        hardware=manifest.hardware,
        flags=dict(manifest.engine_flags),
    )
    return same._replace(**changes)


def _difference(margin: float | None) -> Difference:
    return Difference(
        choice=0,
        position=3,
        recorded_token=1,
        recorded_text="a",
        got_token=2,
        got_text="b",
        margin=margin,
    )


def test_nothing_changed_where_everything_is_as_it_was() -> None:
    assert replay.changes(MANIFEST, None, _facts(MANIFEST)) == ()


def test_what_the_manifest_left_empty_is_no_change() -> None:
    old = replace(MANIFEST, engine_flags={}, hardware=Hardware(), octant_version="")

    now = _facts(old, hardware=Hardware(cpu="B", cores=8), octant_version="9", flags={"x": "1"})

    assert replay.changes(old, None, now) == ()


def test_changes_come_in_the_order_of_their_weight() -> None:
    company = ExecutedStep(
        step=1, attempt=1, route=RouteId("r"), max_batch=7, cached_tokens=64, preemptions=1
    )
    now = _facts(
        MANIFEST,
        artifact_digest="sha256:other",
        engine_version="2027.0",
        flags={"threads": "8"},
        hardware=Hardware(cpu="B", features=("avx2", "amx_bf16"), cores=8),
        octant_version="0.2.0",
    )

    found = [change.what for change in replay.changes(MANIFEST, company, now)]

    assert found == [
        "artifact",
        "engine version",
        "flag threads",
        "cpu",
        "cpu features",
        "cores",
        "batch",
        "prefix cache",
        "preemption",
        "octant version",
    ]


def test_a_near_tie_under_load_is_called_rounding() -> None:
    alone = (Change(what="batch", then="7 sequences in a step", now="alone"),)

    assert replay.cause_of(alone, _difference(0.01), sampled=False).startswith("rounding, batch")
    assert replay.cause_of(alone, _difference(4.0), sampled=False).startswith("batch")
    assert "draw" in replay.cause_of(alone, _difference(4.0), sampled=True)
    assert replay.cause_of((), _difference(0.0), sampled=False).startswith("nothing")
    assert replay.cause_of(alone, None, sampled=False) == ""


def test_one_step_that_differs_makes_the_request_differ() -> None:
    def step(verdict: ReplayVerdict) -> StepReplay:
        return StepReplay(step=1, attempt=1, route="r", verdict=verdict, tokens=4)

    same, other, absent = ReplayVerdict

    assert replay.report("req", [step(same), step(same)]).verdict is same
    assert replay.report("req", [step(same), step(other), step(absent)]).verdict is other
    assert replay.report("req", [step(same), step(absent)]).verdict is absent
    assert replay.report("req", []).verdict is absent
