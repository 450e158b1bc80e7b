"""Represent (stage 2): the exported graph is read back and found to be a whole stateful decoder.

    Captured -> Represented

What an exporter writes is not taken on trust: a graph that nothing could feed ends here.
"""

from typing import NamedTuple

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.record import to_builtins
from octant.core.stage import Stage
from octant.ports.exporter import GraphFacts
from octant.preparation.capture import Captured
from octant.preparation.job import Done, Job

_INPUTS = {"input_ids", "attention_mask", "position_ids", "beam_idx"}


class Represented(NamedTuple):
    """A verified graph."""

    captured: Captured
    graph_facts: GraphFacts


def represent(job: Job, captured: Captured) -> Done[Represented]:
    """Raises Failed(UNSUPPORTED_MODEL) when the graph is not a decoder that keeps its state."""
    facts = job.tools.exporter.inspect(captured.graph)
    problems = _problems(facts)
    if problems:
        raise Failed(
            Failure(
                kind=FailureKind.UNSUPPORTED_MODEL,
                stage=Stage.REPRESENT,
                message="the exported graph cannot be served: " + "; ".join(problems),
                detail={"problems": problems},
            )
        )
    return Done(
        Represented(captured, facts),
        {
            "ir_version": facts.ir_version,
            "nodes": facts.nodes,
            "parameters": facts.parameters,
            "operations": facts.operations,
            "control_flow": list(facts.control_flow),
            "states": facts.states,
            "signature": to_builtins({"inputs": facts.inputs, "outputs": facts.outputs}),
            "validation": "shapes and types inferred for every node",
        },
    )


def _problems(facts: GraphFacts) -> list[str]:
    problems: list[str] = []
    names = {port.name for port in facts.inputs}
    if unknown := sorted(names - _INPUTS):
        problems.append(f"it wants inputs that nothing feeds: {', '.join(unknown)}")
    if "input_ids" not in names:
        problems.append("it has no input_ids")
    if [port.name for port in facts.outputs] != ["logits"]:
        problems.append(f"it gives {', '.join(port.name for port in facts.outputs)}, not logits")
    if not facts.states:
        problems.append("it keeps no state between steps")
    if facts.control_flow:
        problems.append(f"it branches inside: {', '.join(facts.control_flow)}")
    return problems
