"""Output: how results, failures and progress reach the person or program at the terminal.

Law: text that others wrote (models, callers, stored records) passes `printable` on its way here.
A failure is told as what happened, where, and what to do; its exit code follows from its row of the
failure table and from nothing else.
"""

import json
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from octant.core.failure import Blame, Failure, FailureClass
from octant.observability.printable import printable

JSON_FLAG = "--json"

_PIPE_WIDTH = 10_000

JsonOption = Annotated[
    bool,
    typer.Option(JSON_FLAG, metavar="", help="Print JSON instead of text, for programs to read."),
]


class ExitCode(IntEnum):
    """What the shell is told; fixed for all commands."""

    OK = 0
    FAILED_CHECK = 1
    USAGE = 2
    UNAVAILABLE = 3


def console() -> Console:
    """Standard output, styled when it is a terminal."""
    return Console(highlight=False)


def notices() -> Console:
    """Standard error: progress, remarks and failures."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON value on one line. Control characters of any text in it come out escaped."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def print_rows(
    headings: Sequence[str], rows: Sequence[Sequence[str | RenderableType]], *, empty: str
) -> None:
    """A table, or the sentence `empty` when there is nothing to show."""
    if not rows:
        console().print(empty)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, heading in enumerate(headings):
        # The first column names the thing, to be copied into the next command.
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(printable(c)) if isinstance(c, str) else c for c in row))
    terminal = console()
    if not terminal.is_terminal:
        # Whoever reads a pipe has no width; folded cells would only be in its way.
        wide = terminal.options.update(width=_PIPE_WIDTH)
        terminal.width = max(terminal.width, Measurement.get(terminal, wide, table).maximum)
    terminal.print(table)


def print_failure(failure: Failure, *, as_json: bool) -> None:
    """What happened, where, and how to fix it, on standard error."""
    if as_json:
        told = {
            "error": {
                "kind": failure.kind.value,
                "class": failure.rule.failure_class.value,
                "stage": failure.stage.value,
                "message": failure.message,
                "param": failure.param,
                "detail": failure.detail,
            }
        }
        sys.stderr.write(json.dumps(told, ensure_ascii=True, default=str) + "\n")
        return
    lines = Text.assemble(("error: ", "bold red"), printable(failure.message))
    where = f"\n  where: {failure.stage.value} ({failure.kind.value}"
    lines.append(where + (f", parameter {failure.param})" if failure.param else ")"), "dim")
    for name, value in failure.detail.items():
        lines.append(f"\n  {printable(name)}: {printable(str(value))}", "dim")
    notices().print(lines, soft_wrap=True)


def exit_code(failure: Failure) -> ExitCode:
    """2 when the caller has to change something, 1 for a refused policy, else 3."""
    rule = failure.rule
    if rule.blame is Blame.CALLER and rule.failure_class is not FailureClass.INTERRUPTED:
        return ExitCode.USAGE
    if rule.failure_class in (FailureClass.POLICY, FailureClass.TOOL):
        return ExitCode.FAILED_CHECK
    return ExitCode.UNAVAILABLE
