"""ProcessLauncher: starts and watches child processes. Adapter: `adapters/system/process.py`."""

from collections.abc import Sequence
from typing import Protocol


class ChildProcess(Protocol):
    """One child. It never outlives its parent."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int:
        """The exit status; negative is the number of the signal that ended it."""
        ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class ProcessLauncher(Protocol):
    """Starts children with a clean standard input."""

    async def launch(self, argv: Sequence[str]) -> ChildProcess:
        """Raises Failed(ENGINE_UNAVAILABLE) when the program cannot be started."""
        ...
