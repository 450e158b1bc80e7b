"""The command line, run inside the test process with its real arguments, streams and exit code."""

import contextlib
import io
import json
import sys
from typing import Any, NamedTuple
from unittest import mock

from octant.cli.main import main


class CliResult(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON value."""
        return json.loads(self.out)


def run_cli(*arguments: str, stdin: str = "") -> CliResult:
    """Runs `octant ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["octant", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
    ):
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
    return CliResult(code, out.getvalue(), err.getvalue())
