"""The engine's client without an engine: what it tells routing and admission of its condition."""

import msgspec
import pytest

from octant.core.limits import Profile
from octant.core.route import DeploymentState
from octant.core.units import NS_PER_S
from octant.ports.executor import ExecutorFacts
from octant.serving.engine_client import ClientSettings, EngineClient
from octant.serving.messages.from_engine import Progress
from tests.support.engine_parts import ROUTE, work
from tests.support.modelled_lm import ModelledExecutor


class OpenLink:
    """A ServerLink that takes whatever it is given."""

    address = ""

    def send(self, payload: bytes) -> bool:
        return True

    async def receive(self) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        pass


def client() -> EngineClient:
    return EngineClient(ROUTE, "sha256:test", ClientSettings())


def facts() -> ExecutorFacts:
    return ModelledExecutor().facts


@pytest.mark.parametrize("state", list(DeploymentState))
def test_a_route_that_is_not_ready_says_when_to_come_back(state: DeploymentState) -> None:
    engine = client()
    engine.move(state, "because", 60 * NS_PER_S)
    wait_ns = None if state is DeploymentState.READY else 60 * NS_PER_S
    assert engine.load().retry_after_ns == wait_ns


async def test_what_waits_is_told_by_profile_and_includes_what_is_on_its_way() -> None:
    engine = client()
    engine.attach(OpenLink(), facts())
    engine.move(DeploymentState.READY, "", 0)
    engine.take(
        Progress(
            step=1,
            running=1,
            waiting=2,
            waiting_tokens={Profile.BATCH: 70, Profile.INTERACTIVE: 3},
            kv_usage=0.5,
        )
    )
    on_its_way = msgspec.structs.replace(work(b"12345"), profile=Profile.BATCH)
    async with engine.generate(on_its_way):
        load = engine.load()
    assert load.waiting == 3
    assert load.waiting_tokens_by_profile == {Profile.BATCH: 75, Profile.INTERACTIVE: 3}
    assert load.waiting_tokens == 78
    assert engine.load().waiting_tokens == 73
