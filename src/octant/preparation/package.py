"""Package (stage 7): graph, tokenizer and configuration become one directory known by its content.

    Lowered -> Packaged

The user's own files go in unchanged; nothing in the directory depends on where it was made.
"""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple, cast

from octant.preparation.architectures import architecture
from octant.preparation.capture import Captured
from octant.preparation.checkpoint import CONFIG_FILE, TOKENIZER_FILES, read_json
from octant.preparation.job import Done, Job
from octant.preparation.lower import Lowered
from octant.preparation.manifest import (
    ArtifactManifest,
    ToolCallFormat,
    content_digest,
    list_files,
)
from octant.preparation.recipe import recipe_key

GRAPH_FILES = ("openvino_model.xml", "openvino_model.bin")
_HERMES_MARK = "<tool_call>"
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class Packaged(NamedTuple):
    """A directory that could be served, and its manifest without evidence, not yet written."""

    directory: Path
    manifest: ArtifactManifest
    reference: Path


def package(job: Job, lowered: Lowered) -> Done[Packaged]:
    """Fails only as the file system does."""
    optimised = lowered.optimised
    analysed = optimised.analysed
    captured = analysed.captured
    directory = job.workspace.fresh("package")
    _collect(captured, optimised.graph, directory)
    files = list_files(directory)
    manifest = ArtifactManifest(
        name=artifact_name(job.options.name or captured.checkpoint.name),
        digest=content_digest(files),
        source_digest=captured.checkpoint.digest,
        recipe_key=recipe_key(captured.checkpoint.digest, job.options),
        architecture=architecture(captured.checkpoint.config),
        max_context=analysed.max_context,
        vocab_size=analysed.vocab_size,
        weight_precision=optimised.graph_facts.weight_precision,
        tool_call_format=tool_call_format(directory),
        eos_token_ids=eos_token_ids(directory),
        files=files,
        fixture=captured.facts.fixture,
        created_unix_ns=job.tools.clock.unix_ns(),
    )
    return Done(
        Packaged(directory, manifest, captured.reference),
        {
            "digest": manifest.digest,
            "size_bytes": sum(file.size_bytes for file in files),
            "files": len(files),
            "dependencies": captured.facts.versions,
            "signature": "none: no signing key is configured",
            "provenance": {
                "source": captured.checkpoint.name,
                "source_digest": captured.checkpoint.digest,
                "weights": job.options.weights,
            },
        },
    )


def artifact_name(text: str) -> str:
    """A name fit for a path and an API: letters, digits, `.`, `_` and `-`."""
    return _NAME.sub("-", text).strip("-.") or "model"


def tool_call_format(directory: Path) -> ToolCallFormat:
    """How the chat template writes tool calls, as far as its text says."""
    template = directory / "chat_template.jinja"
    texts = [template.read_text()] if template.is_file() else []
    if (directory / "tokenizer_config.json").is_file():
        texts.append(str(read_json(directory / "tokenizer_config.json").get("chat_template", "")))
    return "hermes" if any(_HERMES_MARK in text for text in texts) else "none"


def eos_token_ids(directory: Path) -> tuple[int, ...]:
    """Ids that end an answer, of the generation configuration first, then of the model's."""
    found: list[Any] = []
    for name in ("generation_config.json", CONFIG_FILE):
        if (directory / name).is_file():
            value = read_json(directory / name).get("eos_token_id")
            found += cast("list[Any]", value) if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(token for token in found if isinstance(token, int)))


def _collect(captured: Captured, graph: Path, target: Path) -> None:
    for name in GRAPH_FILES:
        _place(graph / name, target / name)
    shutil.copy2(captured.checkpoint.directory / CONFIG_FILE, target / CONFIG_FILE)
    for name in TOKENIZER_FILES:
        if captured.file(name).is_file():
            shutil.copy2(captured.file(name), target / name)


def _place(source: Path, target: Path) -> None:
    """A second name for the same bytes where the file system can, a copy elsewhere."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
