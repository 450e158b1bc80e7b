"""Bounds that are settings, checked the same way wherever they stand in a body."""

from octant.core.failure import FailureKind
from octant.gateway.failures import refuse


def check_count(path: str, count: int, limit: int) -> None:
    """Raises Failed(INVALID_VALUE) for an array of more than `limit` entries."""
    if count > limit:
        refuse(
            FailureKind.INVALID_VALUE,
            f"Invalid value for '{path}': {count} entries, at most {limit} are allowed. "
            "Send fewer.",
            path,
        )


def check_most(path: str, value: int, limit: int) -> None:
    """Raises Failed(INVALID_VALUE) for a number above `limit`."""
    if value > limit:
        refuse(
            FailureKind.INVALID_VALUE,
            f"Invalid value for '{path}': {value}, at most {limit} is allowed. Lower it.",
            path,
        )
