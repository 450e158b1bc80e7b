"""Optimise (stage 4): the weights become smaller, and what that costs is measured.

    Analysed -> Optimised

Law: before anything is changed the graph must give the reference's logits; a graph that was wrong
already would pass for a bad quantisation. The loss by quantisation itself is recorded, not judged:
how much is too much depends on the task, which evaluation gates know and this stage does not.
"""

from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.record import Record, to_builtins
from octant.core.stage import Stage
from octant.ports.exporter import GraphFacts, Parity
from octant.preparation.analyse import Analysed
from octant.preparation.job import Done, Job

COMPRESSED = ("int8", "int4")
# Differences in standard deviations of the reference logits. Graph and reference that compute in
# f32 differ by 1e-5; one whose reference is too large for f32 is held to the spread of bf16.
MAX_DRIFT = 0.002
MAX_DRIFT_16_BIT = 0.5


class Passes(Record, frozen=True, kw_only=True):
    """What was done to the weights."""

    names: tuple[str, ...]


class Optimised(NamedTuple):
    """The graph that will be served; `graph` may hold nothing but its two files."""

    analysed: Analysed
    graph: Path
    graph_facts: GraphFacts


def optimise(job: Job, analysed: Analysed) -> Done[Optimised]:
    """Raises Failed(PREPARATION_FAILED) when the exported graph drifts from the reference."""
    exporter, captured = job.tools.exporter, analysed.captured
    job.progress("comparing the graph with the reference")
    before = exporter.parity(captured.graph, captured.reference)
    _require_no_drift(before, captured.facts.reference_dtype)
    if job.options.weights not in COMPRESSED:
        evidence: dict[str, Any] = {
            "passes": [],
            "reason": f"weights stay {analysed.graph_facts.weight_precision}, as exported",
            "parity_before": to_builtins(before),
            "weight_bytes": analysed.graph_facts.weight_bytes,
        }
        return Done(Optimised(analysed, captured.graph, analysed.graph_facts), evidence)

    def compress(target: Path) -> Passes:
        weights = job.options.weights
        return Passes(names=exporter.compress(captured.graph, target, weights, job.progress))

    passes, finished = job.workspace.step("optimised", Passes, compress)
    facts = exporter.inspect(finished.directory)
    job.progress("measuring what compression cost")
    after = exporter.parity(finished.directory, captured.reference)
    return Done(
        Optimised(analysed, finished.directory, facts),
        {
            "passes": list(passes.names),
            "weight_bytes_before": analysed.graph_facts.weight_bytes,
            "weight_bytes": facts.weight_bytes,
            "nodes_before": analysed.graph_facts.nodes,
            "nodes": facts.nodes,
            "parity_before": to_builtins(before),
            "parity_after": to_builtins(after),
            "resumed": finished.resumed,
        },
    )


def _require_no_drift(parity: Parity, reference_dtype: str) -> None:
    limit = MAX_DRIFT if reference_dtype == "float32" else MAX_DRIFT_16_BIT
    drift = parity.max_difference / (parity.reference_deviation or 1.0)
    if isfinite(drift) and drift <= limit:
        return
    message = (
        f"the exported graph gives other logits than transformers: {drift:.3g} standard deviations "
        f"apart where {limit} is allowed; this model would answer wrongly"
    )
    raise Failed(
        Failure(
            kind=FailureKind.PREPARATION_FAILED,
            stage=Stage.OPTIMISE,
            message=message,
            detail={"parity": to_builtins(parity)},
        )
    )
