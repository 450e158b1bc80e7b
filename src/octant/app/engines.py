"""Engines: one supervised engine for every deployment that is wanted, and its route in the table.

    wanted -> reconcile -> start: rules, client, supervisor, route | stop: drain, end, no route

Law: a route is in the table exactly as long as it has an engine, and it leaves only after its
requests have ended or used up their grace. What goes wrong with one deployment is its own state;
nothing here ever ends another one's engine. Every task lives inside `run`.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

from octant.adapters.system.process import SystemLauncher
from octant.adapters.zmq.link import ZmqServerLink
from octant.app import layers
from octant.app.artifacts import directory_of, verified
from octant.app.engine_config import EngineConfig, engine_command
from octant.app.prompt_rules import known_answer, load_rules, rules_key
from octant.app.settings import Settings
from octant.core.deployment import Deployment, Recipe
from octant.core.events import AnyEvent, EngineStateChanged
from octant.core.failure import DEFECT, Failed, Failure
from octant.core.ids import ReleaseId, RouteId
from octant.core.route import DeploymentState
from octant.core.units import NS_PER_MS, NS_PER_S
from octant.lifecycle.administration import RouteStatus
from octant.lifecycle.deployments import Running, Standing, Start, Stop, reconcile
from octant.lifecycle.recipes import route_of
from octant.lifecycle.restoration import Restored
from octant.observability.metrics import Metrics
from octant.orchestration.routes import DeployedRoute, PromptRules, RouteTable
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.sink import EventSink
from octant.serving.engine_client import EngineClient
from octant.serving.supervisor import EngineSupervisor

RUN_DIR = "run"

_log = logging.getLogger(__name__)

# Messages to an engine that belong to no attempt, and a margin.
_OTHER_MESSAGES = 1024
_SHUTTING_DOWN = "shutting down"
_NOT_WANTED = "not wanted"


class EngineParts(NamedTuple):
    """What engines are made from and what they report to."""

    settings: Settings
    routes: RouteTable
    events: EventSink
    metrics: Metrics
    clock: Clock
    entropy: Entropy


class _Route:
    """One deployment from its start until its engine is gone."""

    def __init__(self, deployment: Deployment, recipe: Recipe) -> None:
        self.deployment = deployment
        self.recipe = recipe
        self.supervisor: EngineSupervisor | None = None
        self.client: EngineClient | None = None
        self.rules: PromptRules | None = None
        self.rules_key = ""
        self.failure: Failure | None = None
        self.leaving: str | None = None
        self.left = asyncio.Event()

    @property
    def state(self) -> DeploymentState:
        if self.supervisor is not None:
            return self.supervisor.state
        return DeploymentState.FAILED if self.failure else DeploymentState.LOADING

    @property
    def reason(self) -> str:
        if self.client is not None:
            return self.client.load().reason
        return self.failure.message if self.failure else ""

    def status(self) -> RouteStatus:
        supervisor, client = self.supervisor, self.client
        facts = client.engine_facts if client else None
        return RouteStatus(
            state=self.state,
            reason=self.reason,
            restarts=supervisor.restarts if supervisor else 0,
            outstanding=client.outstanding if client else 0,
            engine_pid=supervisor.engine_pid if supervisor else None,
            load_ms=supervisor.load_ns // NS_PER_MS if supervisor and facts else None,
            resident_bytes=facts.detail.get("resident_bytes") if facts else None,
            kv_bytes_per_token=facts.block_bytes // facts.block_size if facts else None,
        )


class Engines:
    """Implements lifecycle.administration.Fleet. Belongs to one event loop."""

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts
        self._wanted: dict[RouteId, tuple[Deployment, Recipe]] = {}
        self._routes: dict[RouteId, _Route] = {}
        self._reasons: dict[RouteId, str] = {}
        self._traffic: dict[str, Mapping[ReleaseId, int]] = {}
        self._stopping = False
        self._grace_ns = parts.settings.deployments.drain_grace_ms * NS_PER_MS
        self._changed = asyncio.Event()
        self._decided = asyncio.Event()
        self._finished = asyncio.Event()

    # What is wanted (lifecycle.administration.Fleet)

    def wanted(self) -> Sequence[Deployment]:
        """What is to run now, in the order of starting."""
        return [deployment for deployment, _ in self._wanted.values()]

    def present(self) -> Sequence[tuple[Deployment, Recipe]]:
        """What has an engine, those on their way out included."""
        return [(route.deployment, route.recipe) for route in self._routes.values()]

    def standing(self, model: str) -> Sequence[Standing]:
        """Every route of a model: what the table has, and what waits for its turn."""
        listings = [listing for listing in self._parts.routes.models() if listing.name == model]
        served = {route.id: route for listing in listings for route in listing.routes}
        waiting = [d for d in self.wanted() if d.model == model and d.id not in served]
        return [
            *(Standing(route.release, route.state) for route in served.values()),
            *(Standing(d.release, self.status(d.id).state) for d in waiting),
        ]

    def status(self, route: RouteId) -> RouteStatus:
        """STOPPED for a route that is not wanted, LOADING for one whose turn has not come."""
        known = self._routes.get(route)
        if known is not None:
            status = known.status()
            leaves = route not in self._wanted and status.state is DeploymentState.READY
            return status._replace(state=DeploymentState.DRAINING) if leaves else status
        if route in self._wanted:
            return RouteStatus(DeploymentState.LOADING, "waits for its turn")
        return RouteStatus(DeploymentState.STOPPED, _NOT_WANTED)

    def want(self, deployment: Deployment, recipe: Recipe) -> None:
        """Starts it as soon as it is its turn."""
        self._wanted[deployment.id] = (deployment, recipe)
        self._changed.set()

    def unwant(self, route: RouteId, reason: str) -> None:
        """Drains it within the grace, then ends its engine and takes it out of the table."""
        if self._wanted.pop(route, None) is not None and route in self._routes:
            self._reasons[route] = reason
        self._changed.set()

    def set_traffic(self, model: str, weights: Mapping[ReleaseId, int]) -> None:
        """New requests are split so from now on."""
        self._traffic[model] = dict(weights)
        if any(listing.name == model for listing in self._parts.routes.models()):
            self._parts.routes.set_traffic(model, weights)

    # The whole fleet

    async def wait_ready(self) -> None:
        """Returns once some route is ready, or when none is wanted.

        Raises Failed with the first reason when none of them can be.
        """
        await self._decided.wait()
        states = [route.state for route in self._routes.values()]
        if self._wanted and DeploymentState.READY not in states:
            failures = (_failure(route) for route in self._routes.values())
            raise Failed(next((failure for failure in failures if failure), DEFECT))

    async def run(self) -> None:
        """Keeps what runs at what is wanted until `drain` has ended everything."""
        try:
            async with asyncio.TaskGroup() as group:
                while not self._stopping or self._routes:
                    self._changed.clear()
                    self._act(group)
                    self._decide()
                    await self._changed.wait()
        finally:
            self._decided.set()
            self._finished.set()

    async def drain(self, grace_ns: int) -> None:
        """Ends all engines, their requests within the grace; returns when all are gone."""
        self._stopping, self._grace_ns = True, grace_ns
        for route in list(self._wanted):
            self.unwant(route, _SHUTTING_DOWN)
        self._changed.set()
        hurried = [
            route.supervisor.drain(grace_ns, route.leaving)
            for route in self._routes.values()
            if route.supervisor is not None and route.leaving is not None
        ]
        await asyncio.gather(*hurried)
        await self._finished.wait()

    def check_integrity(self) -> None:
        """Raises AssertionError when the books contradict each other."""
        for name, route in self._routes.items():
            assert name == route.deployment.id
            assert route.leaving is not None or name in self._wanted or route.left.is_set()
        assert all(name == deployment.id for name, (deployment, _) in self._wanted.items())
        assert self._reasons.keys() <= self._routes.keys()

    def _act(self, group: asyncio.TaskGroup) -> None:
        running = {
            name: Running(route.recipe.digest, route.state, route.leaving is not None)
            for name, route in self._routes.items()
        }
        for action in reconcile(self.wanted(), running):
            match action:
                case Start(deployment):
                    route = _Route(*self._wanted[deployment.id])
                    self._routes[deployment.id] = route
                    group.create_task(self._keep(route))
                case Stop(name):
                    route = self._routes[name]
                    route.leaving = self._reasons.get(name, _NOT_WANTED)
                    group.create_task(self._end(route))

    def _decide(self) -> None:
        states = [route.state for route in self._routes.values()]
        hopeless = len(states) == len(self._wanted) and all(
            state in (DeploymentState.FAILED, DeploymentState.STOPPED) for state in states
        )
        if DeploymentState.READY in states or hopeless:
            self._decided.set()

    # One deployment

    async def _keep(self, route: _Route) -> None:
        """From its start until its engine is gone for good."""
        name = route.deployment.id
        try:
            await self._serve(route)
        except Failed as error:
            await self._hold_failed(route, error.failure)
        except Exception:
            # The last border: a defect with one deployment must not end the engines of others.
            _log.exception("the deployment %s met a defect", name)
            await self._hold_failed(route, DEFECT)
        finally:
            self._parts.routes.remove_route(name)
            del self._routes[name]
            self._reasons.pop(name, None)
            self._changed.set()

    async def _serve(self, route: _Route) -> None:
        recipe, deployment = route.recipe, route.deployment
        artifact = await asyncio.to_thread(verified, recipe)
        route.rules_key = rules_key(artifact)
        route.rules = self._known_rules(route.rules_key) or await asyncio.to_thread(
            load_rules, recipe
        )
        if route.leaving is not None:
            return
        described = route_of(recipe, deployment)
        route.client = EngineClient(
            deployment.id, artifact.digest, layers.client(self._parts.settings)
        )
        route.supervisor = self._supervisor(route, route.client, route.rules)
        self._parts.metrics.name_route(deployment.id, deployment.model)
        self._parts.routes.put_route(
            deployment.model,
            artifact.created_unix_ns // NS_PER_S,
            DeployedRoute(described, route.client, route.rules),
        )
        if deployment.model in self._traffic:
            self._parts.routes.set_traffic(deployment.model, self._traffic[deployment.model])
        await route.supervisor.run()

    async def _end(self, route: _Route) -> None:
        route.left.set()
        if route.supervisor is not None:
            await route.supervisor.drain(self._grace_ns, route.leaving or _NOT_WANTED)

    async def _hold_failed(self, route: _Route, failure: Failure) -> None:
        """Stays listed as failed, with the reason, until it is not wanted any more."""
        route.supervisor = route.client = None
        route.failure = failure
        self._parts.routes.remove_route(route.deployment.id)
        _log.error("%s is failed: %s", route.deployment.id, failure.message)
        self.emit(
            EngineStateChanged(
                at_ns=self._parts.clock.monotonic_ns(),
                route=route.deployment.id,
                state=DeploymentState.FAILED,
                reason=failure.message,
            )
        )
        await route.left.wait()

    def _known_rules(self, key: str) -> PromptRules | None:
        """Routes of one tokenizer share it: it can take a hundred megabytes."""
        same = (route.rules for route in self._routes.values() if route.rules_key == key)
        return next((rules for rules in same if rules is not None), None)

    def _supervisor(
        self, route: _Route, client: EngineClient, rules: PromptRules
    ) -> EngineSupervisor:
        settings = self._parts.settings
        config = _engine_config(route, settings)
        return EngineSupervisor(
            client,
            launcher=SystemLauncher(),
            command=partial(engine_command, config),
            links=partial(ZmqServerLink, settings.data_dir / RUN_DIR, config.link_messages),
            events=self,
            clock=self._parts.clock,
            entropy=self._parts.entropy,
            settings=layers.supervisor(settings),
            known_answer=known_answer(route.recipe, rules),
        )

    # ports.sink.EventSink, for the supervisors

    def emit(self, event: AnyEvent) -> None:
        """Passes the event on; a state that changed may make room for the next start."""
        self._parts.events.emit(event)
        if isinstance(event, EngineStateChanged):
            self._changed.set()


@asynccontextmanager
async def engines(parts: EngineParts, restored: Restored) -> AsyncGenerator[Engines, None]:
    """Runs what was restored until the scope is left, by then with nothing outstanding.

    How requests are split is for the caller to set, once all routes are in the table.
    """
    fleet = Engines(parts)
    for deployment, recipe in restored.wanted:
        fleet.want(deployment, recipe)
    running = asyncio.create_task(fleet.run())
    try:
        yield fleet
    finally:
        await fleet.drain(0)
        await running


def _failure(route: _Route) -> Failure | None:
    return route.failure or (route.supervisor.failure if route.supervisor else None)


def _engine_config(route: _Route, settings: Settings) -> EngineConfig:
    recipe = route.recipe
    return EngineConfig(
        route=route.deployment.id,
        model_dir=str(directory_of(recipe.location)),
        openvino=layers.recipe_executor(settings, recipe),
        scheduler=layers.recipe_scheduler(settings, recipe),
        pulse_ms=settings.engine.pulse_ms,
        max_failed_steps=settings.engine.max_failed_steps,
        link_messages=2 * layers.client(settings).max_outstanding + _OTHER_MESSAGES,
    )
