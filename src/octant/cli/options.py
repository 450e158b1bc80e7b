"""Options that several commands share, each spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration file. Default: $OCTANT_CONFIG, ./octant.toml, octant.toml in the "
        "data directory.",
        show_default=False,
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Directory of the store, secrets and prepared models.",
        show_default=False,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Server to talk to. Default: $OCTANT_BASE_URL, else the one running on the data "
        "directory.",
        show_default=False,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="API key. Default: $OCTANT_API_KEY, else a temporary one for the server of the data "
        "directory.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", help="Model to ask. Default: the first one served.",
        show_default=False,
    ),
]  # fmt: skip
