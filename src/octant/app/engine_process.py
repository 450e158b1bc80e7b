"""The engine process: `python -m octant.app.engine_process CONFIG`, CONFIG an EngineConfig in JSON.

Started and ended by the server's EngineSupervisor. SIGTERM ends it, SIGINT is the server's to
answer, and the end of the server, however it comes, ends it too.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from octant.adapters.system.clock import SystemClock
from octant.adapters.system.process import ignore_interrupts, live_no_longer_than, orphaned
from octant.adapters.zmq.link import ZmqEngineLink
from octant.app.engine_config import EngineConfig
from octant.core import record
from octant.serving.engine_host import HostSettings, LoadedModel, host_engine
from octant.serving.engine_loop import LoopSettings
from octant.serving.sequences import Vocabulary


def main(argv: list[str]) -> int:
    """Runs one engine to its end; returns the exit status."""
    config = record.decode(argv[1], EngineConfig)
    return run_engine(config, partial(load_model, config))


def run_engine(config: EngineConfig, load: Callable[[], LoadedModel]) -> int:
    """Ties this process to its server and runs the engine that `load` gives."""
    ignore_interrupts()
    live_no_longer_than(config.parent_pid)
    link = ZmqEngineLink(config.address, config.link_messages, partial(orphaned, config.parent_pid))
    settings = HostSettings(
        loop=LoopSettings(
            route=config.route,
            pulse_ms=config.pulse_ms,
            max_failed_steps=config.max_failed_steps,
        ),
        scheduler=config.scheduler,
        warm_up=config.warm_up,
    )
    try:
        return host_engine(link, load, SystemClock(), settings)
    finally:
        link.close()


def load_model(config: EngineConfig) -> LoadedModel:
    """Raises Failed when the model cannot be loaded from `config.model_dir`."""
    # Imported late, so that the server hears from this process before OpenVINO is loaded.
    from octant.adapters.huggingface.tokenizer import load_tokenizer
    from octant.adapters.openvino.executor import open_executor

    model_dir = Path(config.model_dir)
    tokenizer = load_tokenizer(model_dir)
    executor = open_executor(model_dir, config.openvino, SystemClock())
    return LoadedModel(executor, Vocabulary(tokenizer, tokenizer.eos))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
