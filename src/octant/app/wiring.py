"""Wiring: the only place that chooses adapters and joins the layers into a running server.

Law: everything is built here, from settings, in the order in which it depends on one another, and
closed in the reverse order by leaving `runtime`. Nothing else knows how it was put together.
"""

import shutil
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import NamedTuple

from starlette.types import ASGIApp

from octant import __version__
from octant.adapters.sqlite.store import SqliteStore
from octant.adapters.system.clock import SystemClock
from octant.adapters.system.directory_lock import hold_directory
from octant.adapters.system.entropy import SystemEntropy
from octant.adapters.tools.runner import IsolatedToolRunner
from octant.admission.control import AdmissionControl
from octant.app import first_start, layers, telemetry
from octant.app.artifacts import LocalArtifacts
from octant.app.engines import RUN_DIR, EngineParts, Engines, engines
from octant.app.settings import Settings
from octant.core.deployment import Recipe
from octant.core.failure import Failed
from octant.core.units import NS_PER_S
from octant.gateway.administration.application import (
    PREFIX,
    AdministrationApplication,
    AdministrationServices,
)
from octant.gateway.application import create_application
from octant.gateway.authentication import Authenticator
from octant.gateway.drain import Drain
from octant.gateway.services import GatewayServices, HealthCheck
from octant.governance.governor import Governor
from octant.lifecycle.administration import Administration
from octant.lifecycle.restoration import restore
from octant.observability.metrics import Metrics
from octant.observability.recorder import EventRecorder
from octant.orchestration.agent_loop import AgentLoop
from octant.orchestration.breakers import Breakers
from octant.orchestration.execution import Execution
from octant.orchestration.request_path import PathParts, RequestPath
from octant.orchestration.routes import DeployedRoute, RouteTable
from octant.orchestration.sessions import Sessions
from octant.orchestration.settlement import Settler, month_of
from octant.orchestration.tool_broker import ToolBroker
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.sink import EventSink
from octant.ports.store import Store
from octant.ports.tool_runner import ToolRunner


class Runtime(NamedTuple):
    """A running server without its socket."""

    application: ASGIApp
    events: EventSink
    engines: Engines
    drain: Drain


def clock() -> Clock:
    """The machine's time."""
    return SystemClock()


def entropy() -> Entropy:
    """The machine's randomness."""
    return SystemEntropy()


def key_pepper(settings: Settings) -> bytes:
    """The secret under which API keys are hashed."""
    return first_start.key_pepper(settings, entropy())


async def first_key(settings: Settings, store: Store) -> str | None:
    """The text of the first key, once ever; None when there are tenants already."""
    return await first_start.first_key(settings, store, key_pepper(settings), clock(), entropy())


