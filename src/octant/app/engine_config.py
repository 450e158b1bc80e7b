"""EngineConfig: all that an engine process is told on its command line, and that command line.

Law: the server imports this without loading any part of an engine. It holds no secret: other users
of the machine can read command lines.
"""

import os
import sys

import msgspec

from octant.adapters.openvino.settings import OpenVinoSettings
from octant.compute.schedule import SchedulerSettings
from octant.core import record
from octant.core.ids import RouteId
from octant.core.record import Record
from octant.serving.warm_up import WarmUpSettings


class EngineConfig(Record, frozen=True, kw_only=True):
    """One engine. `address` and `parent_pid` are filled in for each launch.

    `link_messages` bounds either direction of the link; it must exceed a client's outstanding
    attempts and their cancellations, or a full link looks like an engine that is gone.
    """

    route: RouteId
    model_dir: str
    openvino: OpenVinoSettings = OpenVinoSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    warm_up: WarmUpSettings = WarmUpSettings()
    pulse_ms: int = 1000
    max_failed_steps: int = 3
    link_messages: int = 4096
    address: str = ""
    parent_pid: int = 0


def engine_command(config: EngineConfig, address: str) -> list[str]:
    """The command that starts an engine which connects to `address` and dies with this process."""
    told = msgspec.structs.replace(config, address=address, parent_pid=os.getpid())
    return [sys.executable, "-m", "octant.app.engine_process", record.encode(told).decode()]
