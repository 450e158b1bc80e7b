"""Replay: a recorded request run again on this machine, in this process.

    recording, manifest -> artifact by digest -> executor with the flags of then -> rerun -> report

Law: what runs is the artifact that answered, verified, with the precision and flags that the
manifest pins, or nothing; what cannot be had again is reported, never replaced in silence.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from msgspec.structs import replace

from octant import __version__
from octant.adapters.huggingface.tokenizer import load_tokenizer
from octant.adapters.openvino.executor import open_executor
from octant.adapters.openvino.settings import (
    InferencePrecision,
    KvPrecision,
    OpenVinoSettings,
)
from octant.app import layers, wiring
from octant.app.artifacts import bundled_root, directory_of
from octant.app.model_source import ARTIFACTS_DIR
from octant.app.settings import Settings
from octant.core.deployment import Recipe
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.manifest import ExecutedStep, ExecutionManifest
from octant.core.recording import RecordedStep, Recording
from octant.core.stage import Stage
from octant.lifecycle.replay import (
    ReplayReport,
    ReplayVerdict,
    RunFacts,
    StepReplay,
    cause_of,
    changes,
    first_difference,
    report,
)
from octant.observability.naming import is_own
from octant.ports.executor import Executor
from octant.preparation.manifest import MANIFEST_FILE, load_manifest, read_artifact
from octant.serving.rerun import RerunChoice, rerun_step
from octant.serving.sequences import Vocabulary

# What the manifest of an older Octant does not say.
_DEFAULT_CHUNK = 512
_CHUNK_FLAGS = ("max_batch_tokens", "max_prefill_chunk")

Progress = Callable[[str], None]


class Replayable(NamedTuple):
    """What the store has of a request, and the recipes that say where artifacts lie."""

    recording: Recording
    manifest: ExecutionManifest
    recipes: Sequence[Recipe]


class _Loaded(NamedTuple):
    executor: Executor
    words: Vocabulary
    facts: RunFacts


def replay(
    settings: Settings, found: Replayable, artifact: Path | None, progress: Progress
) -> ReplayReport:
    """Runs every recorded step again; on `artifact` instead of the pinned one when it is given.

    Raises Failed when an artifact is corrupt or cannot be loaded.
    """
    executed = {step.step: step for step in found.manifest.steps}
    done: dict[int, StepReplay] = {}
    wanted: dict[Path, list[RecordedStep]] = {}
    for step in found.recording.steps:
        digest = _digest(found.manifest, executed.get(step.step), step)
        why = _unreplayable(found.manifest, executed.get(step.step), digest)
        directory = artifact or (None if why else find_artifact(settings, found.recipes, digest))
        if directory is None:
            done[step.step] = _left_out(step, why or f"the artifact {digest} is not here any more")
        else:
            wanted.setdefault(directory, []).append(step)
    for directory, steps in wanted.items():
        progress(f"Loading {directory} ...")
        with _loaded(directory, settings, found.manifest) as loaded:
            for step in steps:
                progress(f"Running model call {step.step} again ...")
                done[step.step] = _replayed(loaded, found, step, executed.get(step.step))
    request_id = found.recording.request_id
    return report(request_id, [done[step.step] for step in found.recording.steps])


def find_artifact(settings: Settings, recipes: Sequence[Recipe], digest: str) -> Path | None:
    """The directory of the artifact with this digest: of the package, prepared here, or a recipe's.

    Raises Failed(CORRUPT_ARTIFACT) when its files are not those packaged.
    """
    for directory in _directories(settings, recipes):
        if (directory / MANIFEST_FILE).is_file() and load_manifest(directory).digest == digest:
            read_artifact(directory)
            return directory
    return None


def _directories(settings: Settings, recipes: Sequence[Recipe]) -> Iterator[Path]:
    for recipe in recipes:
        yield directory_of(recipe.location)
    if settings.model.path:
        yield Path(settings.model.path).expanduser()
    for root in (bundled_root(), settings.data_dir / ARTIFACTS_DIR):
        yield from (path.parent for path in sorted(root.rglob(MANIFEST_FILE)))


def _digest(manifest: ExecutionManifest, executed: ExecutedStep | None, step: RecordedStep) -> str:
    if executed is not None and executed.artifact_digest:
        return executed.artifact_digest
    return manifest.artifact_digest if step.route == manifest.route else ""


def _unreplayable(manifest: ExecutionManifest, executed: ExecutedStep | None, digest: str) -> str:
    """Why a step cannot be run again at all; empty when it can."""
    engine = (executed.engine if executed else "") or manifest.engine
    if not is_own(engine):
        return f"it was answered by {engine}, whose model Octant does not hold"
    return "" if digest else "the manifest does not say which artifact answered it"


def _left_out(step: RecordedStep, why: str) -> StepReplay:
    return StepReplay(
        step=step.step,
        attempt=step.attempt,
        route=step.route,
        verdict=ReplayVerdict.NOT_REPLAYABLE,
        tokens=0,
        why=why,
    )


def _replayed(
    loaded: _Loaded, found: Replayable, step: RecordedStep, executed: ExecutedStep | None
) -> StepReplay:
    flags = found.manifest.engine_flags
    chunk = int(flags.get("max_batch_tokens", _DEFAULT_CHUNK))
    choices = rerun_step(loaded.executor, loaded.words, found.recording, step, chunk)
    difference = first_difference(choices, _texts(loaded.words, choices))
    differing = changes(found.manifest, executed, loaded.facts)
    return StepReplay(
        step=step.step,
        attempt=step.attempt,
        route=step.route,
        verdict=ReplayVerdict.DIFFERENT if difference else ReplayVerdict.IDENTICAL,
        tokens=sum(choice.same_tokens for choice in choices),
        difference=difference,
        changes=differing,
        cause=cause_of(differing, difference, sampled=step.sampling.temperature > 0),
    )


def _texts(words: Vocabulary, choices: Sequence[RerunChoice]) -> dict[int | None, str]:
    texts: dict[int | None, str] = {None: ""}
    for choice in choices:
        if choice.divergence is not None:
            for token in (choice.divergence.recorded, choice.divergence.got):
                if token is not None:
                    texts[token] = words.tokenizer.token_bytes(token).decode(errors="replace")
    return texts


@contextmanager
def _loaded(directory: Path, settings: Settings, manifest: ExecutionManifest) -> Generator[_Loaded]:
    artifact = load_manifest(directory)
    tokenizer = load_tokenizer(directory)
    as_then = _as_then(layers.executor(settings), manifest)
    executor = open_executor(directory, as_then, wiring.clock())
    try:
        facts = executor.facts
        chunking = {k: v for k, v in manifest.engine_flags.items() if k in _CHUNK_FLAGS}
        yield _Loaded(
            executor,
            Vocabulary(tokenizer, tokenizer.eos),
            RunFacts(
                artifact_digest=artifact.digest,
                tokenizer_digest=tokenizer.digest,
                engine=facts.engine,
                engine_version=facts.engine_version,
                octant_version=__version__,
                weight_precision=facts.weight_precision,
                kv_precision=facts.kv_precision,
                device=facts.device,
                hardware=facts.hardware,
                flags=facts.flags | chunking,
            ),
        )
    finally:
        executor.close()


def _as_then(settings: OpenVinoSettings, manifest: ExecutionManifest) -> OpenVinoSettings:
    """The engine's settings with what the manifest pins, where this machine can be told so."""
    flags = manifest.engine_flags
    wanted: dict[str, Any] = {}
    if manifest.kv_precision in get_args(KvPrecision):
        wanted["kv_precision"] = cast("KvPrecision", manifest.kv_precision)
    if (precision := flags.get("inference_precision")) in get_args(InferencePrecision):
        wanted["inference_precision"] = cast("InferencePrecision", precision)
    if "threads" in flags:
        wanted["threads"] = int(flags["threads"])
    if "dynamic_quantization_group_size" in flags:
        wanted["dynamic_quantization_group_size"] = int(flags["dynamic_quantization_group_size"])
    return replace(settings, **wanted)


def not_recorded(request: str) -> Failed:
    """The failure of a request of which no tokens were kept."""
    return Failed(
        Failure(
            kind=FailureKind.ENGINE_UNAVAILABLE,
            stage=Stage.BOUNDARY,
            message=f"The tokens of {request} were not kept, so it cannot be run again. They are "
            "kept only of requests that reached a model, where policy and `octant.trace.record` "
            "allow it, and as long as traces are (store.keep_traces).",
        )
    )