@contextmanager
def hold_data_dir(settings: Settings) -> Generator[None, None, None]:
    """Keeps other servers out. Raises Failed(CONFLICT) when one is in already."""
    first_start.prepare_data_dir(settings)
    with hold_directory(settings.data_dir):
        # What an engine of a killed server left behind; nobody else can be using it now.
        shutil.rmtree(settings.data_dir / RUN_DIR, ignore_errors=True)
        yield


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncGenerator[Store, None]:
    """The store of the data directory. Raises Failed(RECORD_NOT_STORED) when it cannot be used."""
    first_start.prepare_data_dir(settings)
    store = SqliteStore(layers.store(settings))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def runtime(
    settings: Settings, store: Store, base: Sequence[Recipe]
) -> AsyncGenerator[Runtime, None]:
    """The whole server over an open store; leaving drains, settles and ends the engines.

    `base` are the recipes that the settings ask for; what was deployed by hand comes back as well.
    """
    metrics = Metrics(
        version=__version__,
        limits=layers.metrics(settings),
        objectives=layers.objectives(settings),
    )
    collector = telemetry.collector(settings)
    if collector is not None:
        metrics.follow(collector)
    recorder = EventRecorder(
        metrics,
        settings.observability.max_open_requests,
        settings.observability.max_events_per_request,
        collector,
    )
    admission = AdmissionControl(layers.admission(settings))
    settler = Settler(store, admission, recorder, clock())
    routes = RouteTable(Breakers(recorder, layers.breakers(settings)))
    runner = IsolatedToolRunner(layers.tools(settings), clock())
    governor = layers.governor(settings)
    path = _path(settings, store, _Shared(routes, admission, governor, settler, recorder, runner))
    drain = Drain()
    parts = EngineParts(settings, routes, recorder, metrics, clock(), entropy())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(telemetry.close, collector)
        stack.push_async_callback(settler.drain)
        stack.push_async_callback(runner.close)
        restored = await restore(store, base, clock())
        fleet = await stack.enter_async_context(engines(parts, restored))
        for serves, deployed in await stack.enter_async_context(_upstreams(settings, recorder)):
            routes.put_route(serves, clock().unix_ns() // NS_PER_S, deployed)
            metrics.name_route(deployed.route.id, serves)
        for model, weights in restored.traffic.items():
            fleet.set_traffic(model, weights)
        authenticator = Authenticator(
            store, clock(), key_pepper(settings), layers.key_cache(settings)
        )
        administered = AdministrationServices(
            administration=_administration(settings, store, governor, fleet),
            authenticator=authenticator,
            drain=drain,
            events=recorder,
            clock=clock(),
            entropy=entropy(),
            settings=layers.gateway(settings),
        )
        application = create_application(
            GatewayServices(
                path=path,
                routes=routes,
                authenticator=authenticator,
                health=StoreHealth(store, clock()),
                metrics=metrics,
                drain=drain,
                events=recorder,
                clock=clock(),
                entropy=entropy(),
                sessions=store,
                session_policy=governor,
                settings=layers.gateway(settings),
                mounts={PREFIX: AdministrationApplication(administered)},
            )
        )
        yield Runtime(application, recorder, fleet, drain)


@asynccontextmanager
async def _upstreams(
    settings: Settings, events: EventSink
) -> AsyncGenerator[Sequence[tuple[str, DeployedRoute]], None]:
    if not settings.upstreams:
        yield ()
        return
    # Not at the top: the client of upstreams delays a start without any by a tenth of a second.
    from octant.app.upstreams import upstream_routes

    async with upstream_routes(settings, clock(), events) as upstreams:
        yield upstreams


class _Shared(NamedTuple):
    """What the path has in common with the rest of the server."""

    routes: RouteTable
    admission: AdmissionControl
    governor: Governor
    settler: Settler
    events: EventSink
    runner: ToolRunner


def _path(settings: Settings, store: Store, shared: _Shared) -> RequestPath:
    """The request path with its layers, in the order in which they depend on one another."""
    events, governor = shared.events, shared.governor
    broker = ToolBroker(shared.runner, governor.authorise_tool, store.append_audit, events, clock())
    execution = Execution(
        events, clock(), entropy(), shared.routes.breakers, layers.execution(settings)
    )
    parts = PathParts(
        routes=shared.routes,
        admission=shared.admission,
        governor=governor,
        sessions=Sessions(store, settings.limits.max_session_turns),
        broker=broker,
        execution=execution,
        loop=AgentLoop(execution, broker, governor, events, clock()),
        settler=shared.settler,
    )
    return RequestPath(parts, events, clock(), layers.request_path(settings))


def _administration(
    settings: Settings, store: Store, governor: Governor, fleet: Engines
) -> Administration:
    max_routes = settings.deployments.max_routes
    return Administration(store, governor, fleet, LocalArtifacts(settings), clock(), max_routes)


class StoreHealth:
    """Whether the store answers; implements gateway.services.Health."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def checks(self) -> Sequence[HealthCheck]:
        """One read of the budget of this month."""
        month = month_of(self._clock.unix_ns())
        try:
            await self._store.spent(first_start.DEFAULT_TENANT, month)
        except Failed as error:
            return [HealthCheck("store", healthy=False, reason=error.failure.message)]
        return [HealthCheck("store", healthy=True)]
