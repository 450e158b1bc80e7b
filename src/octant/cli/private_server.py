"""Private server: a real `octant serve` for the time of one measurement.

Law: it has a data directory of its own that is gone afterwards, a port that the system chose, and
the user's configuration otherwise, so what is measured is what the user would get.
"""

import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from octant.app.model_source import ModelSource, find_model
from octant.app.settings import LoadedSettings
from octant.cli.json_child import json_child
from octant.cli.preparation_progress import PreparationProgress
from octant.cli.session import Target


class PrivateServer(NamedTuple):
    """Where it answers, with which key, which model, and its process."""

    target: Target
    model: str
    pid: int
    seconds: float


def prepared_model(loaded: LoadedSettings) -> ModelSource:
    """The model of the settings, prepared first (with progress) where that was never done.

    It is prepared into the user's data directory, so the next run finds it.
    """
    with PreparationProgress() as progress:
        return find_model(loaded.settings, progress.report)


@asynccontextmanager
async def private_server(
    source: Path,
    config: Path | None,
    *,
    is_recipe: bool = False,
    environment: Mapping[str, str] | None = None,
) -> AsyncGenerator[PrivateServer, None]:
    """Serves the prepared model in `source`, or by that recipe file, until the context closes.

    `environment` holds settings that come before those of the user's configuration.
    """
    with tempfile.TemporaryDirectory(prefix="octant-serve-") as data_dir:
        arguments = ["octant.cli.main", "serve", "--json", "--host", "127.0.0.1", "--port", "0"]
        arguments += ["--data-dir", data_dir]
        arguments += ["--recipe" if is_recipe else "--model", str(source)]
        if config is not None:
            arguments += ["--config", str(config)]
        async with json_child("private server", *arguments, environment=environment) as child:
            started = await child.read()
            yield PrivateServer(
                target=Target(started["address"], started["first_key"]),
                model=started["model"],
                pid=child.pid,
                seconds=started["seconds"],
            )
