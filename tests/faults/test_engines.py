"""The fleet of engines: what is wanted runs, what is not leaves, one fault is one state."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from octant.adapters.system.clock import SystemClock
from octant.adapters.system.entropy import SystemEntropy
from octant.app import layers
from octant.app.artifacts import bundled_recipes, complete_recipe, read_recipe
from octant.app.engines import EngineParts, Engines, engines
from octant.app.settings import Settings, load_settings
from octant.core.deployment import Deployment, Recipe
from octant.core.events import EngineStateChanged
from octant.core.failure import Failed, FailureKind
from octant.core.ids import ReleaseId, RouteId
from octant.core.route import DeploymentState
from octant.lifecycle.deployments import route_id
from octant.lifecycle.restoration import Restored
from octant.observability.metrics import Metrics
from octant.orchestration.breakers import Breakers
from octant.orchestration.routes import RouteTable
from tests.support.engine_parts import EventList

READY = DeploymentState.READY


class Fleet:
    """Engines with what they report to."""

    def __init__(self, data_dir: Path) -> None:
        self.settings: Settings = load_settings(flags={"server.data_dir": str(data_dir)}).settings
        self.events = EventList()
        self.table = RouteTable(Breakers(self.events, layers.breakers(self.settings)))
        self.recipe = complete_recipe(read_recipe(bundled_recipes()[0]), self.settings)

    def deployment(self, release: str, recipe: Recipe | None = None) -> tuple[Deployment, Recipe]:
        recipe = recipe or self.recipe
        named = ReleaseId(release)
        deployment = Deployment(
            id=route_id(recipe.label, named),
            model=recipe.model,
            release=named,
            recipe_digest=recipe.digest,
            created_unix_ns=1,
        )
        return deployment, recipe

    @asynccontextmanager
    async def running(self, *wanted: tuple[Deployment, Recipe]) -> AsyncGenerator[Engines]:
        metrics = Metrics(version="test")
        parts = EngineParts(
            self.settings, self.table, self.events, metrics, SystemClock(), SystemEntropy()
        )
        async with engines(parts, Restored(wanted, {})) as fleet:
            yield fleet
        fleet.check_integrity()
        assert fleet.present() == []
        assert self.table.models() == []

    def states(self, route: RouteId) -> list[DeploymentState]:
        """The states a route went through, each once."""
        moves = [e.state for e in self.events.of(EngineStateChanged) if e.route == route]
        return list(dict.fromkeys(moves))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is watched lives in other tasks
            await asyncio.sleep(0.01)


async def test_a_second_release_starts_beside_the_first_and_leaves(fleet: Fleet) -> None:
    first, second = fleet.deployment("m-1"), fleet.deployment("m-2")
    async with fleet.running(first) as running:
        await running.wait_ready()
        running.want(*second)
        assert running.status(second[0].id).state is DeploymentState.LOADING
        await until(lambda: running.status(second[0].id).state is READY)
        running.check_integrity()
        (listing,) = fleet.table.models()
        assert [route.release for route in listing.routes] == ["m-1", "m-2"]
        model = fleet.table.model("octant-mini")
        rules = [deployed.prompt for deployed in model.routes]
        assert rules[0] is rules[1], "releases with the same tokenizer share it"
        running.unwant(second[0].id, "a test")
        await until(lambda: len(running.present()) == 1)
        running.check_integrity()
        assert running.status(first[0].id).state is READY
    assert fleet.states(second[0].id) == [
        DeploymentState.LOADING,
        DeploymentState.WARMING,
        DeploymentState.PROBING,
        READY,
        DeploymentState.DRAINING,
        DeploymentState.STOPPED,
    ]


async def test_files_that_were_damaged_since_fail_one_deployment_only(fleet: Fleet) -> None:
    damaged = replace(fleet.recipe, artifact_digest="sha256:other", digest="sha256:damaged")
    broken, sound = fleet.deployment("m-1", damaged), fleet.deployment("m-2")
    async with fleet.running(broken, sound) as running:
        await running.wait_ready()
        status = running.status(broken[0].id)
        assert status.state is DeploymentState.FAILED
        assert "another artifact" in status.reason
        assert running.status(sound[0].id).state is READY
        running.unwant(broken[0].id, "a test")
        await until(lambda: len(running.present()) == 1)


async def test_when_none_can_be_ready_the_reason_is_told(fleet: Fleet) -> None:
    damaged = replace(fleet.recipe, artifact_digest="sha256:other", digest="sha256:damaged")
    async with fleet.running(fleet.deployment("m-1", damaged)) as running:
        with pytest.raises(Failed) as raised:
            await running.wait_ready()
        assert raised.value.failure.kind is FailureKind.CORRUPT_ARTIFACT


async def test_nothing_wanted_is_nothing_to_wait_for(fleet: Fleet) -> None:
    async with fleet.running() as running:
        await running.wait_ready()
