"""Warm (stage 9): first and steady latency, and the answer compared with the reference.

    Loaded -> Warmed

The trial of the stage before has run the steps; this one judges them.
"""

from math import isfinite
from typing import NamedTuple

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.record import to_builtins
from octant.core.stage import Stage
from octant.core.units import ms_from_ns
from octant.preparation.job import Done, Job
from octant.preparation.load import Loaded
from octant.preparation.package import Packaged

# In standard deviations of the reference logits. Served in bf16 with u8 keys and int4 weights a
# working graph stays below a quarter; unrelated logits are at 1.1.
MAX_MEAN_DIFFERENCE = 0.5


class Warmed(NamedTuple):
    """A model that answers as it should, ready to be published."""

    packaged: Packaged


def warm(job: Job, loaded: Loaded) -> Done[Warmed]:
    """Raises Failed(PREPARATION_FAILED) when the served answers are not the reference's."""
    del job
    trial = loaded.trial
    parity = trial.parity
    if parity is None:
        comparison = None
    else:
        distance = parity.mean_difference / (parity.reference_deviation or 1.0)
        if not isfinite(distance) or distance > MAX_MEAN_DIFFERENCE:
            raise Failed(
                Failure(
                    kind=FailureKind.PREPARATION_FAILED,
                    stage=Stage.WARM,
                    message=f"served logits are {distance:.3g} standard deviations off on average",
                    detail={"parity": to_builtins(parity)},
                )
            )
        comparison = to_builtins(parity)
    return Done(
        Warmed(loaded.packaged),
        {
            "warmup_steps": trial.warmup_steps,
            "first_step_ms": ms_from_ns(trial.first_step_ns),
            "steady_step_ms": ms_from_ns(trial.steady_step_ns),
            "output_comparison": comparison,
            "decision": "ready",
        },
    )
