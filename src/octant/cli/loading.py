"""Loading: the settings that a command works with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octant.app.settings import LoadedSettings, load_settings


def load(
    config: Path | None, data_dir: Path | None, flags: Mapping[str, Any] | None = None
) -> LoadedSettings:
    """File, environment and flags as one value. Raises Failed with all problems at once."""
    given: dict[str, Any] = dict(flags or {})
    if data_dir is not None:
        given["server.data_dir"] = str(data_dir.expanduser().absolute())
    return load_settings(config, given)
