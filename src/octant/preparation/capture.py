"""Capture (stage 1): a checkpoint becomes a graph, and the reference says what it should answer.

    Checkpoint -> Captured

The reference logits are taken while the checkpoint is open; every later comparison uses them.
"""

from pathlib import Path
from typing import NamedTuple

from octant.ports.exporter import REFERENCE_FILE, ExportFacts
from octant.preparation.checkpoint import Checkpoint
from octant.preparation.job import Done, Job


class Captured(NamedTuple):
    """The graph as exported, in `graph`, with tokenizer files and reference logits beside it."""

    checkpoint: Checkpoint
    graph: Path
    facts: ExportFacts

    @property
    def reference(self) -> Path:
        """Tokens and logits of the reference implementation."""
        return self.graph / REFERENCE_FILE

    def file(self, name: str) -> Path:
        """The user's own file of that name where there is one, else the exporter's."""
        own = self.checkpoint.directory / name
        return own if own.is_file() else self.graph / name


def capture(job: Job, checkpoint: Checkpoint) -> Done[Captured]:
    """Raises Failed(PREPARATION_FAILED) when the tools are missing or cannot trace the model."""

    def export(target: Path) -> ExportFacts:
        job.tools.exporter.versions()
        return job.tools.exporter.export(
            checkpoint.directory, target, job.options.weights, job.progress
        )

    facts, finished = job.workspace.step("captured", ExportFacts, export)
    return Done(
        Captured(checkpoint, finished.directory, facts),
        {
            "source_digest": checkpoint.digest,
            "tools": facts.versions,
            "dtype": facts.dtype,
            "parameters": facts.parameters,
            "unsupported_nodes": [],
            "warnings": list(facts.warnings),
            "resumed": finished.resumed,
        },
    )
