"""The real toolchain in its worker process, and the ways in which a worker can end."""

import sys
from pathlib import Path

import numpy as np
import pytest

from octant.adapters.openvino.executor import open_executor
from octant.adapters.openvino.exporter import SubprocessExporter
from octant.adapters.openvino.settings import OpenVinoSettings
from octant.adapters.system.clock import SystemClock
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import SequenceId
from octant.core.stage import PREPARATION_STAGES, Stage
from octant.core.step import SequenceSlice, StepPlan
from octant.preparation.job import PrepareOptions, Tools
from octant.preparation.manifest import read_artifact
from octant.preparation.pipeline import prepare
from tests.support.checkpoints import write_checkpoint

WATCHED_WORKER = """
import sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        open(sys.argv[1], "a").write(f"{event} {arguments}\\n")

sys.addaudithook(watch)
from octant.adapters.openvino.worker import main
sys.exit(main())
"""
BARE_WORKER = """
import importlib.metadata as metadata, sys
version = metadata.version

def without(name):
    if name in ("torch", "nncf"):
        raise metadata.PackageNotFoundError(name)
    return version(name)

metadata.version = without
from octant.adapters.openvino.worker import main
sys.exit(main())
"""
KILLED_WORKER = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
FAILING_WORKER = "import sys; sys.exit('libtorch.so is missing')"
HUNG_WORKER = "import time; time.sleep(600)"
CHATTY_WORKER = (
    'import sys; sys.stdin.read(); print(\'{"progress": "half"}\', flush=True);'
    'print(\'{"result": {"torch": "2"}}\', flush=True)'
)


def exporter(program: str, *arguments: str, timeout_s: float = 600.0) -> SubprocessExporter:
    return SubprocessExporter((sys.executable, "-c", program, *arguments), timeout_s)


def failure_of(tools: SubprocessExporter) -> Failure:
    with pytest.raises(Failed) as failed:
        tools.versions()
    return failed.value.failure


@pytest.mark.prepare
@pytest.mark.timeout(600)
def test_a_checkpoint_is_prepared_served_and_found_again_without_a_connection(
    tmp_path: Path,
) -> None:
    source = write_checkpoint("qwen3", tmp_path / "tiny", dtype="bfloat16")
    network = tmp_path / "network.log"
    tools = Tools(exporter(WATCHED_WORKER, str(network)), SystemClock())
    made = prepare(source, tmp_path / "models", PrepareOptions(), tools, lambda _: None)
    assert not network.exists(), network.read_text()

    manifest = read_artifact(made.directory)
    assert manifest.weight_precision == "int8"
    assert manifest.architecture == "Qwen3ForCausalLM"
    evidence = {entry.stage: entry.facts for entry in manifest.evidence}
    assert tuple(evidence) == PREPARATION_STAGES
    assert evidence[Stage.CAPTURE]["dtype"] == "bfloat16"
    # A rotary table that was cast to bf16 on the way shows as a drift of 0.01.
    assert evidence[Stage.OPTIMISE]["parity_before"]["max_difference"] < 1e-4
    assert (
        evidence[Stage.OPTIMISE]["weight_bytes"] < evidence[Stage.OPTIMISE]["weight_bytes_before"]
    )
    assert evidence[Stage.PARTITION]["fallback_nodes"] == 0

    executor = open_executor(made.directory, OpenVinoSettings(kv_bytes=1 << 22), SystemClock())
    fixture = manifest.fixture
    assert fixture is not None
    blocks = tuple(range(-(-len(fixture.tokens) // 32)))
    piece = SequenceSlice(SequenceId(0), fixture.tokens, 0, blocks, True)
    row = executor.execute(StepPlan(0, (piece,)))[0]
    expected = np.array(fixture.top_logits)
    assert np.abs(row[list(fixture.top_tokens)] - expected).max() < 0.5
    executor.close()

    again = prepare(source, tmp_path / "models", PrepareOptions(), tools, lambda _: None)
    assert again.reused and again.directory == made.directory


@pytest.mark.prepare
@pytest.mark.timeout(300)
def test_a_broken_checkpoint_is_a_failure_of_capture(tmp_path: Path) -> None:
    source = write_checkpoint("llama", tmp_path / "tiny")
    (source / "model.safetensors").write_bytes(b"not tensors")
    tools = Tools(SubprocessExporter(), SystemClock())
    with pytest.raises(Failed) as failed:
        prepare(source, tmp_path / "models", PrepareOptions(), tools, lambda _: None)
    assert failed.value.failure.kind is FailureKind.PREPARATION_FAILED
    assert failed.value.failure.stage is Stage.CAPTURE
    assert "export" in failed.value.failure.message


def test_without_the_extra_the_message_says_what_to_install() -> None:
    failure = failure_of(exporter(BARE_WORKER))
    assert failure.kind is FailureKind.PREPARATION_FAILED
    assert {"torch", "nncf"} <= set(failure.detail["missing"])
    assert "pip install torch==2.13.0" in failure.message
    assert "octant[prepare]" in failure.message


def test_a_killed_worker_is_taken_for_lack_of_memory() -> None:
    failure = failure_of(exporter(KILLED_WORKER))
    assert failure.kind is FailureKind.INSUFFICIENT_MEMORY
    assert failure.stage is Stage.CAPTURE


def test_a_worker_that_ends_without_a_word_hands_over_its_last_output() -> None:
    failure = failure_of(exporter(FAILING_WORKER))
    assert failure.kind is FailureKind.PREPARATION_FAILED
    assert "status 1" in failure.message
    assert "libtorch.so is missing" in failure.detail["stderr"]


def test_a_worker_that_hangs_is_ended() -> None:
    failure = failure_of(exporter(HUNG_WORKER, timeout_s=0.2))
    assert failure.kind is FailureKind.PREPARATION_FAILED
    assert "time limit" in failure.message


def test_progress_comes_before_the_result(tmp_path: Path) -> None:
    assert exporter(CHATTY_WORKER).versions() == {"torch": "2"}
