"""`octant bench`: measure this installation on this machine."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import ExitCode, JsonOption, console, notices, print_json, print_rows

if TYPE_CHECKING:
    from octant.app.model_source import ModelSource
    from octant.app.settings import LoadedSettings
    from octant.cli.gateway_benchmark import Comparison, GatewayShape
    from octant.cli.serve_benchmark import Level, Shape

bench = typer.Typer(help="Measure this installation on this machine.", no_args_is_help=True)

_MIB = 1 << 20


@bench.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]  # keeps `serve` a subcommand
    """Measure this installation on this machine."""


@bench.command("serve")
def bench_serve(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|NAME", help="Model to measure.", show_default="the bundled model"
        ),
    ] = None,
    concurrency: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=256,
            help="Requests at once; can be given several times.",
            show_default="1, 8, 32",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Measurements of each side.")] = 5,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Length of each prompt.")] = 64,
    new_tokens: Annotated[int, typer.Option(min=8, help="Length of each answer.")] = 256,
    min_ratio: Annotated[
        float | None, typer.Option(min=0, help="Fail when served / bare is below this.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the JSON record here.", show_default=False),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure decoding over HTTP with streaming beside the bare executor loop.

    Starts a private server, a load generator and a bare loop in processes of their own and
    measures them in turns: decode tokens/s, time to first token, inter-token latency, and the
    memory of the idle server. Compare ratios; absolute times depend on the machine's other work.

    Examples:

      octant bench serve

      octant bench serve --model ./Qwen3-0.6B --rounds 3 --record bench.json

      octant bench serve --concurrency 1 --concurrency 16 --min-ratio 0.9 --json
    """  # fmt: skip
    from octant.cli.loading import load
    from octant.cli.private_server import prepared_model
    from octant.cli.serve_benchmark import Shape

    loaded = load(config, data_dir, {"model.path": model})
    source = prepared_model(loaded)
    shape = Shape(prompt_tokens, new_tokens, rounds)
    levels, rss_bytes = asyncio.run(
        _measure(loaded, source, config, shape, tuple(concurrency or (1, 8, 32)))
    )
    slow = [str(v.concurrency) for v in levels if min_ratio is not None and v.ratio < min_ratio]
    told = _record(source, shape, levels, rss_bytes) | {"ok": not slow, "min_ratio": min_ratio}
    if record is not None:
        record.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(told)
    else:
        _print(source, shape, levels, rss_bytes)
        if slow:
            console().print(f"Below {min_ratio} at {', '.join(slow)}.", style="bold red")
    raise typer.Exit(ExitCode.FAILED_CHECK if slow else ExitCode.OK)


