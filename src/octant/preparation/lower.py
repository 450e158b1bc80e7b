"""Lower (stage 6): the graph is compiled for this machine, to prove that it can be.

    Partitioned -> Lowered

OpenVINO generates its kernels when a model is loaded, for the processor that it finds. Nothing of
that is kept: the artifact stays usable on other processors, and caching kernels gained nothing
(load 1 to 2.4 s with and without, for 600 MB of cache).
"""

from typing import NamedTuple

from octant.core.units import ms_from_ns
from octant.preparation.job import Done, Job
from octant.preparation.optimise import Optimised
from octant.preparation.partition import Partitioned


class Lowered(NamedTuple):
    """A graph that compiles here."""

    optimised: Optimised


def lower(job: Job, partitioned: Partitioned) -> Done[Lowered]:
    """Raises Failed(UNSUPPORTED_MODEL) with the compiler's reason."""
    build = job.tools.exporter.build(partitioned.optimised.graph)
    return Done(
        Lowered(partitioned.optimised),
        {
            "target": build.target,
            "flags": build.flags,
            "inference_precision": build.inference_precision,
            "build_ms": ms_from_ns(build.build_ns),
            "kernels": build.kernels,
            "stored_code_bytes": 0,
            "reason": "kernels are generated at load, for the processor found there",
        },
    )
