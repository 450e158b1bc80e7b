"""Wiring: the only place that chooses adapters and joins the layers into a running server.

Law: everything is built here, from settings, in the order in which it depends on one another, and
closed in the reverse order by leaving `runtime`. Nothing else knows how it was put together.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace
from starlette.types import ASGIApp

from octant import __version__
from octant.adapters.huggingface.chat_template import ChatTemplateFiles, load_chat_template
from octant.adapters.huggingface.generation_config import load_sampling
from octant.adapters.huggingface.tokenizer import load_tokenizer
from octant.adapters.sqlite.store import SqliteStore
from octant.adapters.system.clock import SystemClock
from octant.adapters.system.directory_lock import hold_directory
from octant.adapters.system.entropy import SystemEntropy
from octant.adapters.system.process import SystemLauncher
from octant.adapters.zmq.link import ZmqServerLink
from octant.admission.control import AdmissionControl
from octant.app import first_start, layers
from octant.app.engine_config import EngineConfig, engine_command
from octant.app.model_source import ModelSource
from octant.app.settings import Settings
from octant.context.chat_template import ChatTemplate
from octant.core.failure import Failed
from octant.core.ids import ReleaseId, RouteId
from octant.core.route import Route
from octant.core.units import NS_PER_S
from octant.gateway.application import create_application
from octant.gateway.authentication import Authenticator
from octant.gateway.drain import Drain
from octant.gateway.services import GatewayServices, HealthCheck
from octant.observability.metrics import Metrics
from octant.observability.recorder import EventRecorder
from octant.orchestration.request_path import RequestPath
from octant.orchestration.routes import DeployedRoute, PromptRules, RouteTable, ServedModel
from octant.orchestration.settlement import Settler, month_of
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.sink import EventSink
from octant.ports.store import Store
from octant.serving.engine_client import EngineClient
from octant.serving.supervisor import EngineSupervisor

_RUN_DIR = "run"
_ENGINE = "openvino"
# Messages to an engine that belong to no attempt, and a margin.
_OTHER_MESSAGES = 1024
_SHORT_DIGEST = slice(len("sha256:"), len("sha256:") + 12)


class Runtime(NamedTuple):
    """A running server without its socket."""

    application: ASGIApp
    events: EventSink
    supervisor: EngineSupervisor
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
        shutil.rmtree(settings.data_dir / _RUN_DIR, ignore_errors=True)
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
    settings: Settings, store: Store, source: ModelSource
) -> AsyncGenerator[Runtime, None]:
    """The whole server over an open store; leaving drains, settles and ends the engine."""
    metrics = Metrics(
        version=__version__,
        limits=layers.metrics(settings),
        objectives=layers.objectives(settings),
    )
    recorder = EventRecorder(
        metrics,
        settings.observability.max_open_requests,
        settings.observability.max_events_per_request,
    )
    admission = AdmissionControl(layers.admission(settings))
    settler = Settler(store, admission, recorder, clock())
    route = _route(settings, source)
    metrics.name_route(route.id, route.model)
    client = EngineClient(route.id, source.artifact.digest, layers.client(settings))
    routes = RouteTable()
    routes.serve(_served(source, DeployedRoute(route, client, _prompt_rules(source))))
    path = RequestPath(
        routes=routes,
        admission=admission,
        policy=layers.policy(settings),
        settler=settler,
        events=recorder,
        clock=clock(),
        entropy=entropy(),
        settings=layers.request_path(settings),
    )
    drain = Drain()
    application = create_application(
        GatewayServices(
            path=path,
            routes=routes,
            authenticator=Authenticator(
                store, clock(), key_pepper(settings), layers.key_cache(settings)
            ),
            health=StoreHealth(store, clock()),
            metrics=metrics,
            drain=drain,
            events=recorder,
            clock=clock(),
            entropy=entropy(),
            settings=layers.gateway(settings),
        )
    )
    supervisor = _supervisor(settings, source, route, client, recorder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(settler.drain)
        await stack.enter_async_context(_running(supervisor))
        yield Runtime(application, recorder, supervisor, drain)


@asynccontextmanager
async def _running(supervisor: EngineSupervisor) -> AsyncGenerator[None, None]:
    """Runs the supervisor until the scope is left, by then with nothing outstanding."""
    task = asyncio.create_task(supervisor.run())
    try:
        yield
    finally:
        await supervisor.drain(0)
        await task


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


def _route(settings: Settings, source: ModelSource) -> Route:
    artifact = source.artifact
    name = settings.model.name or artifact.name
    wanted = settings.engine.max_context
    return Route(
        id=RouteId(f"{name}@{_ENGINE}"),
        model=name,
        release=ReleaseId(artifact.digest[_SHORT_DIGEST]),
        engine=_ENGINE,
        max_context=min(wanted, artifact.max_context) if wanted else artifact.max_context,
        price=layers.price(settings),
    )


def _served(source: ModelSource, deployed: DeployedRoute) -> ServedModel:
    return ServedModel(
        name=deployed.route.model,
        created_unix_s=source.artifact.created_unix_ns // NS_PER_S,
        routes=(deployed,),
    )


def _prompt_rules(source: ModelSource) -> PromptRules:
    tool_format = source.artifact.tool_call_format
    return PromptRules(
        tokenizer=load_tokenizer(source.directory),
        template=_template(load_chat_template(source.directory)),
        tool_format=None if tool_format == "none" else tool_format,
        default_sampling=load_sampling(source.directory),
    )


def _template(files: ChatTemplateFiles | None) -> ChatTemplate | None:
    if files is None:
        return None
    return ChatTemplate(files.source, files.special_tokens, files.tool_source)


def _supervisor(
    settings: Settings, source: ModelSource, route: Route, client: EngineClient, events: EventSink
) -> EngineSupervisor:
    config = EngineConfig(
        route=route.id,
        model_dir=str(source.directory),
        openvino=replace(layers.executor(settings), max_context=route.max_context),
        scheduler=layers.scheduler(settings),
        pulse_ms=settings.engine.pulse_ms,
        max_failed_steps=settings.engine.max_failed_steps,
        link_messages=2 * layers.client(settings).max_outstanding + _OTHER_MESSAGES,
    )
    return EngineSupervisor(
        client,
        launcher=SystemLauncher(),
        command=partial(engine_command, config),
        links=partial(ZmqServerLink, settings.data_dir / _RUN_DIR, config.link_messages),
        events=events,
        clock=clock(),
        entropy=entropy(),
        settings=layers.supervisor(settings),
    )
