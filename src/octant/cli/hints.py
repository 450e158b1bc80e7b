"""Hints: commands to paste, spelled as this one was called and for the same data directory."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def hint(arguments: str, data_dir: Path) -> str:
    """The command `octant ARGUMENTS` that works from here on `data_dir`."""
    # Not at the top: `octant --help` must not wait for the settings to load.
    from octant.app.settings import default_data_dir

    command = f"{_program()} {arguments}"
    if data_dir == default_data_dir().absolute():
        return command
    return f"{command} --data-dir {_near(data_dir)}"


def _program() -> str:
    """`octant` where the shell finds this one, else its path; tests and `python -m` have none."""
    called = Path(sys.argv[0])
    if called.name != "octant" or os.sep not in sys.argv[0]:
        return "octant"
    found = shutil.which("octant")
    if found is not None and Path(found).absolute() == called.absolute():
        return "octant"
    return _near(called.absolute())


def _near(path: Path) -> str:
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
