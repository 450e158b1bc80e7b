"""Recipes: what was chosen, what the artifact is and what was measured, joined for good (LC2).

    RecipeFile + ArtifactManifest + Measurement + EngineChoices -> Recipe, named by its digest

Law: a recipe never changes; another value anywhere is another recipe with another digest. Figures
stand in it only where they were measured on this very artifact with this engine, and the probe
expects only what this artifact was heard to say. Pure.
"""

import hashlib
from typing import NamedTuple

from msgspec.structs import replace

from octant.core.deployment import Deployment, MeasuredFigures, Probe, Recipe
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.limits import Objective
from octant.core.record import Record, encode
from octant.core.route import Price, Route
from octant.core.stage import Stage
from octant.core.units import NanoUsd
from octant.lifecycle.recipe_files import RecipeFile
from octant.preparation.manifest import ArtifactManifest

_TOKENIZER_FILE = "tokenizer.json"
_UNMEASURED_QUALITY = 0.5
# Engines of this server share its processor.
_LOCAL_MACHINE = "local"


class EngineChoices(NamedTuple):
    """What the settings say where a recipe says nothing; `max_context` None is the model's own."""

    engine_version: str
    kv_precision: str
    inference_precision: str
    dynamic_quantization_group_size: int | None
    threads: int
    max_sequences: int
    max_context: int | None
    objective: Objective
    price: Price


class Measurement(Record, frozen=True, kw_only=True):
    """What `octant recipes measure` wrote beside a recipe, and what it was measured on.

    `answer` is what the artifact said to the probe, greedily.
    """

    recipe: str
    artifact_digest: str
    engine_version: str
    kv_precision: str
    probe_user: str = ""
    probe_system: str = ""
    answer: str = ""
    figures: MeasuredFigures


def complete(
    file: RecipeFile,
    location: str,
    artifact: ArtifactManifest,
    choices: EngineChoices,
    measurement: Measurement | None,
) -> Recipe:
    """The recipe of a verified artifact. `location` is where its files are found.

    Raises Failed(INVALID_VALUE) when the file asks for more than the artifact can do.
    """
    measured = _figures(file, artifact, choices, measurement)
    max_context = _max_context(file, artifact, choices)
    engine = file.engine
    objective, price = file.objective, file.price
    recipe = Recipe(
        name=file.name,
        model=file.model,
        label=file.label,
        description=file.description,
        artifact_digest=artifact.digest,
        tokenizer_digest=_tokenizer_digest(artifact),
        location=location,
        engine=engine.name,
        engine_version=choices.engine_version,
        weight_precision=artifact.weight_precision,
        kv_precision=engine.kv_precision or choices.kv_precision,
        flags=_flags(file, choices),
        max_context=max_context,
        working_context=min(file.context.working or max_context, max_context),
        max_sequences=engine.max_sequences or choices.max_sequences,
        tool_format=None if artifact.tool_call_format == "none" else artifact.tool_call_format,
        profile=file.profile,
        objective=choices.objective
        if objective is None
        else Objective(
            ttft_ms=objective.ttft_ms, tpot_ms=objective.tpot_ms, total_ms=objective.total_ms
        ),
        quality_gate=file.quality_gate,
        capabilities=file.capabilities,
        quality=_quality(measured),
        price=choices.price
        if price is None
        else Price(
            input_nano_usd=NanoUsd(price.input_nano_usd),
            output_nano_usd=NanoUsd(price.output_nano_usd),
        ),
        probe=_probe(file, artifact, measurement),
        measured=measured,
        rollback=file.rollback,
    )
    return replace(recipe, digest=recipe_digest(recipe))


def recipe_digest(recipe: Recipe) -> str:
    """`sha256:` and 64 hex digits over everything in the recipe but its digest."""
    return f"sha256:{hashlib.sha256(encode(replace(recipe, digest=''))).hexdigest()}"


def route_of(recipe: Recipe, deployment: Deployment) -> Route:
    """What a request can be sent to once this deployment is ready."""
    return Route(
        id=deployment.id,
        model=deployment.model,
        release=deployment.release,
        engine=recipe.engine,
        max_context=recipe.max_context,
        capabilities=recipe.capabilities,
        price=recipe.price,
        label=recipe.label,
        quality=recipe.quality,
        tokens_per_s=_decode_rate(recipe.measured),
        machine=_LOCAL_MACHINE,
        recipe_digest=recipe.digest,
    )


def _decode_rate(measured: MeasuredFigures | None) -> float:
    return measured.decode_tokens_per_s.get("1", 0.0) if measured else 0.0


def misses(recipe: Recipe) -> tuple[str, ...]:
    """Where the measured accuracy is below the recipe's own quality gate, told one by one."""
    accuracy = recipe.measured.accuracy if recipe.measured else {}
    return tuple(
        f"{task}: {accuracy[task]:.3f} is below {least:.3f}"
        for task, least in recipe.quality_gate.items()
        if task in accuracy and accuracy[task] < least
    )


def _figures(
    file: RecipeFile,
    artifact: ArtifactManifest,
    choices: EngineChoices,
    measurement: Measurement | None,
) -> MeasuredFigures | None:
    if measurement is None:
        return None
    now = (
        artifact.digest,
        choices.engine_version,
        file.engine.kv_precision or choices.kv_precision,
    )
    then = (measurement.artifact_digest, measurement.engine_version, measurement.kv_precision)
    return measurement.figures if now == then else None


def _probe(
    file: RecipeFile, artifact: ArtifactManifest, measurement: Measurement | None
) -> Probe | None:
    asked = file.probe
    if asked is None:
        return None
    expect = asked.expect
    if (
        expect is None
        and measurement is not None
        and artifact.digest == measurement.artifact_digest
    ):
        same = (measurement.probe_user, measurement.probe_system) == (asked.user, asked.system)
        expect = measurement.answer if same else None
    if not expect:
        return None
    return Probe(user=asked.user, system=asked.system, expect=expect, max_tokens=asked.max_tokens)


def _quality(measured: MeasuredFigures | None) -> float:
    """The mean accuracy over tasks, four digits; a half where nothing was measured."""
    if measured is None or not measured.accuracy:
        return _UNMEASURED_QUALITY
    return round(sum(measured.accuracy.values()) / len(measured.accuracy), 4)


def _max_context(file: RecipeFile, artifact: ArtifactManifest, choices: EngineChoices) -> int:
    wanted = file.context.max
    if wanted is not None and wanted > artifact.max_context:
        raise Failed(
            Failure(
                kind=FailureKind.INVALID_VALUE,
                stage=Stage.PACKAGE,
                message=f"{file.name}: context.max is {wanted}, the artifact holds "
                f"{artifact.max_context} tokens. Lower it.",
                param="context.max",
            )
        )
    limits = (artifact.max_context, wanted, choices.max_context)
    return min(limit for limit in limits if limit is not None)


def _flags(file: RecipeFile, choices: EngineChoices) -> dict[str, str]:
    engine = file.engine
    group = engine.dynamic_quantization_group_size
    if group is None:
        group = choices.dynamic_quantization_group_size
    threads = choices.threads if engine.threads is None else engine.threads
    flags = {
        "inference_precision": engine.inference_precision or choices.inference_precision,
        "threads": str(threads),
        "prefix_cache": "on, within one tenant",
    }
    return flags if group is None else flags | {"dynamic_quantization_group_size": str(group)}


def _tokenizer_digest(artifact: ArtifactManifest) -> str:
    found = next((file.sha256 for file in artifact.files if file.path == _TOKENIZER_FILE), "")
    return f"sha256:{found}" if found else ""
