"""Bench: what measurements need from behind the command line's door to adapters."""

from pathlib import Path

from octant.adapters.openvino.executor import open_executor
from octant.app import layers, wiring
from octant.app.settings import Settings
from octant.ports.executor import Executor


def bare_executor(directory: Path, settings: Settings) -> Executor:
    """The executor of a prepared model, loaded as the engine loads it, with no engine around it."""
    return open_executor(directory, layers.executor(settings), wiring.clock())
