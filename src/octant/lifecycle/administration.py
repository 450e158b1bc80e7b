"""Administration: every change of recipes, deployments and traffic, and who made it (LC1, GV6).

    authority -> check -> audit record -> store -> take effect

Law: policy is asked before anything else, and its refusal is on record. Nothing takes effect
before it is stored, nothing is stored before its audit record is, and where either cannot be kept
nothing happens. Changes come one at a time. What is told comes from the store and from the engines,
never from what a change was meant to do.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

from msgspec.structs import replace

from octant.core.audit import AuditRecord
from octant.core.deployment import Deployment, Recipe, Traffic
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Principal
from octant.core.ids import ReleaseId, RequestId, RouteId
from octant.core.route import DeploymentState
from octant.core.stage import Stage
from octant.core.verdict import Decision, Verdict
from octant.governance.governor import Governor
from octant.lifecycle.deployments import Standing, check_may_stop, check_weights, route_id
from octant.lifecycle.recipe_files import RecipeFile
from octant.lifecycle.recipes import Measurement
from octant.ports.clock import Clock
from octant.ports.store import Store

MAX_HISTORY = 100

_STOPPED_BY = "stopped by an operator"


class Caller(NamedTuple):
    """Who asks for a change, and in which request."""

    principal: Principal
    request_id: RequestId


class RouteStatus(NamedTuple):
    """How a deployment's engine is. Bytes and times are None until they are known.

    `outstanding` requests are inside; `kv_bytes_per_token` is of the allocated cache.
    """

    state: DeploymentState
    reason: str = ""
    restarts: int = 0
    outstanding: int = 0
    engine_pid: int | None = None
    load_ms: int | None = None
    resident_bytes: int | None = None
    kv_bytes_per_token: int | None = None


class Deployed(NamedTuple):
    """A deployment, its recipe and how it stands."""

    deployment: Deployment
    recipe: Recipe | None
    status: RouteStatus


class TrafficView(NamedTuple):
    """The split in force (None: all releases are equal) and those before it, newest first."""

    model: str
    current: Traffic | None
    history: Sequence[Traffic]


class Fleet(Protocol):
    """What runs engines; `app.engines.Engines` in production."""

    def wanted(self) -> Sequence[Deployment]:
        """What is to run now."""
        ...

    def present(self) -> Sequence[tuple[Deployment, Recipe]]:
        """What has an engine, those on their way out included."""
        ...

    def standing(self, model: str) -> Sequence[Standing]:
        """Every route of a model, those of upstreams too; empty for a model that has none."""
        ...

    def status(self, route: RouteId) -> RouteStatus:
        """STOPPED for a route without an engine."""
        ...

    def want(self, deployment: Deployment, recipe: Recipe) -> None:
        """Starts it as soon as it is its turn."""
        ...

    def unwant(self, route: RouteId, reason: str) -> None:
        """Drains it, then ends its engine and takes it out of the table."""
        ...

    def set_traffic(self, model: str, weights: Mapping[ReleaseId, int]) -> None:
        """New requests are split so from now on."""
        ...


class Artifacts(Protocol):
    """Where recipes' files are; `app.artifacts` in production."""

    async def complete(self, file: RecipeFile, measurement: Measurement | None) -> Recipe:
        """The recipe over its verified artifact; without a measurement, with the package's own.

        Raises Failed, also CORRUPT_ARTIFACT.
        """
        ...

    async def verify(self, recipe: Recipe) -> None:
        """Raises Failed(CORRUPT_ARTIFACT) unless the files are those that the recipe pins."""
        ...


