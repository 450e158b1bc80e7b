"""Attempts: when a failed execution may be tried on another route (OR2). Pure.

Law: nothing is retried once output has been passed on, nothing is retried that its failure's rule
forbids, and the attempts at one model call are bounded.
"""

from octant.core.failure import Failure, Retry


def may_try_again(failure: Failure, attempts: int, output_sent: bool, max_attempts: int) -> bool:
    """Whether another route may follow; `attempts` counts those of this model call so far."""
    if output_sent or attempts >= max_attempts:
        return False
    return failure.rule.retry is Retry.OTHER_ROUTE
