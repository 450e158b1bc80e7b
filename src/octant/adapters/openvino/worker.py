"""The worker: one call of the exporter in a process of its own; `python -m` of this module.

    stdin  one JSON object: {"call": name, "stage": stage, "parent": pid, "arguments": {...}}
    stdout lines of JSON: {"progress": text} ..., then {"result": ...} or {"failure": {...}}

Law: it reads files and talks to nobody. Every connection is refused before a tool is imported, and
whatever the tools print goes to standard error.
"""

import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import structs

from octant.adapters.system.process import live_no_longer_than
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.record import to_builtins
from octant.core.stage import Stage
from octant.ports.exporter import OnProgress

_PATHS = ("source", "target", "graph", "reference")
_MAX_CAUSE_CHARS = 600


def main() -> int:
    """Runs the call on standard input; 0 also when it failed as it should."""
    request = msgspec.json.decode(sys.stdin.buffer.read())
    live_no_longer_than(request["parent"])
    protocol = _claim_stdout()
    go_offline()

    def send(message: dict[str, Any]) -> None:
        protocol.write(msgspec.json.encode(message) + b"\n")

    def progress(text: str) -> None:
        send({"progress": text})

    try:
        send({"result": to_builtins(_dispatch(request, progress))})
    except Failed as failed:
        send({"failure": to_builtins(failed.failure)})
    return 0


def go_offline() -> None:
    """Refuses connections from this process, and tells the tools not to try."""

    def refuse(*_: Any) -> None:
        raise OSError("preparation reads local files only")

    socket.socket.connect = refuse
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True


def _dispatch(request: dict[str, Any], progress: OnProgress) -> Any:
    call, stage = request["call"], Stage(request["stage"])
    arguments = {
        name: Path(value) if value and name in _PATHS else value
        for name, value in request["arguments"].items()
    }
    try:
        return _calls(progress)[call](**arguments)
    except Failed as failed:
        # The executor speaks of its own stage; here it works for the stage that called.
        failure = structs.replace(failed.failure, stage=stage)
        raise Failed(failure) from failed
    # The one border of the tools: whatever class they raise, it becomes a failure of the stage.
    except Exception as error:
        message = f"{call}: {type(error).__name__}: {str(error)[:_MAX_CAUSE_CHARS]}"
        failure = Failure(kind=FailureKind.PREPARATION_FAILED, stage=stage, message=message)
        raise Failed(failure) from error


def _calls(progress: OnProgress) -> dict[str, Callable[..., Any]]:
    # Imported only after `go_offline`, so that no tool has spoken before.
    from octant.adapters.openvino import conversion, inspection, trial
    from octant.adapters.system.clock import SystemClock

    clock = SystemClock()
    return {
        "versions": conversion.tool_versions,
        "export": partial(conversion.export_decoder, progress=progress),
        "compress": partial(conversion.compress_weights, progress=progress),
        "inspect": inspection.inspect_graph,
        "place": inspection.place_graph,
        "build": partial(inspection.build_graph, clock=clock),
        "parity": partial(trial.measure_parity, clock=clock),
        "trial": partial(trial.run_trial, clock=clock),
    }


def _claim_stdout() -> IO[bytes]:
    """The real standard output, unbuffered; `print` of the tools goes to standard error."""
    protocol = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return protocol


if __name__ == "__main__":
    sys.exit(main())
