"""Recording: the exact tokens of a request, kept so that it can be run again (OB4).

Law: prompts are recorded as the model saw them, after governance; a tenant's policy can forbid it.
"""

from octant.core.ids import RequestId, RouteId
from octant.core.record import Record
from octant.core.sampling import Sampling
from octant.core.usage import FinishReason


class RecordedStep(Record, frozen=True, kw_only=True):
    """One model call that was carried to its end. `outputs` are token ids, one row a choice.

    `finish_reasons` has one entry a choice; `sampling.max_tokens` is the one that was enforced.
    """

    step: int
    attempt: int
    route: RouteId
    prompt_tokens: tuple[int, ...]
    sampling: Sampling
    seed: int
    outputs: tuple[tuple[int, ...], ...]
    finish_reasons: tuple[FinishReason, ...] = ()


class Recording(Record, frozen=True, kw_only=True):
    """Every model call of a request, in order."""

    request_id: RequestId
    steps: tuple[RecordedStep, ...] = ()
