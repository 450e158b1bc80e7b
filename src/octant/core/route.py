"""Routes: an engine plus a deployed release, and the record of how one was chosen (OR1)."""

from enum import StrEnum

from octant.core.ids import ReleaseId, RouteId
from octant.core.limits import Profile
from octant.core.record import Record
from octant.core.units import NanoUsd


class DeploymentState(StrEnum):
    """Where a deployment stands (LC3); only READY takes new requests."""

    LOADING = "loading"
    WARMING = "warming"
    PROBING = "probing"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class BreakerState(StrEnum):
    """Whether failures keep requests from a route: all pass, none pass, or one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Price(Record, frozen=True, kw_only=True):
    """Nano-USD per token."""

    input_nano_usd: NanoUsd = NanoUsd(0)
    output_nano_usd: NanoUsd = NanoUsd(0)


class Route(Record, frozen=True, kw_only=True):
    """What a request can be sent to. `max_context` counts prompt and output tokens together.

    `label` is a short name callers can ask for (`fast`, `precise`); `quality` is between 0 and 1,
    as measured, comparable among the routes of one model; `tokens_per_s` is the decode rate of one
    request, 0 where it was not measured. `residency` names where it computes; `local` is this
    machine. Routes with one `machine` share its processor, so each feels the load of all.
    """

    id: RouteId
    model: str
    release: ReleaseId
    engine: str
    max_context: int
    capabilities: tuple[str, ...] = ()
    price: Price = Price()
    label: str = ""
    quality: float = 0.5
    tokens_per_s: float = 0.0
    residency: str = "local"
    machine: str = ""
    recipe_digest: str = ""


class RouteLoad(Record, frozen=True, kw_only=True):
    """A route's condition at one instant, as its engine last reported it.

    `waiting_tokens_by_profile` is what is still to compute for the waiting requests of each profile
    that has any. `retry_after_ns` is when a route that is not ready is worth asking again.
    """

    state: DeploymentState
    reason: str = ""
    running: int = 0
    waiting: int = 0
    waiting_tokens_by_profile: dict[Profile, int] = {}
    kv_usage: float = 0.0
    retry_after_ns: int | None = None

    @property
    def waiting_tokens(self) -> int:
        """All profiles together."""
        return sum(self.waiting_tokens_by_profile.values())


class Candidate(Record, frozen=True, kw_only=True):
    """One route as routing saw it: its score, or the reason why it was filtered out."""

    route: RouteId
    score: float | None = None
    rejected_because: str | None = None


class RouteDecision(Record, frozen=True, kw_only=True):
    """The chosen route with every candidate's score or refusal.

    `release` is what the traffic split drew; the chosen route is of another release only where
    that one had no eligible route. `fallbacks` are the other eligible routes, best first.
    """

    chosen: Route
    candidates: tuple[Candidate, ...]
    release: ReleaseId | None = None
    fallbacks: tuple[RouteId, ...] = ()
