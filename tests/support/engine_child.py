"""An engine process for fault tests: everything is real but, where asked, the model.

    python -c '... main(argv)' CONFIG MODEL

CONFIG is an EngineConfig in JSON; MODEL is `modelled` (tests.support.modelled_lm, one step takes
`STEP_S`) or `loaded` (the real executor). Both are wrapped so that marked prompts spoil their rows.
With MODEL `shipped` the command is the product's own, and nothing is wrapped.
"""

import os
import sys
from functools import partial
from pathlib import Path

import msgspec

from octant.app.engine_config import EngineConfig, engine_command
from octant.core import record
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.serving.engine_host import LoadedModel
from octant.serving.sequences import Vocabulary
from tests.support.modelled_lm import EOS, ByteTokenizer, FaultyExecutor, ModelledExecutor

STEP_S = 0.002
_ROOT = str(Path(__file__).parents[2])


def command(config: EngineConfig, model: str, address: str) -> list[str]:
    """The counterpart of app.engine_config.engine_command."""
    if model == "shipped":
        return engine_command(config, address)
    told = msgspec.structs.replace(config, address=address, parent_pid=os.getpid())
    start = (
        f"import sys; sys.path.insert(0, {_ROOT!r}); from tests.support.engine_child import main"
    )
    return [
        sys.executable,
        "-c",
        f"{start}; sys.exit(main(sys.argv))",
        record.encode(told).decode(),
        model,
    ]


def main(argv: list[str]) -> int:
    from octant.app.engine_process import run_engine

    config = record.decode(argv[1], EngineConfig)
    return run_engine(config, partial(_load, config, argv[2]))


def _load(config: EngineConfig, model: str) -> LoadedModel:
    if model == "modelled":
        executor = ModelledExecutor(step_s=STEP_S)
        return LoadedModel(FaultyExecutor(executor), Vocabulary(ByteTokenizer(), frozenset({EOS})))
    if model == "loaded":
        from octant.app.engine_process import load_model

        loaded = load_model(config)
        return loaded._replace(executor=FaultyExecutor(loaded.executor))
    raise Failed(
        Failure(kind=FailureKind.CORRUPT_ARTIFACT, stage=Stage.LOAD, message=f"no model {model!r}")
    )
