"""SqliteSettings: where the file is, and the bounds of writing and reading it."""

from pathlib import Path

from octant.core.record import Record


class SqliteSettings(Record, frozen=True, kw_only=True):
    """Bounds of the store.

    `max_batch` requests share one commit at most; `max_waiting` writes wait for one before callers
    are held up. The events of the newest `keep_traces` requests are kept, older ones are removed
    `prune_chunk` at a time. Writers of other processes are waited for up to `busy_timeout_ms`.
    """

    path: Path
    max_batch: int = 256
    max_waiting: int = 4_096
    keep_traces: int = 20_000
    prune_chunk: int = 512
    busy_timeout_ms: int = 5_000
    read_connections: int = 4
