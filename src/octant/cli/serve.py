"""`octant serve`: start the server and say how to reach it."""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.syntax import Syntax
from rich.text import Text

from octant.cli.hints import hint
from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, console
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.observability.printable import printable

_FROM_CONFIGURATION = "from the configuration"


class StartInfo(Protocol):
    """What the server says of itself once it answers. `first_key` is there once, ever."""

    @property
    def address(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def config_path(self) -> Path | None: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def first_key(self) -> str | None: ...
    @property
    def seconds(self) -> float: ...


def serve(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="PATH|NAME",
            help="Checkpoint directory or hub name. Default: the bundled model.",
            show_default=_FROM_CONFIGURATION,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recipe file: what is served, and how; stands before --model.",
            show_default=_FROM_CONFIGURATION,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Listen on.", show_default=_FROM_CONFIGURATION),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Listen on; 0 takes a free port.",
            show_default=_FROM_CONFIGURATION,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="auto|bf16|int8|int4",
            help="Precision in which a checkpoint is prepared.",
            show_default=_FROM_CONFIGURATION,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start the server: OpenAI-compatible API, embedded engine, embedded store.

    Prints the address, a curl command, a Python snippet and, at the first start, an API key.
    Ctrl-C or SIGTERM lets running requests finish and stops.

    Examples:

      octant serve

      octant serve --port 9000 --model ./Qwen3-0.6B --weights int8

      octant serve --data-dir /srv/octant --config /etc/octant.toml --json
    """
    from octant.app import server
    from octant.cli import server_file
    from octant.cli.loading import load
    from octant.cli.preparation_progress import PreparationProgress

    loaded = load(
        config,
        data_dir,
        {
            "model.path": model,
            # Whoever names a model means it, whatever recipe the configuration names.
            "model.recipe": str(recipe) if recipe else "" if model else None,
            "server.host": host,
            "server.port": port,
            "model.weights": weights,
        },
    )
    with ExitStack() as while_running:

        def started(info: StartInfo) -> None:
            running = server_file.RunningServer(info.address, os.getpid(), info.model)
            while_running.enter_context(server_file.announced(info.data_dir, running))
            announce(info, as_json=as_json)

        with PreparationProgress() as progress:
            raise typer.Exit(server.run(loaded, started, progress.report))


def announce(info: StartInfo, *, as_json: bool) -> None:
    """Prints the banner, or the line for programs.

    Raises Failed(RECORD_NOT_STORED) when nobody can read it: the first key would be lost unseen.
    """
    terminal = console()
    try:
        # Captured, because Rich would leave the process quietly at a broken pipe.
        with terminal.capture() as drawn:
            terminal.print(banner(info), soft_wrap=True)
        sys.stdout.write(json.dumps(started_json(info)) + "\n" if as_json else drawn.get())
        sys.stdout.flush()
    except OSError as error:
        # What could not be written now must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _unseen(info, error) from error


def _unseen(info: StartInfo, error: OSError) -> Failed:
    message = f"The server's address could not be printed: {error.strerror}."
    if info.first_key is not None:
        message += (
            " The first API key was not shown and cannot be shown again; make another with "
            f"`{hint('keys create', info.data_dir)}`."
        )
    return Failed(
        Failure(kind=FailureKind.RECORD_NOT_STORED, stage=Stage.BOUNDARY, message=message)
    )


def started_json(info: StartInfo) -> dict[str, Any]:
    """The line that programs wait for; `first_key` is null except at the first start."""
    return {
        "event": "started",
        "address": info.address,
        "model": info.model,
        "config_path": str(info.config_path) if info.config_path else None,
        "data_dir": str(info.data_dir),
        "first_key": info.first_key,
        "seconds": round(info.seconds, 3),
    }


def banner(info: StartInfo) -> Text:
    """What a person needs to send the first request, ready to paste.

    To be printed with `soft_wrap`: a line break inside a key or a snippet could not be pasted.
    """
    key = info.first_key or "$OCTANT_API_KEY"
    issued = f"as issued before; `{hint('keys create', info.data_dir)}` makes another"
    facts = {
        "address": Text(f"{info.address}/v1", style="bold green"),
        "model": Text(printable(info.model), style="bold"),
        "data": Text(str(info.data_dir)),
        "configuration": Text(str(info.config_path or "defaults (no file)")),
        "API key": Text.assemble((key, "bold yellow"), "  (shown only now; keep it)")
        if info.first_key
        else Text(issued),
    }
    return Text("\n").join(
        [
            Text(f"Octant is ready ({info.seconds:.1f} s).\n", style="bold"),
            *(Text.assemble(f"{name:<15}", value) for name, value in facts.items()),
            Text("\nTry it from a shell:\n"),
            _highlighted(_curl(info, key), "bash"),
            Text("or from Python (pip install openai):\n"),
            _highlighted(_python(info, key), "python"),
            Text("Ctrl-C stops the server. In another terminal, talk to it or check it:\n"),
            Text(f"  {hint('chat', info.data_dir)}\n  {hint('doctor', info.data_dir)}"),
        ]
    )


def _highlighted(code: str, language: str) -> Text:
    return Syntax(code, language, theme="ansi_dark").highlight(code)


def _curl(info: StartInfo, key: str) -> str:
    body = f'{{"model": "{info.model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    quote = '"' if info.first_key is None else "'"
    return (
        f"curl {info.address}/v1/chat/completions \\\n"
        f"  -H {quote}Authorization: Bearer {key}{quote} \\\n"
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )


def _python(info: StartInfo, key: str) -> str:
    given = f'"{key}"' if info.first_key else 'os.environ["OCTANT_API_KEY"]'
    imports = "" if info.first_key else "import os\n"
    return (
        f"{imports}from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{info.address}/v1", api_key={given})\n'
        "stream = client.chat.completions.create(\n"
        f'    model="{info.model}", stream=True,\n'
        '    messages=[{"role": "user", "content": "Hello!"}],\n'
        ")\n"
        "for chunk in stream:\n"
        '    print(chunk.choices[0].delta.content or "", end="", flush=True)'
    )
