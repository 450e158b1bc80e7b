"""Attempts: when a failed execution may be tried on another route (OR2). Pure.

Law: nothing is retried once output has been passed on, nothing is retried that its failure's rule
forbids, and attempts are numbered from 1 and bounded.
"""

from octant.core.failure import Failure, Retry

MAX_ATTEMPTS = 3


def may_try_again(failure: Failure, attempt: int, output_sent: bool) -> bool:
    """Whether attempt `attempt` may be followed by another one on a different route."""
    if output_sent or attempt >= MAX_ATTEMPTS:
        return False
    return failure.rule.retry is Retry.OTHER_ROUTE
