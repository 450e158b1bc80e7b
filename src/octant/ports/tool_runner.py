"""ToolRunner: runs a tool away from the server. Adapter: `adapters/tools/runner.py`.

Law: what runs has no credentials, no network of its own and no memory of ours; it is ended when its
time is over, and its answer is cut off by size before it is read.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from octant.core.tools import ToolInvocation, ToolSpec, ToolStatus


class ToolRun(NamedTuple):
    """What a run gave back: JSON text of the result, or of `{"error": ...}`.

    FAILED: the tool says so itself, or it never began. AMBIGUOUS: it began and ended without a
    whole answer.
    """

    status: ToolStatus
    content: str
    duration_ns: int


class ToolRunner(Protocol):
    """A set of tools and the means to run them."""

    def specs(self) -> Sequence[ToolSpec]:
        """Every tool there is, in a fixed order."""
        ...

    async def run(self, invocation: ToolInvocation) -> ToolRun:
        """Never raises for what a tool does; cancelling ends the tool."""
        ...
