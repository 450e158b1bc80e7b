"""What can go wrong with work inside an engine, in words for callers and operators."""

import msgspec

from octant.core.failure import Failure, FailureKind
from octant.core.stage import Stage


def unreadable(error: msgspec.MsgspecError) -> Failure:
    """A message that `to_engine.decode` refused."""
    return Failure(
        kind=FailureKind.INTERNAL_ERROR,
        stage=Stage.QUEUE,
        message="The engine could not read this request; report it with the request id.",
        detail={"error": str(error)},
    )


def sent_twice() -> Failure:
    """An attempt that is in the engine already."""
    return Failure(
        kind=FailureKind.INTERNAL_ERROR,
        stage=Stage.QUEUE,
        message="The engine holds this attempt already; report it with the request id.",
    )


def expired(stage: Stage) -> Failure:
    """A deadline passed inside the engine."""
    return Failure(
        kind=FailureKind.DEADLINE_EXCEEDED,
        stage=stage,
        message="The deadline passed before the answer was complete. Allow more time, or ask "
        "for fewer tokens.",
    )


def not_finite(stage: Stage) -> Failure:
    """A row of logits without a single usable number."""
    return Failure(
        kind=FailureKind.MODEL_FAILURE,
        stage=stage,
        message="The model computed no finite number for the next token of this request. Other "
        "requests are not affected.",
    )


def steps_keep_failing(count: int, last: Failure) -> Failure:
    """The engine gives up: the fault does not pass."""
    return Failure(
        kind=FailureKind.MODEL_FAILURE,
        stage=last.stage,
        message=f"{count} steps in a row could not be computed, the last because: {last.message}",
        detail=last.detail,
    )
