"""Recordings of a real engine: works run together through its loop, kept as settlement does."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import octant
from octant.adapters.huggingface.tokenizer import load_tokenizer
from octant.adapters.openvino.executor import open_executor
from octant.adapters.openvino.settings import OpenVinoSettings
from octant.adapters.system.clock import SystemClock
from octant.compute.schedule import SchedulerSettings
from octant.compute.token_scheduler import TokenScheduler
from octant.context.kv.block_pool import BlockPool
from octant.core.events import SequenceFinished
from octant.core.ids import RequestId
from octant.core.recording import RecordedStep, Recording
from octant.core.work import ModelWork
from octant.ports.executor import Executor
from octant.serving.engine_loop import EngineLoop, LoopSettings
from octant.serving.messages.to_engine import Stop, generate
from octant.serving.sequences import Vocabulary
from tests.support.engine_parts import ROUTE, MemoryLink

MODEL_DIR = Path(octant.__file__).parent / "bundled" / "octant-mini"
_KV_BYTES = 64 << 20


class LoadedModel(NamedTuple):
    """The bundled model, loaded once for many recordings."""

    executor: Executor
    words: Vocabulary


def load_bundled(directory: Path = MODEL_DIR) -> LoadedModel:
    """Close the executor afterwards."""
    executor = open_executor(directory, OpenVinoSettings(kv_bytes=_KV_BYTES), SystemClock())
    tokenizer = load_tokenizer(directory)
    return LoadedModel(executor, Vocabulary(tokenizer, tokenizer.eos))


def record(model: LoadedModel, works: Sequence[ModelWork]) -> dict[RequestId, Recording]:
    """Runs all works together to their end; one recording each, of one step."""
    link = MemoryLink()
    facts = model.executor.facts
    scheduler = TokenScheduler(
        SchedulerSettings(), BlockPool(facts.block_count, facts.block_size), facts.max_context
    )
    loop = EngineLoop(
        link, model.executor, scheduler, model.words, SystemClock(), LoopSettings(route=ROUTE)
    )
    link.tell(*map(generate, works))
    choices = sum(work.sampling.n for work in works)
    while len(link.events(SequenceFinished)) < choices:
        loop.turn()
    link.tell(Stop())
    loop.turn()
    return {work.request_id: _recording(link, work) for work in works}


def _recording(link: MemoryLink, work: ModelWork) -> Recording:
    outputs: list[list[int]] = [[] for _ in range(work.sampling.n)]
    reasons = {}
    for output in link.outputs(work.request_id):
        assert output.failure is None, output.failure
        for delta in output.deltas:
            outputs[delta.choice].extend(delta.tokens)
        for finished in output.finished:
            reasons[finished.choice] = finished.reason
    step = RecordedStep(
        step=1,
        attempt=work.attempt,
        route=ROUTE,
        prompt_tokens=work.prompt_tokens,
        sampling=work.sampling,
        seed=work.seed,
        outputs=tuple(map(tuple, outputs)),
        finish_reasons=tuple(reasons[choice] for choice in sorted(reasons)),
    )
    return Recording(request_id=work.request_id, steps=(step,))
