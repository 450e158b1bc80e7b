"""The preparation pipeline: nine stages in order, evidence of each, nothing half made."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from octant.adapters.system.clock import SystemClock
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import PREPARATION_STAGES, Stage
from octant.preparation.job import PrepareOptions, StageReport, Tools
from octant.preparation.manifest import MANIFEST_FILE, read_artifact
from octant.preparation.pipeline import PreparedArtifact, prepare
from octant.preparation.workspace import open_workspace
from tests.support.toolchain import EXACT, GRAPH, PowerCut, ScriptedToolchain

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 512,
    "vocab_size": 512,
    "eos_token_id": 2,
}
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 510}}, "added_tokens": [{"id": 511}]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "tiny"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 2]}))
    (directory / "model.safetensors").write_bytes(b"tensors")
    return directory


class Bench:
    """A place to prepare in, and what was reported."""

    def __init__(self, source: Path, root: Path) -> None:
        self.source = source
        self.root = root
        self.tools = ScriptedToolchain()
        self.reports: list[StageReport] = []

    def run(self, weights: Any = "int8") -> PreparedArtifact:
        options = PrepareOptions(weights=weights)
        tools = Tools(self.tools, SystemClock())
        return prepare(self.source, self.root, options, tools, self.reports.append)

    def artifacts(self) -> list[Path]:
        return sorted(path.parent for path in self.root.glob(f"*/{MANIFEST_FILE}"))


@pytest.fixture
def bench(source: Path, tmp_path: Path) -> Bench:
    return Bench(source, tmp_path / "models")


def test_a_checkpoint_becomes_a_verified_artifact_with_evidence_of_nine_stages(
    bench: Bench,
) -> None:
    made = bench.run()
    manifest = read_artifact(made.directory)
    assert manifest == made.manifest
    assert made.directory.name == f"tiny-{manifest.digest.removeprefix('sha256:')[:16]}"
    assert tuple(entry.stage for entry in manifest.evidence) == PREPARATION_STAGES
    assert all(entry.facts for entry in manifest.evidence)
    assert manifest.architecture == "LlamaForCausalLM"
    assert manifest.max_context == 512
    assert manifest.vocab_size == 512
    assert manifest.eos_token_ids == (5, 2)
    assert manifest.tool_call_format == "none"
    assert manifest.fixture is not None
    assert {file.path for file in manifest.files} == {
        "openvino_model.xml",
        "openvino_model.bin",
        "config.json",
        "tokenizer.json",
        "generation_config.json",
    }
    assert (made.directory / "openvino_model.bin").read_bytes() == b"int8 weights"


def test_every_stage_is_reported_when_it_starts_and_when_it_ends(bench: Bench) -> None:
    bench.run()
    turns = [r for r in bench.reports if r.state != "working"]
    assert [r.stage for r in turns] == [s for s in PREPARATION_STAGES for _ in range(2)]
    assert [r.number for r in turns] == [n for n in range(1, 10) for _ in range(2)]
    assert all(r.total == 9 for r in turns)
    assert all((r.duration_ns is not None) == (r.state == "finished") for r in turns)
    assert any(r.state == "working" and r.message == "exporting" for r in bench.reports)


def test_weights_that_stay_are_recorded_as_left_alone(bench: Bench) -> None:
    made = bench.run("f32")
    assert "compress" not in bench.tools.calls
    facts = made.manifest.evidence[3].facts
    assert facts["passes"] == []
    assert "stay f32" in facts["reason"]
    assert (made.directory / "openvino_model.bin").read_bytes() == b"weights"


def test_the_same_recipe_is_prepared_once(bench: Bench) -> None:
    first = bench.run()
    bench.tools.calls.clear()
    again = bench.run()
    assert again.reused and not first.reused
    assert again.directory == first.directory
    assert bench.tools.calls == []


def test_other_options_or_another_source_are_another_artifact(bench: Bench) -> None:
    bench.run("int8")
    bench.run("int4")
    (bench.source / "model.safetensors").write_bytes(b"retrained")
    changed = bench.run("int8")
    assert not changed.reused
    assert bench.tools.calls.count("export") == 3
    # The scripted toolchain writes the same graph, so the content is the same artifact again.
    assert len(bench.artifacts()) == 2


def test_a_damaged_artifact_is_made_again(bench: Bench) -> None:
    made = bench.run()
    (made.directory / "openvino_model.bin").write_bytes(b"damaged")
    again = bench.run()
    assert not again.reused
    assert read_artifact(again.directory).digest == made.digest


CALLS = ["versions", "export", "inspect", "parity", "compress", "place", "build", "trial"]


@pytest.mark.parametrize("call", CALLS)
def test_a_failing_tool_leaves_earlier_artifacts_as_they_were(bench: Bench, call: str) -> None:
    earlier = bench.run("int8")
    bench.tools.fails_at = call
    with pytest.raises(Failed) as failed:
        bench.run("int4")
    assert failed.value.failure.kind is FailureKind.PREPARATION_FAILED
    assert bench.artifacts() == [earlier.directory]
    assert read_artifact(earlier.directory) == earlier.manifest


@pytest.mark.parametrize("call", CALLS)
def test_after_a_power_cut_only_what_was_unfinished_is_done_again(bench: Bench, call: str) -> None:
    bench.tools.fails_at, bench.tools.fault = call, PowerCut()
    with pytest.raises(PowerCut):
        bench.run()
    assert bench.artifacts() == []
    before = list(bench.tools.calls)
    bench.tools.fails_at = None
    made = bench.run()
    assert read_artifact(made.directory) == made.manifest
    finished_export = "export" in before and call != "export"
    assert bench.tools.calls.count("export") == (1 if finished_export or call == "versions" else 2)
    assert made.manifest.evidence[0].facts["resumed"] == finished_export
    assert list((bench.root / ".preparing").glob("*/*")) == []


@pytest.mark.parametrize(
    ("kind", "kept"),
    [(FailureKind.INSUFFICIENT_MEMORY, True), (FailureKind.PREPARATION_FAILED, False)],
)
def test_only_what_may_go_better_next_time_is_kept(
    bench: Bench, kind: FailureKind, kept: bool
) -> None:
    bench.tools.fails_at = "compress"
    bench.tools.fault = Failed(Failure(kind=kind, stage=Stage.OPTIMISE, message="no"))
    with pytest.raises(Failed):
        bench.run()
    assert bool(list((bench.root / ".preparing").glob("*/captured"))) == kept
    bench.tools.fails_at = None
    assert bench.run().manifest.evidence[0].facts["resumed"] == kept


def test_a_full_disk_is_a_failure_of_the_stage_that_wrote(bench: Bench) -> None:
    bench.tools.fails_at = "compress"
    bench.tools.fault = OSError(errno.ENOSPC, "No space left on device", "openvino_model.bin")
    with pytest.raises(Failed) as failed:
        bench.run()
    assert failed.value.failure.kind is FailureKind.PREPARATION_FAILED
    assert failed.value.failure.stage is Stage.OPTIMISE
    assert "No space left" in failed.value.failure.message


def test_two_processes_do_not_prepare_the_same_model(bench: Bench) -> None:
    key = bench.run().manifest.recipe_key
    for directory in bench.artifacts():
        (directory / MANIFEST_FILE).unlink()
    with open_workspace(bench.root, key), pytest.raises(Failed) as refused:
        bench.run()
    assert refused.value.failure.kind is FailureKind.CONFLICT
    assert not bench.run().reused


def test_a_graph_that_drifts_from_the_reference_is_not_packaged(bench: Bench) -> None:
    for wrong in (0.1, float("nan"), float("inf")):
        bench.tools.drift = structs.replace(EXACT, max_difference=wrong)
        with pytest.raises(Failed) as failed:
            bench.run()
        assert failed.value.failure.stage is Stage.OPTIMISE
    assert bench.artifacts() == []


def test_answers_far_from_the_reference_are_not_published(bench: Bench) -> None:
    for wrong in (0.9, float("nan")):
        bench.tools.served = structs.replace(EXACT, mean_difference=wrong)
        with pytest.raises(Failed) as failed:
            bench.run()
        assert failed.value.failure.stage is Stage.WARM
    assert bench.artifacts() == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"inputs": GRAPH.inputs[1:]}, "no input_ids"),
        ({"inputs": (structs.replace(GRAPH.inputs[0], name="pixels"),)}, "pixels"),
        ({"outputs": (structs.replace(GRAPH.outputs[0], name="hidden"),)}, "hidden"),
        ({"states": 0}, "no state"),
        ({"control_flow": ("Loop",)}, "Loop"),
    ],
)
def test_a_graph_that_cannot_be_served_is_refused_and_leaves_nothing(
    bench: Bench, changes: dict[str, Any], named: str
) -> None:
    bench.tools.graph = structs.replace(GRAPH, **changes)
    with pytest.raises(Failed) as refused:
        bench.run()
    assert refused.value.failure.kind is FailureKind.UNSUPPORTED_MODEL
    assert refused.value.failure.stage is Stage.REPRESENT
    assert named in refused.value.failure.message
    assert [path for path in bench.root.rglob("*") if path.suffix != ".lock"] == [
        bench.root / ".preparing"
    ]


def test_a_tokenizer_that_exceeds_the_logits_is_refused(bench: Bench) -> None:
    outside = TOKENIZER | {"added_tokens": [{"id": 512}]}
    (bench.source / "tokenizer.json").write_text(json.dumps(outside))
    with pytest.raises(Failed) as refused:
        bench.run()
    assert refused.value.failure.stage is Stage.ANALYSE
    assert "512" in refused.value.failure.message


def test_a_checkpoint_for_which_no_tokenizer_can_be_made_is_refused(bench: Bench) -> None:
    (bench.source / "tokenizer.json").unlink()
    with pytest.raises(Failed) as refused:
        bench.run()
    assert refused.value.failure.kind is FailureKind.UNSUPPORTED_MODEL
    assert "tokenizer.json" in refused.value.failure.message


def test_operations_that_nobody_runs_are_named(bench: Bench) -> None:
    bench.tools.unowned = ("Exotic",)
    with pytest.raises(Failed) as refused:
        bench.run()
    assert refused.value.failure.stage is Stage.PARTITION
    assert "Exotic" in refused.value.failure.message
