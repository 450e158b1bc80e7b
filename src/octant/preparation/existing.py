"""An existing export becomes an artifact: the way in for models that were not prepared here.

Law: what is not known is not claimed. Stages that ran elsewhere say so in their evidence; the graph
is still read back, so that precision and bounds are measured ones.
"""

from pathlib import Path

from octant.core.record import to_builtins
from octant.core.stage import Stage
from octant.preparation.architectures import architecture, context_limit
from octant.preparation.checkpoint import CONFIG_FILE, TOKENIZER_FILE, read_json
from octant.preparation.job import Tools
from octant.preparation.manifest import (
    ArtifactManifest,
    StageEvidence,
    content_digest,
    list_files,
    write_manifest,
)
from octant.preparation.package import artifact_name, eos_token_ids, tool_call_format


def package_existing(directory: Path, name: str, tools: Tools) -> ArtifactManifest:
    """Writes the manifest of an exported decoder that stands in `directory` with its tokenizer.

    Raises Failed(CORRUPT_ARTIFACT or UNSUPPORTED_MODEL) when the directory cannot be served.
    """
    config = read_json(directory / CONFIG_FILE)
    read_json(directory / TOKENIZER_FILE)
    started_ns = tools.clock.monotonic_ns()
    facts = tools.exporter.inspect(directory)
    files = list_files(directory)
    digest = content_digest(files)
    evidence = StageEvidence(
        stage=Stage.REPRESENT,
        duration_ns=tools.clock.monotonic_ns() - started_ns,
        facts={"graph": to_builtins(facts), "other_stages": "ran outside this pipeline"},
    )
    manifest = ArtifactManifest(
        name=artifact_name(name),
        digest=digest,
        source_digest=digest,
        recipe_key="",
        architecture=architecture(config),
        max_context=context_limit(config),
        vocab_size=facts.outputs[0].dimensions[-1],
        weight_precision=facts.weight_precision,
        tool_call_format=tool_call_format(directory),
        eos_token_ids=eos_token_ids(directory),
        files=files,
        evidence=(evidence,),
        created_unix_ns=tools.clock.unix_ns(),
    )
    write_manifest(directory, manifest)
    return manifest
