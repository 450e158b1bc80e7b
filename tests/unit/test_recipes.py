"""Recipe files are checked field by field; recipes are named by all that they say."""

from typing import Any

import msgspec
import pytest

from octant.core.deployment import MeasuredFigures
from octant.core.failure import Failed, FailureKind
from octant.core.limits import Objective
from octant.core.record import decode, encode
from octant.core.route import Price
from octant.lifecycle.recipe_files import RecipeFile, parse_toml, parse_values, to_values
from octant.lifecycle.recipes import EngineChoices, Measurement, complete, misses, recipe_digest
from octant.preparation.manifest import ArtifactFile, ArtifactManifest

TEXT = """
name = "mine-fast"
model = "mine"
label = "fast"
description = "A recipe."
artifact = "/models/mine"

[context]
working = 512

[quality_gate]
recall = 0.9

[probe]
user = "Who are you?"
"""
ARTIFACT = ArtifactManifest(
    name="mine",
    digest="sha256:a",
    source_digest="sha256:s",
    recipe_key="",
    architecture="Qwen3ForCausalLM",
    max_context=2048,
    vocab_size=100,
    weight_precision="int8",
    tool_call_format="hermes",
    eos_token_ids=(0,),
    files=(ArtifactFile(path="tokenizer.json", size_bytes=1, sha256="t" * 64),),
    created_unix_ns=1,
)
CHOICES = EngineChoices(
    engine_version="1.0",
    kv_precision="u8",
    inference_precision="auto",
    dynamic_quantization_group_size=None,
    threads=0,
    max_sequences=32,
    max_context=None,
    objective=Objective(ttft_ms=1, tpot_ms=2, total_ms=3),
    price=Price(),
)
MEASURED = Measurement(
    recipe="mine-fast",
    artifact_digest="sha256:a",
    engine_version="1.0",
    kv_precision="u8",
    probe_user="Who are you?",
    answer="I am mine.",
    figures=MeasuredFigures(
        machine="m",
        measured_unix_ns=1,
        load_ms=2,
        resident_bytes=3,
        kv_bytes_per_token=4,
        accuracy={"recall": 0.8, "talk": 1.0},
    ),
)
FILE = parse_toml(TEXT, "mine.toml")


def made(file: RecipeFile = FILE, measured: Measurement | None = MEASURED, **choices: Any) -> Any:
    return complete(file, "/models/mine", ARTIFACT, CHOICES._replace(**choices), measured)


def refused(**changed: Any) -> Any:
    values = to_values(FILE) | changed
    with pytest.raises(Failed) as raised:
        parse_values({name: v for name, v in values.items() if v is not ...}, "mine.toml")
    return raised.value.failure


def test_what_is_written_is_what_is_read() -> None:
    assert parse_values(to_values(FILE), "") == FILE


def test_a_misspelt_field_is_told_with_the_one_that_was_meant() -> None:
    failure = refused(engine={"kv_precison": "u8"})
    assert failure.kind is FailureKind.UNKNOWN_PARAMETER
    assert failure.param == "engine.kv_precison"
    assert "Did you mean `kv_precision`?" in failure.message
    assert refused(labl="fast").param == "labl"


def test_a_missing_field_is_named() -> None:
    assert refused(model=...).param == "model"
    assert refused(probe={"system": "x"}).param == "probe.user"
    assert refused(model=...).kind is FailureKind.MISSING_PARAMETER


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"label": "a b"}, "label"),
        ({"profile": "fastest"}, "profile"),
        ({"engine": {"kv_precision": "u4"}}, "engine.kv_precision"),
        ({"context": {"max": 0}}, "context.max"),
        ({"context": {"max": 8, "working": 9}}, "context.working"),
        ({"probe": {"user": "x", "max_tokens": 10_000}}, "probe.max_tokens"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_place(changed: Any, param: str) -> None:
    failure = refused(**changed)
    assert failure.kind is FailureKind.INVALID_VALUE
    assert failure.param == param
    assert failure.message.startswith("mine.toml: ")


def test_bad_toml_is_told_with_its_line() -> None:
    with pytest.raises(Failed) as raised:
        parse_toml('name = "x"\nmodel = \n', "mine.toml")
    assert "line 2" in raised.value.failure.message


def test_what_is_left_out_comes_from_the_settings() -> None:
    recipe = made(kv_precision="bf16", max_sequences=7)
    assert (recipe.kv_precision, recipe.max_sequences) == ("bf16", 7)
    assert recipe.objective == CHOICES.objective


def test_what_is_written_stands_before_the_settings() -> None:
    file = parse_values(to_values(FILE) | {"engine": {"kv_precision": "f16", "threads": 3}}, "")
    recipe = made(file)
    assert recipe.kv_precision == "f16"
    assert recipe.flags["threads"] == "3"


def test_the_settings_can_only_shorten_the_context() -> None:
    assert made().max_context == 2048
    assert made(max_context=100).max_context == 100
    assert made(max_context=100).working_context == 100
    assert made(max_context=9999).max_context == 2048


def test_a_context_beyond_the_artifact_is_refused() -> None:
    with pytest.raises(Failed) as raised:
        made(parse_values(to_values(FILE) | {"context": {"max": 4096}}, ""))
    assert raised.value.failure.param == "context.max"


def test_any_other_value_is_another_recipe() -> None:
    recipe = made()
    digests = {recipe.digest, made(threads=2).digest, made(measured=None).digest}
    assert len(digests) == 3
    assert made() == recipe
    assert recipe_digest(decode(encode(recipe), type(recipe))) == recipe.digest


def test_figures_are_those_of_this_artifact_engine_and_precision_only() -> None:
    assert made().measured == MEASURED.figures
    assert made().quality == 0.9
    for name in ("artifact_digest", "engine_version", "kv_precision"):
        other = msgspec.structs.replace(MEASURED, **{name: "another"})
        assert made(measured=other).measured is None
        assert made(measured=other).quality == 0.5


def test_the_probe_expects_what_this_artifact_was_heard_to_say() -> None:
    assert made().probe.expect == "I am mine."
    # Another engine says the same; another artifact or question need not.
    engine = msgspec.structs.replace(MEASURED, engine_version="2.0")
    assert made(measured=engine).probe.expect == "I am mine."
    for name in ("artifact_digest", "probe_user", "probe_system"):
        other = msgspec.structs.replace(MEASURED, **{name: "another"})
        assert made(measured=other).probe is None
    assert made(measured=None).probe is None


def test_an_expected_answer_that_is_written_needs_no_measurement() -> None:
    values = to_values(FILE) | {"probe": {"user": "Hi", "expect": "Ho"}}
    assert made(parse_values(values, ""), None).probe.expect == "Ho"


def test_a_missed_quality_gate_is_told() -> None:
    assert misses(made()) == ("recall: 0.800 is below 0.900",)
    assert misses(made(measured=None)) == ()
