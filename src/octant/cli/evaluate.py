"""`octant eval`: how often a model answers held-out questions rightly."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from octant.cli.options import ConfigOption, DataDirOption, KeyOption, UrlOption
from octant.cli.output import ExitCode, JsonOption, console, notices, print_json, print_rows
from octant.observability.printable import printable

if TYPE_CHECKING:
    from octant.app.settings import LoadedSettings
    from octant.cli.session import Target
    from octant.lifecycle.evaluation import EvalCase, TaskScore, Verdict

_ACCURACY_FILE = "accuracy.json"
_BUNDLED_SUITE = Path("eval") / "final.jsonl"


class _Subject(NamedTuple):
    """What is evaluated; `directory` and `digest` are None for a server that was only named."""

    target: "Target"
    model: str
    directory: Path | None
    digest: str | None


def evaluate(
    suite: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL suite.", show_default="held-out bundled suite"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|NAME",
            help="Checkpoint to serve; with --url, the served model to ask.",
            show_default="the bundled model",
        ),
    ] = None,
    minimum: Annotated[
        float | None,
        typer.Option("--min", min=0, max=1, help="Fail when a task's accuracy is below this."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many cases of each task.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests at once.")] = 8,
    show: Annotated[int, typer.Option(min=0, help="Print so many failed cases.")] = 0,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the JSON record here.", show_default=False),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a suite of held-out questions and print the accuracy of each task.

    Without --url a private server is started for the run. Answers are greedy; intervals are
    Wilson's at 95 %. Figures recorded beside the model are shown next to the measured ones.

    Examples:

      octant eval

      octant eval --min 0.75 --json

      octant eval --suite mine.jsonl --url http://localhost:8000 --model octant-mini
    """
    from octant.app.model_source import bundled_directory
    from octant.cli.asking import limited
    from octant.cli.loading import load
    from octant.lifecycle.evaluation import parse_suite, recorded_accuracy, score

    loaded = load(config, data_dir, {} if url else {"model.path": model})
    path = suite or bundled_directory() / _BUNDLED_SUITE
    cases = limited(parse_suite(_read(path).splitlines(), str(path)), limit)

    async def run() -> "tuple[_Subject, tuple[Verdict, ...]]":
        async with _subject(loaded, model, url, key, config) as subject:
            return subject, await _run(cases, subject, concurrency)

    subject, verdicts = asyncio.run(run())
    beside = subject.directory / _ACCURACY_FILE if subject.directory else None
    known = recorded_accuracy(_read(beside), str(beside)) if beside and beside.is_file() else {}
    scores = score(verdicts, known)
    low = [task.task for task in scores if minimum is not None and task.accuracy < minimum]
    told = _record(subject, path, scores, low, minimum)
    if record is not None:
        record.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(told)
    else:
        _print_failures([verdict for verdict in verdicts if not verdict.passed][:show])
        _print_scores(scores, low, minimum)
    raise typer.Exit(ExitCode.FAILED_CHECK if low else ExitCode.OK)


@asynccontextmanager
async def _subject(
    loaded: "LoadedSettings",
    model: str | None,
    url: str | None,
    key: str | None,
    config: Path | None,
) -> "AsyncGenerator[_Subject, None]":
    from octant.cli.private_server import prepared_model, private_server
    from octant.cli.session import open_session

    if url is not None:
        async with open_session(loaded, url, key) as session:
            name = model or await session.default_model()
            yield _Subject(session.target, name, None, None)
        return
    source = prepared_model(loaded)
    notices().print("Starting a private server ...", style="dim")
    async with private_server(source.directory, config) as server:
        yield _Subject(server.target, server.model, source.directory, source.artifact.digest)


async def _run(
    cases: "Sequence[EvalCase]", subject: _Subject, concurrency: int
) -> "tuple[Verdict, ...]":
    from octant.cli.asking import asking
    from octant.lifecycle.evaluation import run_suite

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=notices(),
        transient=True,
    )
    passed = 0
    with progress:
        bar = progress.add_task("asking", total=len(cases))

        def seen(verdict: "Verdict") -> None:
            nonlocal passed
            passed += verdict.passed
            progress.update(bar, advance=1, description=f"{passed} passed")

        async with asking(subject.target, subject.model, concurrency) as ask:
            return await run_suite(cases, ask, concurrency, seen)


def _read(path: Path) -> str:
    from octant.cli.local_store import not_found

    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise not_found(f"{path} cannot be read: {error.strerror}.") from error


def _record(
    subject: _Subject,
    suite: Path,
    scores: "Sequence[TaskScore]",
    low: list[str],
    minimum: float | None,
) -> dict[str, Any]:
    from octant.cli import machine

    return {
        "ok": not low,
        "minimum": minimum,
        "below_minimum": low,
        "model": subject.model,
        "model_digest": subject.digest,
        "suite": suite.name,
        "suite_digest": machine.file_digest(suite),
        "decoding": "greedy",
        "machine": machine.facts(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "tasks": {
            task.task: {
                "n": task.cases,
                "correct": task.correct,
                "accuracy": round(task.accuracy, 4),
                "interval_95": [round(task.low, 4), round(task.high, 4)],
                "recorded": task.recorded,
                "below_record": task.below_record,
            }
            for task in scores
        },
    }


def _print_scores(scores: "Sequence[TaskScore]", low: list[str], minimum: float | None) -> None:
    print_rows(
        ["task", "correct", "n", "accuracy", "95 % interval", "recorded", ""],
        [
            [
                task.task,
                str(task.correct),
                str(task.cases),
                f"{task.accuracy:.3f}",
                f"{task.low:.3f} - {task.high:.3f}",
                "" if task.recorded is None else f"{task.recorded:.3f}",
                _remark(task, low),
            ]
            for task in scores
        ],
        empty="",
    )
    if low:
        console().print(f"Below {minimum}: {', '.join(low)}.", style="bold red")


def _remark(task: "TaskScore", low: list[str]) -> str:
    if task.task in low:
        return "below the minimum"
    return "below its record" if task.below_record else ""


def _print_failures(failed: "Sequence[Verdict]") -> None:
    for verdict in failed:
        reply = verdict.reply
        got = verdict.error if reply is None else reply.content or str(reply.tool_calls)
        console().print(f"[bold]{verdict.case.id}[/]", soft_wrap=True)
        console().print(f"  wanted {verdict.case.check}", soft_wrap=True, markup=False)
        console().print(f"  got    {printable(got or '')}", soft_wrap=True, markup=False)
