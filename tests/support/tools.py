"""Runners, invocations and tools for tests."""

import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

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


def workers() -> list[int]:
    """The processes of tools that this process has started, and all that those started."""
    parents: dict[int, int] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            stat = _stat(int(directory.name))
            if stat is not None and b"isolated/worker.py" in stat.command:
                parents[int(directory.name)] = stat.parent
    found = {os.getpid()}
    for _ in range(8):
        found |= {pid for pid, parent in parents.items() if parent in found}
    return sorted(found - {os.getpid()})


def wait_for_workers(count: int, given_up: Callable[[], bool] = lambda: False) -> list[int]:
    """Their processes, once there are so many or it is given up. Raises TimeoutError."""
    for _ in range(2_000):
        found = workers()
        if len(found) >= count or given_up():
            return found
        time.sleep(0.01)
    raise TimeoutError(f"{len(workers())} of {count} processes have started")


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    return _stat(pid) is not None


def wait_until_gone(pids: Sequence[int]) -> None:
    """Returns once none of them runs. Raises TimeoutError."""
    for _ in range(2_000):
        if not any(map(alive, pids)):
            return
        time.sleep(0.01)
    raise TimeoutError(f"still running: {list(filter(alive, pids))}")


class _Stat(NamedTuple):
    parent: int
    command: bytes


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    state, parent = text.rpartition(")")[2].split()[:2]
    return None if state in ("Z", "X") else _Stat(int(parent), command)
