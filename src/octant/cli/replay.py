"""`octant replay`: a recorded request run again, and what came out differently."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import ExitCode, JsonOption, console, notices, print_json
from octant.observability.printable import printable

if TYPE_CHECKING:
    from octant.app.replay import Replayable
    from octant.app.settings import Settings
    from octant.lifecycle.replay import Difference, ReplayReport, StepReplay


def replay(
    request: Annotated[
        str, typer.Argument(metavar="ID", help="Request id (x-request-id); a unique start does.")
    ],
    artifact: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Run on this prepared model instead of the one that answered.",
            show_default="found by its digest",
        ),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recorded request again and report `identical`, or the first difference and its cause.

    Every model call gets the same tokens, sampling and seed on the same artifact, loaded in this
    process with the precision and flags of then; it needs no server and disturbs none. Leaves with
    0 when everything came out the same, 1 when something did not, 3 when it cannot be run again.

    Examples:

      octant replay req_3f2a...

      octant replay req_3f2a... --artifact ./models/mine --json
    """
    from octant.app.replay import replay as run_again
    from octant.cli.loading import load
    from octant.core.record import to_builtins
    from octant.lifecycle.replay import ReplayVerdict

    loaded = load(config, data_dir)
    found = asyncio.run(_read(loaded.settings, request))

    def progress(text: str) -> None:
        notices().print(printable(text), style="dim", soft_wrap=True)

    told = run_again(loaded.settings, found, artifact, progress)
    if as_json:
        print_json(to_builtins(told))
    else:
        _print(told)
    exits = {
        ReplayVerdict.IDENTICAL: ExitCode.OK,
        ReplayVerdict.DIFFERENT: ExitCode.FAILED_CHECK,
        ReplayVerdict.NOT_REPLAYABLE: ExitCode.UNAVAILABLE,
    }
    raise typer.Exit(exits[told.verdict])


async def _read(settings: "Settings", named: str) -> "Replayable":
    from octant.app.replay import Replayable, not_recorded
    from octant.cli.local_store import open_local
    from octant.cli.request_lookup import find_outcome

    async with open_local(settings) as local:
        request = (await find_outcome(local, named)).request_id
        recording = await local.store.recording(request)
        manifest = await local.store.manifest(request)
        if recording is None or manifest is None or not recording.steps:
            raise not_recorded(request)
        return Replayable(recording, manifest, await local.store.recipes())


def _print(told: "ReplayReport") -> None:
    out = console()
    out.print(f"{told.verdict.value}  {_counted(told)}", style="bold", soft_wrap=True)
    for step in told.steps:
        for line in _lines(step):
            out.print(printable(line), soft_wrap=True, markup=False)


def _counted(told: "ReplayReport") -> str:
    calls = f"{len(told.steps)} model call" + ("s" if len(told.steps) != 1 else "")
    return f"{told.request_id}, {calls}, {told.tokens} tokens the same"


def _lines(step: "StepReplay") -> list[str]:
    lines = [f"model call {step.step} on {step.route}: {step.verdict.value}"]
    if step.why:
        lines.append(f"  {step.why}")
    if step.difference is not None:
        lines.append(f"  {_place(step.difference)}")
        lines.append(f"  probable cause: {step.cause}")
    if step.changes:
        lines.append("  then and now:")
    lines += [f"    {change.what}: {change.then} -> {change.now}" for change in step.changes]
    return lines


def _place(found: "Difference") -> str:
    recorded = _token(found.recorded_token, found.recorded_text)
    got = _token(found.got_token, found.got_text)
    margin = "" if found.margin is None else f", logit margin {found.margin:.4f}"
    return (
        f"first difference: choice {found.choice}, token {found.position}: "
        f"recorded {recorded}, got {got}{margin}"
    )


def _token(token: int | None, text: str) -> str:
    return "the end" if token is None else f"{text!r} ({token})"
