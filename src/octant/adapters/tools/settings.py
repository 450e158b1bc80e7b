"""ToolSettings: which tools there are, what they may read, and how far a call may go."""

from pathlib import Path

from octant.core.record import Record
from octant.core.units import NS_PER_S

_MIB = 1 << 20


class ToolSettings(Record, frozen=True, kw_only=True):
    """Bounds of every call.

    At most `max_concurrent` calls run at once and `max_waiting` more wait. `lookup_tables` gives
    the columns that may be read of each table, its key first. With `require_isolation` a call
    fails where the kernel grants no namespaces; without it the other bounds have to do.
    """

    enabled: tuple[str, ...] = ("calculator", "clock", "lookup")
    timeout_ns: int = 5 * NS_PER_S
    max_concurrent: int = 4
    max_waiting: int = 64
    max_result_bytes: int = 8_192
    memory_bytes: int = 256 * _MIB
    require_isolation: bool = False
    lookup_database: Path | None = None
    lookup_tables: dict[str, tuple[str, ...]] = {}
