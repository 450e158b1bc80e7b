"""Preparation progress: the nine stages of a model's preparation, as they pass.

Law: the bar exists only while a model is being prepared; a server that finds its model prepared
prints nothing here. Everything goes to standard error.
"""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from octant.cli.output import notices
from octant.core.units import s_from_ns
from octant.observability.printable import printable
from octant.preparation.job import StageReport


class PreparationProgress:
    """Draws reports while its context is open."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=notices(),
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def report(self, report: StageReport) -> None:
        """One stage began, said something, or ended."""
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("", total=report.total)
        message = printable(report.message)
        if report.state == "finished":
            seconds = s_from_ns(report.duration_ns or 0)
            self._progress.console.print(f"  {report.stage.value:<10}{seconds:7.1f} s  {message}")
            self._progress.update(self._task, completed=report.number)
            if report.number == report.total:
                self._progress.stop()
        else:
            self._progress.update(
                self._task, description=f"preparing: {report.stage.value} {message}"[:60]
            )
