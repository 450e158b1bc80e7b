"""RateBucket: an allowance per minute that refills continuously.

Law: exact integer arithmetic, so nothing is gained or lost by asking often. The level never rises
above one minute's allowance, hence any span of t minutes lets at most `(1 + t) * limit` through.
The level may fall below zero, when more was used than had been reserved; what is owed is refilled
before anything is granted again.
"""

from octant.core.units import NS_PER_S

NS_PER_MINUTE = 60 * NS_PER_S


class RateBucket:
    """One limit per minute. The level counts in units of one token times one minute in ns."""

    def __init__(self, per_minute: int, now_ns: int) -> None:
        self._limit = per_minute
        self._level = per_minute * NS_PER_MINUTE
        self._at_ns = now_ns

    @property
    def limit(self) -> int:
        """What a full bucket holds, and what comes back in a minute."""
        return self._limit

    def change_limit(self, per_minute: int, now_ns: int) -> None:
        """Takes on a new limit; what is in the bucket stays, as far as it fits."""
        if per_minute != self._limit:
            self._refill(now_ns)
            self._limit = per_minute
            self._level = min(self._level, per_minute * NS_PER_MINUTE)

    def remaining(self, now_ns: int) -> int:
        """Whole tokens that can be taken now; negative while something is owed."""
        return self._level_at(now_ns) // NS_PER_MINUTE

    def wait_ns(self, tokens: int, now_ns: int) -> int:
        """The exact time until `tokens` can be taken; 0 when they can be now.

        Meaningful only for `tokens <= limit`: more never fit.
        """
        missing = tokens * NS_PER_MINUTE - self._level_at(now_ns)
        return 0 if missing <= 0 else -(-missing // self._limit)

    def full_in_ns(self, now_ns: int) -> int:
        """The exact time until the bucket is full again."""
        return self.wait_ns(self._limit, now_ns) if self._limit else 0

    def take(self, tokens: int, now_ns: int) -> None:
        """Takes `tokens`, which the caller has found to be there, or owes them."""
        self._refill(now_ns)
        self._level -= tokens * NS_PER_MINUTE

    def give_back(self, tokens: int, now_ns: int) -> None:
        """Returns unused `tokens`; negative ones are owed."""
        self._refill(now_ns)
        full = self._limit * NS_PER_MINUTE
        self._level = min(full, self._level + tokens * NS_PER_MINUTE)

    def check_integrity(self) -> None:
        """Raises AssertionError when the level is above the limit."""
        assert self._limit >= 0, f"negative limit {self._limit}"
        assert self._level <= self._limit * NS_PER_MINUTE, "more in the bucket than fits"

    def _level_at(self, now_ns: int) -> int:
        elapsed_ns = max(0, now_ns - self._at_ns)
        return min(self._limit * NS_PER_MINUTE, self._level + self._limit * elapsed_ns)

    def _refill(self, now_ns: int) -> None:
        self._level = self._level_at(now_ns)
        self._at_ns = max(self._at_ns, now_ns)
