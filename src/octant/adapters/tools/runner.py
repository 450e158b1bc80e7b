"""IsolatedToolRunner: Octant's own tools, each call in a fresh process that can do nothing else.

    invocation -> a free place -> process -> one line on its stdout -> ToolRun

Law: what a tool does never raises here and never outlives its time. A run that ended without a
whole answer is AMBIGUOUS (it may have happened), one that never began is FAILED. Credentials and
paths come from the settings, arguments from the invocation, and only the two meet in the process.
"""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from octant.adapters.tools.catalogue import ToolProgram, built_in
from octant.adapters.tools.child import Child
from octant.adapters.tools.settings import ToolSettings
from octant.core.tools import ToolInvocation, ToolSpec, ToolStatus
from octant.core.units import NS_PER_S
from octant.ports.clock import Clock
from octant.ports.tool_runner import ToolRun

_OK, _ERROR = b"ok ", b"error "
_BUSY = "the tool is busy; try again later"
_STOPPING = "the server is stopping; the tool was not run"


class _Answer(NamedTuple):
    status: ToolStatus
    content: str


class IsolatedToolRunner:
    """Implements ports.tool_runner.ToolRunner. Close it to end what runs."""

    def __init__(
        self, settings: ToolSettings, clock: Clock, further: Sequence[ToolProgram] = ()
    ) -> None:
        """`further` tools stand beside the built-in ones.

        Raises Failed(INVALID_VALUE) for settings that name what cannot be.
        """
        self._settings = settings
        self._clock = clock
        self._tools = {tool.spec.name: tool for tool in (*built_in(settings), *further)}
        self._threads = ThreadPoolExecutor(settings.max_concurrent, thread_name_prefix="tool")
        self._inside: set[Child] = set()

    def specs(self) -> Sequence[ToolSpec]:
        """Every tool there is, in a fixed order."""
        return tuple(tool.spec for tool in self._tools.values())

    async def run(self, invocation: ToolInvocation) -> ToolRun:
        """Never raises for what a tool does; cancelling ends the tool."""
        started_ns = self._clock.monotonic_ns()
        answer = await self._answer(invocation)
        return ToolRun(
            answer.status, answer.content, max(self._clock.monotonic_ns() - started_ns, 0)
        )

    async def close(self) -> None:
        """Ends every tool that runs; idempotent. Calls afterwards fail."""
        for child in tuple(self._inside):
            child.kill()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check_integrity(self) -> None:
        """Raises AssertionError when more calls are inside than may be."""
        most = self._settings.max_concurrent + self._settings.max_waiting
        assert len(self._inside) <= most, "more tool calls wait than are allowed to"

    async def _answer(self, invocation: ToolInvocation) -> _Answer:
        tool = self._tools.get(invocation.tool)
        if tool is None or tool.spec.version != invocation.version:
            return _failed(f"there is no tool {invocation.tool} in version {invocation.version}")
        if len(self._inside) >= self._settings.max_concurrent + self._settings.max_waiting:
            return _failed(_BUSY)
        child = Child(self._request(tool, invocation), _line_bytes(invocation.max_result_bytes))
        self._inside.add(child)
        try:
            return await self._within_time(child, invocation)
        finally:
            self._inside.discard(child)

    async def _within_time(self, child: Child, invocation: ToolInvocation) -> _Answer:
        try:
            running = self._threads.submit(child.run)
        except RuntimeError:
            return _failed(_STOPPING)
        ended = asyncio.wrap_future(running)
        try:
            await asyncio.wait({ended}, timeout=invocation.timeout_ns / NS_PER_S)
            if ended.done():
                return _read(ended, invocation.max_result_bytes)
            if running.cancel():
                return _failed(_BUSY)
            return _Answer(ToolStatus.TIMED_OUT, _error("timed out"))
        finally:
            await _put_away(child, running, ended)

    def _request(self, tool: ToolProgram, invocation: ToolInvocation) -> bytes:
        request = {
            "program": str(tool.file),
            "arguments": json.loads(invocation.arguments),
            "context": {"settings": tool.settings, "now_unix_ns": self._clock.unix_ns()},
            # The kernel's own timer stands behind ours, for a tool whose server is gone.
            "seconds": invocation.timeout_ns // NS_PER_S + 2,
            "memory_bytes": self._settings.memory_bytes,
            "require_isolation": self._settings.require_isolation,
        }
        return json.dumps(request).encode()


async def _put_away(
    child: Child, running: "Future[bytes | None]", ended: "asyncio.Future[bytes | None]"
) -> None:
    """Returns when nothing of the child is left, unless cancelled again; its thread goes on."""
    if not running.cancel():
        child.kill()
    if not ended.done():
        await asyncio.wait({ended})
    if not ended.cancelled():
        # An error that nobody waits for any more is none.
        ended.exception()


def _read(ended: "asyncio.Future[bytes | None]", max_bytes: int) -> _Answer:
    if ended.cancelled():
        return _failed(_STOPPING)
    try:
        line = ended.result()
    except OSError as error:
        return _failed(f"the tool could not be started: {error.strerror}")
    if line is None:
        return _failed(_STOPPING)
    if len(line) > _line_bytes(max_bytes):
        return _unknown(f"the tool's answer is longer than {max_bytes} bytes")
    for prefix, status in ((_OK, ToolStatus.SUCCEEDED), (_ERROR, ToolStatus.FAILED)):
        if line.startswith(prefix) and line.endswith(b"\n"):
            return _checked(status, line[len(prefix) : -1])
    return _unknown("the tool ended without an answer")


def _checked(status: ToolStatus, content: bytes) -> _Answer:
    try:
        json.loads(content)
        return _Answer(status, content.decode())
    except (ValueError, RecursionError):
        return _unknown("the tool's answer is not JSON")


def _line_bytes(max_result_bytes: int) -> int:
    return max_result_bytes + len(_ERROR) + 1


def _failed(message: str) -> _Answer:
    return _Answer(ToolStatus.FAILED, _error(message))


def _unknown(message: str) -> _Answer:
    return _Answer(ToolStatus.AMBIGUOUS, _error(message))


def _error(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)
