"""What the adapter is told about one upstream; made from settings by `app.upstreams`."""

from typing import NamedTuple

from octant.core.ids import RouteId
from octant.core.units import NS_PER_S


class UpstreamSettings(NamedTuple):
    """One upstream. `base_url` has no slash at its end; `api_key` is never logged or recorded.

    A request waits for the head of its answer no longer than `first_byte_ns`, and than half of what
    its deadline leaves, so that another route still has time.
    """

    route: RouteId
    base_url: str
    model: str
    max_context: int
    api_key: str | None = None
    max_connections: int = 64
    connect_ns: int = 2 * NS_PER_S
    first_byte_ns: int = 60 * NS_PER_S
    idle_ns: int = 60 * NS_PER_S
    max_answer_bytes: int = 16 << 20
    check_ns: int = 5 * NS_PER_S

    def __repr__(self) -> str:
        """Without the key, wherever it is printed."""
        return f"UpstreamSettings({self.route}, {self.base_url}, model={self.model})"
