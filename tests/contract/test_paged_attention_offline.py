"""Loading and running a model opens no connection, whatever telemetry a library carries."""

import subprocess
import sys
from pathlib import Path

import octant

MODEL_DIR = Path(octant.__file__).parent / "bundled" / "octant-mini"
PROGRAM = """
import sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen"):
        print(event, arguments, flush=True)

sys.addaudithook(watch)
from pathlib import Path
from octant.adapters.openvino.executor import open_executor
from octant.adapters.openvino.settings import OpenVinoSettings
from octant.adapters.system.clock import SystemClock
from octant.core.ids import SequenceId
from octant.core.step import SequenceSlice, StepPlan

executor = open_executor(Path(sys.argv[1]), OpenVinoSettings(kv_bytes=1 << 24), SystemClock())
executor.execute(StepPlan(0, (SequenceSlice(SequenceId(0), (1, 2, 3), 0, (0,), True),)))
executor.close()
print("served")
"""


def test_the_executor_speaks_to_nobody(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(MODEL_DIR)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        # A home without a consent file is what a first start looks like.
        env={"HOME": str(tmp_path)},
    )
    assert ran.stdout == "served\n"
    assert not (tmp_path / "intel").exists()
