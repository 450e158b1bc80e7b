"""Partition (stage 5): every node of the graph that runs gets an owner.

    Optimised -> Partitioned

There is one backend, the CPU. The stage asks it all the same: a node that it does not take would
be found at the first request otherwise.
"""

from typing import NamedTuple

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.preparation.job import Done, Job
from octant.preparation.optimise import Optimised


class Partitioned(NamedTuple):
    """A graph that one backend runs as a whole."""

    optimised: Optimised


def partition(job: Job, optimised: Optimised) -> Done[Partitioned]:
    """Raises Failed(UNSUPPORTED_MODEL) naming the operations that nobody runs."""
    placement = job.tools.exporter.place(optimised.graph)
    if placement.unowned:
        raise Failed(
            Failure(
                kind=FailureKind.UNSUPPORTED_MODEL,
                stage=Stage.PARTITION,
                message=f"no backend runs {', '.join(placement.unowned)}",
                detail={"devices": placement.devices},
            )
        )
    return Done(
        Partitioned(optimised),
        {
            "partition_map": placement.devices,
            "fallback_nodes": 0,
            "transfer_edges": 0,
            "copied_bytes": 0,
            "backends": placement.versions,
        },
    )
