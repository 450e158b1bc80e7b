"""A desk of administration over a real store, with a fleet that writes down what it was told."""

from collections.abc import Mapping, Sequence
from typing import Any

from octant.core.audit import AuditRecord
from octant.core.deployment import Deployment, Recipe
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Principal, Scope
from octant.core.ids import ActorId, KeyId, ReleaseId, RequestId, RouteId, TenantId
from octant.core.limits import Objective
from octant.core.route import DeploymentState
from octant.core.stage import Stage
from octant.governance.governor import Governor
from octant.lifecycle.administration import Administration, Caller, RouteStatus
from octant.lifecycle.deployments import Standing
from octant.lifecycle.recipe_files import RecipeFile
from octant.lifecycle.recipes import Measurement
from octant.lifecycle.restoration import restore
from octant.ports.store import Store
from tests.support.engine_parts import SetClock
from tests.support.policies import built_in

CALLER = Caller(
    Principal(
        actor=ActorId("owner"),
        tenant=TenantId("acme"),
        key_id=KeyId("key_1"),
        scopes=(Scope.DEPLOYMENTS,),
    ),
    RequestId("req_1"),
)
R1, R2 = ReleaseId("m-1"), ReleaseId("m-2")


def recipe(label: str = "fast", artifact: str = "a") -> Recipe:
    return Recipe(
        name=f"m-{label}",
        model="m",
        label=label,
        description="",
        artifact_digest=f"sha256:{artifact}-{label}",
        tokenizer_digest="",
        location="/m",
        engine="openvino",
        engine_version="1",
        weight_precision="int8",
        kv_precision="u8",
        max_context=1,
        working_context=1,
        max_sequences=1,
        objective=Objective(ttft_ms=1, tpot_ms=1, total_ms=1),
        digest=f"sha256:{artifact}-{label}-recipe",
    )


class Told:
    """A fleet whose engines are ready at once."""

    def __init__(self) -> None:
        self.running: dict[RouteId, tuple[Deployment, Recipe]] = {}
        self.splits: dict[str, dict[ReleaseId, int]] = {}

    def wanted(self) -> Sequence[Deployment]:
        return [deployment for deployment, _ in self.running.values()]

    def present(self) -> Sequence[tuple[Deployment, Recipe]]:
        return list(self.running.values())

    def standing(self, model: str) -> Sequence[Standing]:
        mine = [d for d in self.wanted() if d.model == model]
        return [Standing(d.release, DeploymentState.READY) for d in mine]

    def status(self, route: RouteId) -> RouteStatus:
        ready = route in self.running
        return RouteStatus(DeploymentState.READY if ready else DeploymentState.STOPPED)

    def want(self, deployment: Deployment, recipe: Recipe) -> None:
        self.running[deployment.id] = (deployment, recipe)

    def unwant(self, route: RouteId, reason: str) -> None:
        self.running.pop(route, None)

    def set_traffic(self, model: str, weights: Mapping[ReleaseId, int]) -> None:
        self.splits[model] = dict(weights)


class Given:
    """Artifacts that are what they are said to be, unless `corrupt`."""

    def __init__(self) -> None:
        self.corrupt = False

    async def complete(self, file: RecipeFile, measurement: Measurement | None) -> Recipe:
        return recipe(file.label)

    async def verify(self, recipe: Recipe) -> None:
        if self.corrupt:
            raise Failed(failure(FailureKind.CORRUPT_ARTIFACT))


class FailingAudit:
    """The store, whose audit log takes nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append_audit(self, records: Sequence[AuditRecord]) -> None:
        raise Failed(failure(FailureKind.RECORD_NOT_STORED))


def failure(kind: FailureKind) -> Failure:
    return Failure(kind=kind, stage=Stage.LOAD, message="as the test asked")


class Desk:
    """Administration over a started fleet."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fleet = Told()
        self.artifacts = Given()
        self.clock = SetClock()
        self.governor = Governor(built_in())

    async def start(self, *base: Recipe) -> "Desk":
        restored = await restore(self.store, base, self.clock)
        self.fleet = Told()
        for deployment, of in restored.wanted:
            self.fleet.want(deployment, of)
        for model, weights in restored.traffic.items():
            self.fleet.set_traffic(model, weights)
        return self

    def on(self, store: Any = None) -> Administration:
        return Administration(
            store or self.store, self.governor, self.fleet, self.artifacts, self.clock, 3
        )

    async def state(self) -> tuple[Any, ...]:
        """What is stored and what is in force."""
        return (
            list(await self.store.recipes()),
            list(await self.store.deployments()),
            list(await self.store.traffic()),
            dict(self.fleet.running),
            dict(self.fleet.splits),
        )

    async def actions(self) -> list[str]:
        return [record.action for record in reversed(await self.store.audit(None, 100))]
