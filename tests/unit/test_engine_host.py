"""An engine says why it ends: refused models, failed probes, broken books, defects."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from octant.compute.schedule import SchedulerSettings
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.route import DeploymentState
from octant.core.stage import Stage
from octant.core.step import StepPlan
from octant.serving.engine_host import HostSettings, LoadedModel, host_engine
from octant.serving.engine_loop import LoopSettings
from octant.serving.messages.from_engine import Leaving, Reached, Ready
from octant.serving.messages.to_engine import Stop
from octant.serving.sequences import Vocabulary
from octant.serving.warm_up import WarmUpSettings
from tests.support.engine_parts import ROUTE, MemoryLink, SetClock
from tests.support.modelled_lm import EOS, ByteTokenizer, ModelledExecutor

SETTINGS = HostSettings(LoopSettings(route=ROUTE), SchedulerSettings(), WarmUpSettings())


class Bent(ModelledExecutor):
    """A model whose logits are bent before anybody sees them."""

    def __init__(self, bend: Callable[[NDArray[np.float32]], Any]) -> None:
        super().__init__()
        self._bend = bend
        self.closed = False

    def execute(self, plan: StepPlan) -> NDArray[np.float32]:
        logits = super().execute(plan)
        self._bend(logits)
        return logits

    def close(self) -> None:
        super().close()
        self.closed = True


def host(executor: Bent, link: MemoryLink) -> int:
    def load() -> LoadedModel:
        return LoadedModel(executor, Vocabulary(ByteTokenizer(), frozenset({EOS})))

    return host_engine(link, load, SetClock(), SETTINGS)


def reason(link: MemoryLink) -> Failure:
    last = link.reported[-1]
    assert isinstance(last, Leaving)
    return last.failure


def straight(logits: NDArray[np.float32]) -> None:
    return None


def test_a_sound_engine_reports_its_way_and_leaves_when_told() -> None:
    link, executor = MemoryLink(), Bent(straight)
    link.tell(Stop())
    assert host(executor, link) == 0
    assert link.reported[:3] == [
        Reached(DeploymentState.WARMING),
        Reached(DeploymentState.PROBING),
        Ready(
            replace(executor.facts, flags={"max_batch_tokens": "512", "max_prefill_chunk": "128"})
        ),
    ]
    assert executor.closed


def test_a_model_that_cannot_be_loaded_is_named() -> None:
    link = MemoryLink()
    failure = Failure(kind=FailureKind.UNSUPPORTED_MODEL, stage=Stage.LOAD, message="no")

    def load() -> LoadedModel:
        raise Failed(failure)

    assert host_engine(link, load, SetClock(), SETTINGS) == 1
    assert reason(link) == failure


def test_a_model_without_finite_logits_never_gets_ready() -> None:
    link = MemoryLink()
    executor = Bent(lambda logits: logits.fill(np.inf))
    assert host(executor, link) == 1
    assert reason(link).kind is FailureKind.PREPARATION_FAILED
    assert not any(isinstance(message, Ready) for message in link.reported)
    assert executor.closed


def test_a_model_that_contradicts_itself_never_gets_ready() -> None:
    link = MemoryLink()
    noise = np.random.default_rng(1)

    def bend(logits: NDArray[np.float32]) -> None:
        logits[:, noise.integers(logits.shape[1])] = 100

    assert host(Bent(bend), link) == 1
    assert "the same prompt" in reason(link).message


def test_a_defect_is_told_before_it_ends_the_process() -> None:
    link = MemoryLink()

    def load() -> LoadedModel:
        raise AssertionError("books do not balance")

    with pytest.raises(AssertionError, match="balance"):
        host_engine(link, load, SetClock(), SETTINGS)
    assert reason(link).kind is FailureKind.INTERNAL_ERROR
    assert reason(link).detail == {"error": "AssertionError", "text": "books do not balance"}
