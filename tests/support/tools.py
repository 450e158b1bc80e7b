"""Runners, invocations and tools for tests."""

import json
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from octant.adapters.system.clock import SystemClock
from octant.adapters.tools.catalogue import ToolProgram
from octant.adapters.tools.runner import IsolatedToolRunner
from octant.adapters.tools.settings import ToolSettings
from octant.core.content import ToolDefinition
from octant.core.tools import ToolInvocation, ToolSpec
from octant.core.units import NS_PER_S
from octant.ports.tool_runner import ToolRun

SUPPORT = Path(__file__).parent


def program(name: str) -> ToolProgram:
    """`hostile` or `guarded`, as a tool."""
    spec = ToolSpec(definition=ToolDefinition(name=name), version="1")
    return ToolProgram(spec, SUPPORT / f"{name}_tool.py", {})


@asynccontextmanager
async def tool_runner(**settings: Any) -> AsyncGenerator[IsolatedToolRunner, None]:
    """A runner with the two hostile tools beside the built-in ones."""
    runner = IsolatedToolRunner(
        ToolSettings(**settings), SystemClock(), (program("hostile"), program("guarded"))
    )
    try:
        yield runner
    finally:
        await runner.close()


def invocation(tool: str, timeout_s: int = 20, **arguments: Any) -> ToolInvocation:
    """A call with ample time."""
    return ToolInvocation(
        tool=tool,
        version="1",
        arguments=json.dumps(arguments),
        idempotency_key="k",
        timeout_ns=timeout_s * NS_PER_S,
        max_result_bytes=8_192,
    )


async def attempt(runner: IsolatedToolRunner, tool: str, do: str, given: Any = None) -> ToolRun:
    """What became of one thing that a hostile tool tries."""
    return await runner.run(invocation(tool, **{"do": do, "with": given}))


def result(run: ToolRun) -> Any:
    """The JSON value of a run."""
    return json.loads(run.content)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def wait_until_gone(pids: Sequence[int]) -> None:
    """Returns once none of them runs. Raises TimeoutError."""
    for _ in range(2_000):
        if not any(map(alive, pids)):
            return
        time.sleep(0.01)
    raise TimeoutError(f"still running: {list(filter(alive, pids))}")


def workers() -> list[int]:
    """Tool processes on this machine that this process has started."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            command = (directory / "cmdline").read_bytes()
            parent = (directory / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"isolated/worker.py" in command and int(parent) == os.getpid():
            found.append(int(directory.name))
    return found