class Administration:
    """Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        governor: Governor,
        fleet: Fleet,
        artifacts: Artifacts,
        clock: Clock,
        max_deployments: int,
    ) -> None:
        self._store = store
        self._governor = governor
        self._fleet = fleet
        self._artifacts = artifacts
        self._clock = clock
        self._max_deployments = max_deployments
        self._one_at_a_time = asyncio.Lock()

    # Reading

    async def recipes(self, model: str | None = None) -> Sequence[Recipe]:
        """In the order of their addition."""
        return await self._store.recipes(model)

    async def recipe(self, named: str) -> Recipe:
        """By digest, or the newest of a name. Raises Failed(NOT_FOUND)."""
        known = await self._store.recipe(named) if named.startswith("sha256:") else None
        if known is None:
            found = [recipe for recipe in await self._store.recipes() if recipe.name == named]
            known = found[-1] if found else None
        if known is None:
            _not_found(f"There is no recipe {named}. GET /admin/v1/recipes lists them.", "recipe")
        return known

    async def deployments(self) -> Sequence[Deployed]:
        """In the order in which they were asked for; last, those removed that still drain."""
        stored = await self._store.deployments()
        known = {deployment.id for deployment in stored}
        told = [(d, await self._store.recipe(d.recipe_digest)) for d in stored]
        told += [(d, recipe) for d, recipe in self._fleet.present() if d.id not in known]
        return [Deployed(d, recipe, self._fleet.status(d.id)) for d, recipe in told]

    async def deployment(self, route: RouteId) -> Deployed:
        """Raises Failed(NOT_FOUND)."""
        found = next((d for d in await self.deployments() if d.deployment.id == route), None)
        if found is None:
            _not_found(
                f"There is no deployment {route}. GET /admin/v1/deployments lists them.", "id"
            )
        return found

    async def traffic(self, model: str, history: int = MAX_HISTORY) -> TrafficView:
        """Raises Failed(MODEL_NOT_FOUND) for a model that is not served and never was split."""
        current = await self._current(model)
        if current is None:
            self._standing(model)
        past = await self._store.traffic_history(model, min(history, MAX_HISTORY))
        return TrafficView(model, current, past)

    # Changing; each raises Failed(PERMISSION_DENIED) where policy is against it.

    async def add_recipe(
        self, caller: Caller, file: RecipeFile, measurement: Measurement | None
    ) -> Recipe:
        """Registers the recipe; the same one again changes nothing."""
        granted = await self._authorise(caller, "recipe.add", file.name, file.model)
        recipe = await self._artifacts.complete(file, measurement)
        async with self._one_at_a_time:
            if await self._store.recipe(recipe.digest) is None:
                told = {"recipe": recipe.digest, "artifact": recipe.artifact_digest}
                await self._audit(caller, granted, "recipe.add", told)
                await self._store.put_recipe(recipe)
        return recipe

    async def deploy(self, caller: Caller, recipe_named: str, release: ReleaseId) -> Deployed:
        """Adds a deployment, or starts one again that was drained; its route loads from now on.

        Raises Failed: NOT_FOUND, CORRUPT_ARTIFACT, CONFLICT or CAPACITY_EXHAUSTED; nothing that
        runs is touched then.
        """
        recipe = await self.recipe(recipe_named)
        named = route_id(recipe.label, release)
        granted = await self._authorise(caller, "deployment.add", named, recipe.model)
        await self._artifacts.verify(recipe)
        async with self._one_at_a_time:
            wanted = await self._new_or_again(recipe, release)
            told = {"deployment": wanted.id, "recipe": recipe.digest, "release": release}
            await self._audit(caller, granted, "deployment.add", told)
            await self._store.put_deployment(wanted)
            self._fleet.want(wanted, recipe)
        return Deployed(wanted, recipe, self._fleet.status(wanted.id))

    async def drain(self, caller: Caller, route: RouteId, *, force: bool = False) -> Deployed:
        """Drains a route and ends its engine; the deployment stays and can be deployed again.

        Raises Failed: NOT_FOUND, or CONFLICT where callers would be left without a route.
        """
        async with self._one_at_a_time:
            found = await self._stopping(caller, "deployment.drain", route, force)
            await self._store.put_deployment(replace(found.deployment, wanted=False))
            self._fleet.unwant(route, _STOPPED_BY)
        return await self.deployment(route)

    async def remove(self, caller: Caller, route: RouteId, *, force: bool = False) -> Deployed:
        """As `drain`, and the deployment is forgotten; one that the settings ask for stays listed,
        stopped. Raises Failed as `drain`."""
        async with self._one_at_a_time:
            found, recipe, _ = await self._stopping(caller, "deployment.remove", route, force)
            left = replace(found, wanted=False)
            if found.from_settings:
                await self._store.put_deployment(left)
            else:
                await self._store.delete_deployment(route)
            self._fleet.unwant(route, _STOPPED_BY)
        return Deployed(left, recipe, self._fleet.status(route))

    async def set_traffic(
        self,
        caller: Caller,
        model: str,
        weights: Mapping[ReleaseId, int],
        expected_version: int | None,
    ) -> TrafficView:
        """Splits new requests by `weights`; running ones stay where they are.

        Raises Failed: MODEL_NOT_FOUND, NOT_FOUND, INVALID_VALUE, or CONFLICT for a release without
        a ready route and for a split that is not the expected one any more.
        """
        granted = await self._authorise(caller, "traffic.set", model, model)
        async with self._one_at_a_time:
            check_weights(model, weights, self._standing(model))
            current = await self._current(model)
            version = current.version if current else 0
            if expected_version is not None and expected_version != version:
                _conflict(
                    f"The traffic of {model} is at version {version}, not {expected_version}: "
                    "somebody has changed it. Look at it again.",
                    "expected_version",
                )
            told: dict[str, str | int] = {"model": model, "version": version + 1}
            told |= {f"weight.{release}": weight for release, weight in weights.items()}
            await self._audit(caller, granted, "traffic.set", told)
            await self._store.put_traffic(
                Traffic(
                    model=model,
                    weights=dict(weights),
                    version=version + 1,
                    changed_unix_ns=self._clock.unix_ns(),
                    changed_by=caller.principal.actor,
                )
            )
            self._fleet.set_traffic(model, weights)
        return await self.traffic(model)

    async def _new_or_again(self, recipe: Recipe, release: ReleaseId) -> Deployment:
        stored = await self._store.deployments()
        name = route_id(recipe.label, release)
        known = next((deployment for deployment in stored if deployment.id == name), None)
        if known is not None and (known.wanted or known.recipe_digest != recipe.digest):
            _conflict(
                f"{name} is deployed with recipe {known.recipe_digest}. Choose another release, or "
                "remove it first.",
                "release",
            )
        of_others = {d.model for d in stored if d.release == release} - {recipe.model}
        if of_others:
            _conflict(f"{release} is a release of {of_others.pop()}. Choose another.", "release")
        if len(self._fleet.wanted()) >= self._max_deployments:
            raise Failed(
                Failure(
                    kind=FailureKind.CAPACITY_EXHAUSTED,
                    stage=Stage.ROUTE,
                    message=f"{self._max_deployments} deployments run already. Drain one, or raise "
                    "deployments.max_routes.",
                )
            )
        if known is not None:
            return replace(known, wanted=True)
        return Deployment(
            id=name,
            model=recipe.model,
            release=release,
            recipe_digest=recipe.digest,
            created_unix_ns=self._clock.unix_ns(),
        )

    async def _stopping(self, caller: Caller, action: str, route: RouteId, force: bool) -> Deployed:
        """What is to stop, with its audit record written."""
        found = await self.deployment(route)
        granted = await self._authorise(caller, action, route, found.deployment.model)
        if not force:
            traffic = await self._current(found.deployment.model)
            check_may_stop(found.deployment, self._fleet.wanted(), traffic)
        await self._audit(caller, granted, action, {"deployment": route})
        return found

    async def _current(self, model: str) -> Traffic | None:
        return next((t for t in await self._store.traffic() if t.model == model), None)

    def _standing(self, model: str) -> Sequence[Standing]:
        standing = self._fleet.standing(model)
        if not standing:
            message = f"{model} is not served here. GET /v1/models lists what is."
            _fail(FailureKind.MODEL_NOT_FOUND, message, "model")
        return standing

    async def _authorise(self, caller: Caller, action: str, named: str, model: str) -> Verdict:
        verdict = self._governor.authorise_change(caller.principal, named, model)
        if verdict.decision is Decision.BLOCK:
            await self._audit(caller, verdict, action, {"named": named, "model": model})
            raise Failed(self._governor.refusal(verdict, Stage.GOVERNANCE))
        return verdict

    async def _audit(
        self, caller: Caller, verdict: Verdict, action: str, detail: Mapping[str, Any]
    ) -> None:
        principal = caller.principal
        record = AuditRecord(
            request_id=caller.request_id,
            tenant=principal.tenant,
            key_id=principal.key_id,
            action=action,
            decision=verdict.decision.value,
            policy_version=verdict.policy_version,
            rule=verdict.rule,
            at_unix_ns=self._clock.unix_ns(),
            detail={"actor": principal.actor, **detail},
        )
        await self._store.append_audit([record])


def _conflict(message: str, param: str) -> NoReturn:
    _fail(FailureKind.CONFLICT, message, param)


def _not_found(message: str, param: str) -> NoReturn:
    _fail(FailureKind.NOT_FOUND, message, param)


def _fail(kind: FailureKind, message: str, param: str) -> NoReturn:
    raise Failed(Failure(kind=kind, stage=Stage.ROUTE, message=message, param=param))
