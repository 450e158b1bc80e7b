"""Hangup: why a request was ended from outside, said by whoever ends it.

Law: closing or cancelling `RequestPath.run` ends a request but carries no reason, so the reason is
set here first; where nobody sets one, the caller has left. Settlement reads it once, and only when
no terminal item was reached: what the caller is told and what is recorded are one failure.
"""

from octant.core.failure import Failure, FailureKind
from octant.core.stage import Stage


class Hangup:
    """One per request, shared by the path that runs it and the edge that may end it."""

    def __init__(self) -> None:
        self.failure = _GONE


_GONE = Failure(
    kind=FailureKind.CANCELLED,
    stage=Stage.RESPONSE,
    message="The caller closed the connection before the answer was complete.",
)
