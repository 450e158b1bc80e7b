"""The life of an engine process: load, warm up, probe, serve, and say why it ends.

Law: the server always learns the reason when this process is still able to tell it; the process
ends after any failure, so nothing broken is ever used again.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from octant.compute.schedule import SchedulerSettings
from octant.compute.token_scheduler import TokenScheduler
from octant.context.kv.block_pool import BlockPool
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.route import DeploymentState
from octant.core.stage import Stage
from octant.ports.clock import Clock
from octant.ports.executor import Executor
from octant.ports.link import EngineLink
from octant.serving.engine_loop import EngineLoop, LoopSettings
from octant.serving.messages import from_engine
from octant.serving.messages.from_engine import Leaving, Reached, Ready
from octant.serving.sequences import Vocabulary
from octant.serving.warm_up import WarmUpSettings, probe, warm_up

_log = logging.getLogger(__name__)

_PROBE_TEXT = "The quick brown fox jumps over the lazy dog."


class LoadedModel(NamedTuple):
    """What loading gives: the executor owns the memory, the vocabulary names the tokens."""

    executor: Executor
    words: Vocabulary


class HostSettings(NamedTuple):
    """Everything about an engine but its model."""

    loop: LoopSettings
    scheduler: SchedulerSettings
    warm_up: WarmUpSettings


def host_engine(
    link: EngineLink, load: Callable[[], LoadedModel], clock: Clock, settings: HostSettings
) -> int:
    """Runs one engine to its end; returns the exit status of its process.

    An exception that is not a Failed is a defect: the server is told, and it goes on upwards.
    """
    try:
        _host(link, load, clock, settings)
    except Failed as error:
        link.send(from_engine.encode(Leaving(error.failure)))
        return 1
    except Exception as error:  # Not swallowed: the server hears of every kind of end.
        # Logged first: the server ends this process as soon as it knows.
        _log.exception("the engine met a defect")
        link.send(from_engine.encode(Leaving(_defect(error))))
        raise
    return 0


def _host(
    link: EngineLink, load: Callable[[], LoadedModel], clock: Clock, settings: HostSettings
) -> None:
    executor, words = load()
    try:
        _reach(link, DeploymentState.WARMING)
        warm_up(executor, settings.warm_up)
        _reach(link, DeploymentState.PROBING)
        probe(executor, tuple(words.tokenizer.encode(_PROBE_TEXT)))
        facts = executor.facts
        scheduler = TokenScheduler(
            settings.scheduler, BlockPool(facts.block_count, facts.block_size), facts.max_context
        )
        chunking = {
            "max_batch_tokens": str(settings.scheduler.max_batch_tokens),
            "max_prefill_chunk": str(settings.scheduler.max_prefill_chunk),
        }
        link.send(from_engine.encode(Ready(replace(facts, flags=facts.flags | chunking))))
        EngineLoop(link, executor, scheduler, words, clock, settings.loop).run()
    finally:
        executor.close()


def _reach(link: EngineLink, state: DeploymentState) -> None:
    link.send(from_engine.encode(Reached(state)))


def _defect(error: Exception) -> Failure:
    return Failure(
        kind=FailureKind.INTERNAL_ERROR,
        stage=Stage.DECODE,
        message="The engine found itself in a state that must not be, and left before it could do "
        "harm. Its log holds the traceback.",
        detail={"error": type(error).__name__, "text": str(error)},
    )
