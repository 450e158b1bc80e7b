"""Services: what the gateway is given. It owns none of it and starts none of it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple, Protocol

from starlette.types import ASGIApp

from octant.admission.control import RateLimitStatus
from octant.core.envelope import RequestEnvelope
from octant.core.route import DeploymentState
from octant.core.sampling import Sampling
from octant.core.stream import StreamItem
from octant.gateway.authentication import Authenticator
from octant.gateway.drain import Drain
from octant.gateway.sessions import SessionPolicy, SessionStore
from octant.gateway.settings import GatewaySettings
from octant.orchestration.hangup import Hangup
from octant.orchestration.routes import RouteListing
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.sink import EventSink


class Path(Protocol):
    """What runs requests; `orchestration.request_path.RequestPath` in production."""

    def run(self, envelope: RequestEnvelope, hangup: Hangup) -> AsyncGenerator[StreamItem, None]:
        """Items, then exactly one terminal; closing early cancels and settles. Never Failed."""
        ...

    def rate_limits(self, envelope: RequestEnvelope) -> RateLimitStatus | None:
        """What is left of the caller's tightest limits; None when nothing is known."""
        ...


class ModelListing(Protocol):
    """What is said about a model in public."""

    @property
    def name(self) -> str: ...

    @property
    def created_unix_s(self) -> int: ...

    @property
    def owned_by(self) -> str: ...

    @property
    def max_context(self) -> int:
        """Tokens, prompt and output together."""
        ...

    @property
    def state(self) -> DeploymentState: ...

    @property
    def reason(self) -> str:
        """Why it is in that state; empty when there is nothing to say."""
        ...

    @property
    def routes(self) -> Sequence[RouteListing]:
        """What can answer for it."""
        ...


class Routes(Protocol):
    """What is served; `orchestration.routes.RouteTable` in production."""

    def models(self) -> Sequence[ModelListing]: ...

    def default_sampling(self, model: str) -> Sampling:
        """What applies where a caller says nothing; OpenAI's defaults for an unknown model."""
        ...


class HealthCheck(NamedTuple):
    """One dependency's condition. `reason` says what is wrong, or how it is known to be well."""

    name: str
    healthy: bool
    reason: str = ""


class Health(Protocol):
    """Dependencies beyond the models, such as the store; asked at every readiness probe."""

    async def checks(self) -> Sequence[HealthCheck]: ...


class MetricsPage(Protocol):
    """The metrics in Prometheus' text format, rendered."""

    @property
    def body(self) -> bytes: ...

    @property
    def content_type(self) -> str: ...


class Metrics(Protocol):
    """All metrics; `observability.metrics.Metrics` in production."""

    def render(self) -> MetricsPage: ...


class GatewayServices(NamedTuple):
    """Everything the application needs, made by `app/wiring.py`.

    `mounts` are applications by the prefix of the paths that they answer for themselves.
    """

    path: Path
    routes: Routes
    authenticator: Authenticator
    health: Health
    metrics: Metrics
    drain: Drain
    events: EventSink
    clock: Clock
    entropy: Entropy
    sessions: SessionStore
    session_policy: SessionPolicy
    settings: GatewaySettings
    mounts: Mapping[str, ASGIApp] = {}
