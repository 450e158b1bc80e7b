"""GatewaySettings: every bound of the edge, with the reason for its default.

`app/settings.py` fills it; nothing in the gateway has a limit that does not stand here or in
`core.sampling`.
"""

import msgspec

from octant.core.limits import Profile
from octant.core.record import Record

_DEADLINES_MS = {
    Profile.INTERACTIVE: 120_000,
    Profile.LONG_CONTEXT: 600_000,
    Profile.BATCH: 3_600_000,
    Profile.CRITICAL: 60_000,
}


class GatewaySettings(Record, frozen=True, kw_only=True):
    """Bounds on what a caller may send and how long one exchange may last.

    `deadlines_ms` is both the default and the maximum of each profile. Bodies above
    `long_context_bytes` (about 6,000 tokens of English) run under the `long_context` profile unless
    the caller names one. `discard_ms` is how long the rest of a refused body is read, so that the
    client gets to read the refusal.
    """

    max_connections: int = 2_048
    max_body_bytes: int = 4 * 1024 * 1024
    max_header_bytes: int = 32 * 1024
    max_nesting: int = 64
    max_messages: int = 2_048
    max_tools: int = 128
    max_choices: int = 16
    max_documents: int = 64
    max_steps: int = 8
    max_repairs: int = 3
    max_listed_sessions: int = 100
    long_context_bytes: int = 24_000
    header_read_timeout_ms: int = 10_000
    body_read_timeout_ms: int = 30_000
    discard_ms: int = 1_000
    keep_alive_interval_ms: int = 15_000
    slow_reader_timeout_ms: int = 30_000
    idle_timeout_ms: int = 120_000
    overdue_grace_ms: int = 5_000
    deadlines_ms: dict[Profile, int] = msgspec.field(default_factory=_DEADLINES_MS.copy)
    draining_retry_after_ms: int = 2_000
    metrics_need_key: bool = False

    def deadline_ms(self, profile: Profile) -> int:
        """The longest that a request of `profile` may take."""
        return self.deadlines_ms.get(profile, _DEADLINES_MS[profile])