@bench.command("gateway")
def bench_gateway(
    connections: Annotated[int, typer.Option(min=1, max=1_000, help="Callers at once.")] = 10,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each measurement.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Measurements of each side.")] = 5,
    pin: Annotated[
        bool, typer.Option(help="Give the server a core of its own; not where others work on it.")
    ] = True,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the JSON record here.", show_default=False),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure requests/s through the whole server, in front of an upstream that answers at once.

    Starts a private server with policy, audit, ledger and traces as configured, and measures it in
    turns with the upstream alone: requests/s and latency, for whole and for streamed answers.

    Examples:

      octant bench gateway

      octant bench gateway --connections 10 --rounds 5 --record gateway.json
    """
    from octant.cli.gateway_benchmark import GatewayShape
    from octant.cli.loading import load
    from octant.cli.private_server import prepared_model

    source = prepared_model(load(config, data_dir))
    shape = GatewayShape(connections, seconds, rounds, pin)
    compared = asyncio.run(_compare(source, config, shape))
    told = _gateway_record(shape, compared)
    if record is not None:
        record.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(told)
    else:
        _print_gateway(shape, compared)


async def _compare(
    source: "ModelSource", config: Path | None, shape: "GatewayShape"
) -> "list[Comparison]":
    from octant.cli.gateway_benchmark import compare, started

    notices().print("Starting the upstream, the server and the callers ...", style="dim")
    async with started(source.directory, config, pinned=shape.pinned) as running:
        with _progress() as progress:
            bar = progress.add_task("", total=2 * 2 * (shape.rounds + 1))
            compared: list[Comparison] = []
            for stream in (False, True):
                progress.update(bar, description="streamed" if stream else "whole")
                compared.append(
                    await compare(running, shape, stream, lambda: progress.advance(bar))
                )
        return compared


def _gateway_record(shape: "GatewayShape", compared: "Sequence[Comparison]") -> dict[str, Any]:
    from octant.cli import machine
    from octant.cli.gateway_load import QUESTION
    from octant.cli.instant_upstream import ANSWER_TOKENS

    return {
        "benchmark": "gateway",
        "shape": shape._asdict()
        | {"prompt_bytes": len(QUESTION.encode()), "answer_tokens": ANSWER_TOKENS},
        "answers": {
            "streamed" if one.stream else "whole": {
                "served": one.served.told(),
                "upstream_alone": one.alone.told(),
                "added_p50_ms": round(one.added_ms, 3),
            }
            for one in compared
        },
        "machine": machine.facts(),
        "versions": machine.versions(),
        "commit": machine.commit(),
    }


def _print_gateway(shape: "GatewayShape", compared: "Sequence[Comparison]") -> None:
    from statistics import median

    console().print(
        f"{shape.connections} callers, {shape.seconds:g} s each, {shape.rounds} rounds; medians "
        "(lowest - highest)"
    )
    print_rows(
        ["answers", "requests/s", "", "p50 / p99 ms", "CPU ms", "alone requests/s", "alone p50 ms"],
        [
            [
                "streamed" if one.stream else "whole",
                f"{median(one.served.requests_per_s):.0f}",
                _range(one.served.requests_per_s),
                f"{median(one.served.p50_ms):.2f} / {median(one.served.p99_ms):.2f}",
                f"{median(one.served.cpu_ms):.2f}" if one.served.cpu_ms else "?",
                f"{median(one.alone.requests_per_s):.0f}",
                f"{median(one.alone.p50_ms):.2f}",
            ]
            for one in compared
        ],
        empty="",
    )


async def _measure(
    loaded: "LoadedSettings",
    source: "ModelSource",
    config: Path | None,
    shape: "Shape",
    concurrencies: tuple[int, ...],
) -> "tuple[list[Level], int | None]":
    from octant.cli.json_child import json_child
    from octant.cli.private_server import private_server
    from octant.cli.serve_benchmark import Sides, idle_rss_bytes, measure_level

    settings = loaded.settings.model_dump_json()
    notices().print("Starting the server and the bare loop ...", style="dim")
    async with (
        private_server(source.directory, config) as server,
        json_child("load generator", "octant.cli.load_generator") as load,
        json_child("bare loop", "octant.cli.bare_worker", str(source.directory), settings) as bare,
    ):
        rss_bytes = await idle_rss_bytes(server)
        with _progress() as progress:
            bar = progress.add_task("", total=len(concurrencies) * 2 * (shape.rounds + 1))
            levels: list[Level] = []
            for concurrency in concurrencies:
                progress.update(bar, description=f"{concurrency} at once")
                sides = Sides(server, load, bare)
                levels.append(
                    await measure_level(sides, shape, concurrency, lambda: progress.advance(bar))
                )
        return levels, rss_bytes


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=notices(),
        transient=True,
    )


def _record(
    source: "ModelSource", shape: "Shape", levels: "Sequence[Level]", rss_bytes: int | None
) -> dict[str, Any]:
    from octant.cli import machine
    from octant.cli.serve_benchmark import level_json

    return {
        "benchmark": "serve",
        "model": source.artifact.name,
        "model_digest": source.artifact.digest,
        "weight_precision": source.artifact.weight_precision,
        "shape": shape._asdict(),
        "levels": [level_json(level) for level in levels],
        "idle_rss_bytes": rss_bytes,
        "machine": machine.facts(),
        "versions": machine.versions(),
        "commit": machine.commit(),
    }


def _print(
    source: "ModelSource", shape: "Shape", levels: "Sequence[Level]", rss_bytes: int | None
) -> None:
    from octant.cli.serve_benchmark import percentile

    console().print(
        f"{source.artifact.name} ({source.artifact.weight_precision}), prompts of "
        f"{shape.prompt_tokens} tokens, answers of {shape.new_tokens}, {shape.rounds} rounds; "
        "decode tokens/s are medians (lowest - highest)",
        soft_wrap=True,
    )
    print_rows(
        ["at once", "served", "", "bare loop", "", "ratio", "TTFT p50/p99 ms", "ITL p50/p99 ms"],
        [
            [
                str(level.concurrency),
                f"{level.served.typical:.1f}",
                _range(level.served.decode_tokens_per_s),
                f"{level.bare.typical:.1f}",
                _range(level.bare.decode_tokens_per_s),
                f"{level.ratio:.3f}",
                f"{percentile(level.ttft_ms, 50):.1f} / {percentile(level.ttft_ms, 99):.1f}",
                f"{percentile(level.itl_ms, 50):.2f} / {percentile(level.itl_ms, 99):.2f}",
            ]
            for level in levels
        ],
        empty="",
    )
    idle = "unknown on this system" if rss_bytes is None else f"{rss_bytes / _MIB:.0f} MiB"
    console().print(f"idle memory of the server's process tree: {idle}")


def _range(values: Sequence[float]) -> str:
    return f"({min(values):.1f} - {max(values):.1f})"
