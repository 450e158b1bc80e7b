"""A supervised engine process for tests: the real supervisor, client, link and child."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from octant.adapters.system.clock import SystemClock
from octant.adapters.system.process import SystemLauncher
from octant.adapters.zmq.link import ZmqServerLink
from octant.app.engine_config import EngineConfig
from octant.core.events import EngineStateChanged
from octant.core.failure import Failure
from octant.core.route import DeploymentState
from octant.core.stream import Broken, ChoiceFinished, Completed, StreamItem, TextDelta
from octant.core.units import NS_PER_MS, NS_PER_S
from octant.core.work import ModelWork
from octant.serving.engine_client import ClientSettings, EngineClient
from octant.serving.restart_policy import RestartSettings
from octant.serving.supervisor import EngineSupervisor, SupervisorSettings
from octant.serving.warm_up import WarmUpSettings
from tests.support.engine_child import command
from tests.support.engine_parts import ROUTE, EventList, FixedEntropy

SETTINGS = SupervisorSettings(
    stall_ns=1500 * NS_PER_MS,
    load_timeout_ns=60 * NS_PER_S,
    stop_grace_ns=5 * NS_PER_S,
    restart=RestartSettings(first_ns=20 * NS_PER_MS, loop_count=3, slow_ns=600 * NS_PER_S),
)
BOUNDS = ClientSettings()


class Supervised:
    """A client with its supervisor and what they said."""

    def __init__(
        self,
        run_dir: Path,
        *,
        model: str = "modelled",
        model_dir: str = "",
        settings: SupervisorSettings = SETTINGS,
        client: ClientSettings = BOUNDS,
    ) -> None:
        config = EngineConfig(
            route=ROUTE,
            model_dir=model_dir,
            pulse_ms=50,
            warm_up=WarmUpSettings(prefill_tokens=8),
        )
        self.clock = SystemClock()
        self.events = EventList()
        self.client = EngineClient(ROUTE, "sha256:test", client)
        self.supervisor = EngineSupervisor(
            self.client,
            launcher=SystemLauncher(),
            command=partial(command, config, model),
            links=partial(ZmqServerLink, run_dir, config.link_messages),
            events=self.events,
            clock=self.clock,
            entropy=FixedEntropy(),
            settings=settings,
        )

    @property
    def pid(self) -> int:
        pid = self.supervisor.engine_pid
        assert pid is not None, "no engine is running"
        return pid

    async def states(self, *wanted: DeploymentState) -> None:
        """Returns once the deployment is in one of the states."""
        await self._until(lambda: self.supervisor.state in wanted)

    async def ready_again(self, launches: int) -> None:
        """Returns once the engine has been ready that many times."""
        await self._until(lambda: len(self.moves(DeploymentState.READY)) >= launches)

    async def idle(self) -> None:
        """Returns once the engine itself has reported that it holds nothing."""

        def holds_nothing() -> bool:
            load = self.client.load()
            return load.running + load.waiting == 0 and load.kv_usage == 0.0

        await self._until(holds_nothing)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():  # noqa: ASYNC110 - what is watched lives in other tasks' parts
                await asyncio.sleep(0.005)

    def moves(self, state: DeploymentState) -> list[EngineStateChanged]:
        return [event for event in self.events.of(EngineStateChanged) if event.state is state]

    async def ask(self, asked: ModelWork) -> list[StreamItem]:
        async with self.client.generate(asked) as items:
            return [item async for item in items]


@asynccontextmanager
async def supervised(
    run_dir: Path,
    *,
    model: str = "modelled",
    model_dir: str = "",
    settings: SupervisorSettings = SETTINGS,
    client: ClientSettings = BOUNDS,
) -> AsyncIterator[Supervised]:
    """An engine that is ready; it is drained and gone afterwards, with nothing left over."""
    engine = Supervised(run_dir, model=model, model_dir=model_dir, settings=settings, client=client)
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.supervisor.run())
        try:
            await engine.supervisor.wait_ready()
            yield engine
        finally:
            await engine.supervisor.drain(0)
    assert engine.supervisor.state is DeploymentState.STOPPED
    assert engine.client.outstanding == 0
    assert os.listdir(run_dir) == [], "a socket was left behind"


def text(items: list[StreamItem], choice: int = 0) -> str:
    return "".join(i.text for i in items if isinstance(i, TextDelta) and i.choice == choice)


def failure(items: list[StreamItem]) -> Failure:
    """The failure with which a stream ended."""
    assert isinstance(items[-1], Broken), f"ended with {items[-1]}"
    return items[-1].failure


def check_order(items: list[StreamItem]) -> None:
    """The law of core.stream: exactly one terminal item, and it is last."""
    terminal = [index for index, i in enumerate(items) if isinstance(i, Completed | Broken)]
    assert terminal == [len(items) - 1]
    ended: set[int] = set()
    for item in items:
        if isinstance(item, TextDelta | ChoiceFinished):
            assert item.choice not in ended, "a choice spoke after its end"
        if isinstance(item, ChoiceFinished):
            ended.add(item.choice)
