"""Artifacts, checkpoints and sources: what is accepted, and what is refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import octant
from octant.adapters.system.clock import SystemClock
from octant.core.failure import Failed, FailureKind
from octant.core.stage import Stage
from octant.ports.exporter import OnProgress
from octant.preparation.architectures import SUPPORTED, context_limit, require_supported
from octant.preparation.checkpoint import read_checkpoint, resolve_source
from octant.preparation.existing import package_existing
from octant.preparation.job import Tools
from octant.preparation.manifest import (
    MANIFEST_FILE,
    ArtifactManifest,
    load_manifest,
    read_artifact,
    write_manifest,
)
from octant.preparation.package import artifact_name, eos_token_ids, tool_call_format
from tests.support.toolchain import ScriptedToolchain

BUNDLED = Path(octant.__file__).parent / "bundled" / "octant-mini"
CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "max_position_embeddings": 512,
    "eos_token_id": 2,
}


def ignore(_: str) -> None:
    pass


def failure_of(call: Any, *arguments: Any) -> tuple[FailureKind, str]:
    with pytest.raises(Failed) as failed:
        call(*arguments)
    return failed.value.failure.kind, failed.value.failure.message


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    directory = tmp_path / "exported"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "openvino_model.xml").write_text("<net>")
    (directory / "openvino_model.bin").write_bytes(b"weights")
    return directory


@pytest.fixture
def packaged(exported: Path) -> ArtifactManifest:
    return package_existing(exported, "mini one", Tools(ScriptedToolchain(), SystemClock()))


def test_an_existing_export_is_packaged_and_read_back(
    exported: Path, packaged: ArtifactManifest
) -> None:
    assert read_artifact(exported) == packaged
    assert packaged.name == "mini-one"
    assert packaged.eos_token_ids == (2,)
    assert packaged.evidence[0].stage is Stage.REPRESENT
    assert packaged.evidence[0].facts["other_stages"] == "ran outside this pipeline"
    again = package_existing(exported, "mini one", Tools(ScriptedToolchain(), SystemClock()))
    assert again.digest == packaged.digest


def test_the_bundled_model_is_a_whole_artifact() -> None:
    manifest = read_artifact(BUNDLED)
    assert manifest.architecture in SUPPORTED
    assert manifest.weight_precision == "int8"


def test_every_kind_of_damage_names_its_file(exported: Path, packaged: ArtifactManifest) -> None:
    for file in packaged.files:
        path = exported / file.path
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        kind, message = failure_of(read_artifact, exported)
        assert kind is FailureKind.CORRUPT_ARTIFACT and file.path in message
        path.unlink()
        kind, message = failure_of(read_artifact, exported)
        assert kind is FailureKind.CORRUPT_ARTIFACT and file.path in message
        path.write_bytes(content)
    read_artifact(exported)


def test_a_manifest_that_was_edited_is_found_out(
    exported: Path, packaged: ArtifactManifest
) -> None:
    write_manifest(exported, structs.replace(packaged, files=packaged.files[:-1]))
    kind, message = failure_of(read_artifact, exported)
    assert kind is FailureKind.CORRUPT_ARTIFACT and MANIFEST_FILE in message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 1}'])
def test_an_unreadable_manifest_is_a_corrupt_artifact(exported: Path, content: bytes) -> None:
    (exported / MANIFEST_FILE).write_bytes(content)
    kind, message = failure_of(load_manifest, exported)
    assert kind is FailureKind.CORRUPT_ARTIFACT and MANIFEST_FILE in message


def test_a_directory_without_manifest_is_not_a_prepared_model(exported: Path) -> None:
    _, message = failure_of(read_artifact, exported)
    assert "not a prepared model" in message


def test_what_a_newer_version_wrote_into_a_manifest_is_kept(
    exported: Path, packaged: ArtifactManifest
) -> None:
    path = exported / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"signature": "future"}))
    write_manifest(exported, read_artifact(exported))
    assert json.loads(path.read_text())["signature"] == "future"
    del packaged


def checkpoint(directory: Path, *weights: str, config: dict[str, Any] | None = None) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config or CONFIG))
    for name in weights:
        (directory / name).write_bytes(b"w")
    return directory


def test_a_checkpoint_is_known_by_the_digest_of_all_it_holds(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "a", "model.safetensors")
    first = read_checkpoint(directory, ignore)
    assert first.weights == (directory / "model.safetensors",)
    seen = {first.digest}
    for name in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"):
        content = json.dumps(CONFIG | {"x": 1}) if name == "config.json" else "changed"
        (directory / name).write_text(content)
        seen.add(read_checkpoint(directory, ignore).digest)
    assert len(seen) == 5
    (directory / "README.md").write_text("words")
    assert read_checkpoint(directory, ignore).digest in seen


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "model.ckpt"])
def test_pickles_are_refused_by_name(tmp_path: Path, name: str) -> None:
    kind, message = failure_of(read_checkpoint, checkpoint(tmp_path / "a", name), ignore)
    assert kind is FailureKind.UNSUPPORTED_MODEL
    assert name in message and "pickle" in message and "safetensors" in message


def test_beside_safetensors_a_pickle_is_left_alone(tmp_path: Path) -> None:
    both = checkpoint(tmp_path / "a", "model.safetensors", "pytorch_model.bin")
    assert [p.name for p in read_checkpoint(both, ignore).weights] == ["model.safetensors"]


def test_shards_that_the_index_names_must_all_be_there(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path / "a", "m-1.safetensors")
    index = {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    kind, message = failure_of(read_checkpoint, directory, ignore)
    assert kind is FailureKind.CORRUPT_ARTIFACT and "m-2.safetensors" in message
    (directory / "m-2.safetensors").write_bytes(b"w")
    assert len(read_checkpoint(directory, ignore).weights) == 2


def test_a_directory_that_is_no_checkpoint_says_what_it_lacks(tmp_path: Path) -> None:
    kind, message = failure_of(read_checkpoint, tmp_path, ignore)
    assert kind is FailureKind.CORRUPT_ARTIFACT and "config.json" in message
    _, message = failure_of(read_checkpoint, checkpoint(tmp_path / "a"), ignore)
    assert "safetensors" in message
    (tmp_path / "a" / "config.json").write_text("{")
    _, message = failure_of(read_checkpoint, tmp_path / "a", ignore)
    assert "config.json cannot be read" in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architectures": ["BertModel"]}, "BertModel"),
        ({"architectures": []}, "(none)"),
        ({"architectures": None}, "(none)"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"rope_scaling": {"rope_type": "spiral"}}, "spiral"),
        ({"max_position_embeddings": None}, "positions"),
        ({"rope_scaling": {"type": "longrope"}}, "positions"),
    ],
)
def test_what_cannot_be_served_is_named(changes: dict[str, Any], named: str) -> None:
    kind, message = failure_of(require_supported, CONFIG | changes)
    assert kind is FailureKind.UNSUPPORTED_MODEL
    assert named in message


def test_longrope_is_served_up_to_its_original_context() -> None:
    scaling = {"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 128}
    require_supported(CONFIG | scaling)
    assert context_limit(CONFIG | scaling) == 128
    assert context_limit(CONFIG | {"rope_scaling": None}) == 512


class ScriptedHub:
    """A hub that has `owner/model`, or none at all."""

    def __init__(self) -> None:
        self.downloads = 0
        self.cut = False

    def download(self, name: str, target: Path, progress: OnProgress) -> None:
        self.downloads += 1
        progress("downloading model.safetensors")
        (target / "model.safetensors").write_bytes(b"w")
        if self.cut:
            raise ConnectionError("cut")


def test_a_local_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    hub = ScriptedHub()
    assert resolve_source(str(tmp_path), tmp_path / "d", hub, ignore) == tmp_path.resolve()
    assert hub.downloads == 0


def test_a_hub_name_is_downloaded_once_and_only_whole(tmp_path: Path) -> None:
    hub, downloads = ScriptedHub(), tmp_path / "downloads"
    hub.cut = True
    with pytest.raises(ConnectionError):
        resolve_source("owner/model", downloads, hub, ignore)
    assert not (downloads / "owner--model").exists()
    hub.cut = False
    found = resolve_source("owner/model", downloads, hub, ignore)
    assert found == downloads / "owner--model"
    assert resolve_source("owner/model", downloads, hub, ignore) == found
    assert hub.downloads == 2


@pytest.mark.parametrize("name", ["./missing", "/nowhere/at/all", "a/b/c", "../up", "", "a b"])
def test_what_is_neither_path_nor_name_is_not_asked_for(tmp_path: Path, name: str) -> None:
    hub = ScriptedHub()
    (tmp_path / "file").write_text("")
    kind, _ = failure_of(resolve_source, name, tmp_path / "d", hub, ignore)
    assert kind is FailureKind.MODEL_NOT_FOUND
    kind, _ = failure_of(resolve_source, str(tmp_path / "file"), tmp_path / "d", hub, ignore)
    assert kind is FailureKind.MODEL_NOT_FOUND
    assert hub.downloads == 0


def test_tool_call_format_is_read_from_the_template(tmp_path: Path) -> None:
    assert tool_call_format(tmp_path) == "none"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "<tool_call>"}))
    assert tool_call_format(tmp_path) == "hermes"
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / "chat_template.jinja").write_text("say <tool_call>\n")
    assert tool_call_format(tmp_path) == "hermes"


@pytest.mark.parametrize(
    ("generation", "model", "expected"),
    [([7, 8], 9, (7, 8, 9)), (7, 7, (7,)), (None, [1, 2], (1, 2)), (None, None, ())],
)
def test_ids_that_end_an_answer_come_from_both_configurations(
    tmp_path: Path, generation: Any, model: Any, expected: tuple[int, ...]
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": model}))
    assert eos_token_ids(tmp_path) == expected


@pytest.mark.parametrize(
    ("text", "name"), [("Qwen3-0.6B", "Qwen3-0.6B"), ("a b/c", "a-b-c"), ("..", "model")]
)
def test_names_are_fit_for_paths_and_requests(text: str, name: str) -> None:
    assert artifact_name(text) == name
