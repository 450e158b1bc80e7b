"""Load (stage 8): the packaged model is opened by the executor that will serve it.

    Packaged -> Loaded

A deployment loads again, with its own limits. What is recorded here is that it can, and how large
it then is.
"""

from typing import NamedTuple

from octant.core.units import ms_from_ns
from octant.ports.exporter import TrialFacts
from octant.preparation.job import Done, Job
from octant.preparation.package import Packaged


class Loaded(NamedTuple):
    """A model that loads."""

    packaged: Packaged
    trial: TrialFacts


def load(job: Job, packaged: Packaged) -> Done[Loaded]:
    """Raises Failed(INSUFFICIENT_MEMORY, UNSUPPORTED_MODEL) as a deployment would."""
    trial = job.tools.exporter.trial(packaged.directory, packaged.reference)
    return Done(
        Loaded(packaged, trial),
        {
            "load_ms": ms_from_ns(trial.load_ns),
            "resident_bytes": trial.resident_bytes,
            "kv_precision": trial.kv_precision,
            "kv_bytes_per_token": trial.block_bytes / trial.block_size,
            "max_context": trial.max_context,
            "instances": 1,
        },
    )
