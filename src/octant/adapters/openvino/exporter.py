"""SubprocessExporter: the exporter port, each call in a worker process that ends with it.

Law: the memory of torch and NNCF goes away with the worker, and however it ends (an error, a
signal, silence past the limit) the caller gets one `Failed` at the stage that was running.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Timer
from typing import IO, Any, TypeVar, cast

import msgspec

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.ports.exporter import (
    BuildFacts,
    ExportFacts,
    GraphFacts,
    OnProgress,
    Parity,
    PlacementFacts,
    TrialFacts,
    WeightFormat,
)

WORKER = (sys.executable, "-m", "octant.adapters.openvino.worker")
# Exporting 0.6 billion parameters takes 3 minutes on two cores; an 8 billion one an hour at most.
CALL_TIMEOUT_S = 2 * 3600.0

_MAX_STDERR_BYTES = 4000
_T = TypeVar("_T")


class SubprocessExporter:
    """Exporter through `octant.adapters.openvino.worker`."""

    def __init__(
        self, worker: Sequence[str] = WORKER, call_timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        self._worker = tuple(worker)
        self._call_timeout_s = call_timeout_s

    def versions(self) -> dict[str, str]:
        """Versions of the tools. Raises Failed(PREPARATION_FAILED) with what to install."""
        return self._call(Stage.CAPTURE, _ignore, dict[str, str], "versions")

    def export(
        self, source: Path, target: Path, weights: WeightFormat, progress: OnProgress
    ) -> ExportFacts:
        """Writes the graph of the checkpoint in `source` into `target`."""
        return self._call(
            Stage.CAPTURE,
            progress,
            ExportFacts,
            "export",
            source=str(source),
            target=str(target),
            weights=weights,
        )

    def inspect(self, graph: Path) -> GraphFacts:
        """Reads the graph back and validates it."""
        return self._call(Stage.REPRESENT, _ignore, GraphFacts, "inspect", graph=str(graph))

    def parity(self, graph: Path, reference: Path) -> Parity:
        """Logits of the graph in full precision against those of `reference`."""
        return self._call(
            Stage.OPTIMISE, _ignore, Parity, "parity", graph=str(graph), reference=str(reference)
        )

    def compress(
        self, graph: Path, target: Path, weights: WeightFormat, progress: OnProgress
    ) -> tuple[str, ...]:
        """Writes the compressed graph into `target`."""
        return self._call(
            Stage.OPTIMISE,
            progress,
            tuple[str, ...],
            "compress",
            graph=str(graph),
            target=str(target),
            weights=weights,
        )

    def place(self, graph: Path) -> PlacementFacts:
        """Asks every backend which nodes it takes."""
        return self._call(Stage.PARTITION, _ignore, PlacementFacts, "place", graph=str(graph))

    def build(self, graph: Path) -> BuildFacts:
        """Compiles the graph for this machine."""
        return self._call(Stage.LOWER, _ignore, BuildFacts, "build", graph=str(graph))

    def trial(self, graph: Path, reference: Path | None) -> TrialFacts:
        """Serves the finished artifact for a moment."""
        return self._call(
            Stage.LOAD,
            _ignore,
            TrialFacts,
            "trial",
            graph=str(graph),
            reference=str(reference) if reference else None,
        )

    def _call(
        self, stage: Stage, progress: OnProgress, kind: type[_T], call: str, **arguments: str | None
    ) -> _T:
        request = msgspec.json.encode(
            {"call": call, "stage": stage, "parent": os.getpid(), "arguments": arguments}
        )
        late = Event()
        with tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(
                self._worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
            )
            timer = Timer(self._call_timeout_s, lambda: (late.set(), process.kill()))
            timer.start()
            with process:
                try:
                    answer = _converse(process, request, progress)
                except BaseException:
                    # Also when interrupted: leaving the scope waits for a worker that would go on.
                    process.kill()
                    raise
                finally:
                    timer.cancel()
            if "failure" in answer:
                raise Failed(msgspec.convert(answer["failure"], Failure))
            if "result" not in answer:
                raise Failed(_silent_end(stage, call, process.returncode, late.is_set(), stderr))
            return msgspec.convert(answer["result"], kind)


def _converse(
    process: subprocess.Popen[bytes], request: bytes, progress: OnProgress
) -> dict[str, Any]:
    """The last message of the worker; empty when it ended without one."""
    stdin, stdout = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    with contextlib.suppress(BrokenPipeError):
        stdin.write(request)
        stdin.close()
    for line in stdout:
        message: dict[str, Any] = msgspec.json.decode(line)
        if "progress" not in message:
            return message
        progress(message["progress"])
    return {}


def _silent_end(stage: Stage, call: str, status: int, late: bool, stderr: IO[bytes]) -> Failure:
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - _MAX_STDERR_BYTES))
    kind, message = FailureKind.PREPARATION_FAILED, f"`{call}` ended with status {status}"
    if late:
        message = f"`{call}` did not end within its time limit"
    elif status == -signal.SIGKILL:
        kind = FailureKind.INSUFFICIENT_MEMORY
        message = f"`{call}` was killed, as the operating system does when memory runs out"
    detail = {"stderr": stderr.read().decode(errors="replace")}
    return Failure(kind=kind, stage=stage, message=message, detail=detail)


def _ignore(_: str) -> None:
    pass
