"""`octant recipes`: how models are served, as written, as registered and as measured."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from octant.cli.options import ConfigOption, DataDirOption, KeyOption, UrlOption
from octant.cli.output import ExitCode, JsonOption, console, notices, print_json, print_rows
from octant.core.identity import Scope

if TYPE_CHECKING:
    from octant.app.artifacts import RecipeSource
    from octant.app.settings import LoadedSettings
    from octant.cli.recipe_measurement import MeasuredRoute
    from octant.core.deployment import Recipe
    from octant.lifecycle.evaluation import EvalCase

recipes = typer.Typer(help="Recipes: how models are served.", no_args_is_help=True)

_MIB = 1 << 20
# Below this, another processor's rounding could change the answer.
_SURE_NATS = 0.5
_STEPS = 6

RecipeArgument = Annotated[
    str, typer.Argument(metavar="FILE|NAME", help="A recipe file, or the name of a bundled one.")
]
LongOption = Annotated[bool, typer.Option("--long", metavar="", help="Tell everything.")]


@recipes.command("list")
def list_recipes(
    model: Annotated[
        str | None, typer.Option(help="Only this model's recipes.", show_default=False)
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipes that a running server knows.

    Examples:

      octant recipes list

      octant recipes list --model octant-mini --json
    """
    from octant.cli.loading import load

    loaded = load(config, data_dir)
    query = f"?model={model}" if model else ""
    known = asyncio.run(_get(loaded, url, key, f"/admin/v1/recipes{query}"))["data"]
    if as_json:
        print_json(known)
        return
    print_rows(
        ["name", "model", "label", "weights", "quality", "decode/s at 1, 8", "digest"],
        [
            [
                recipe["name"],
                recipe["model"],
                recipe["label"],
                recipe["weight_precision"],
                f"{recipe['quality']:.3f}",
                _speeds(recipe),
                recipe["digest"][:19],
            ]
            for recipe in known
        ],
        empty="No recipe is registered.",
    )


@recipes.command("show")
def show_recipe(
    recipe: RecipeArgument,
    long: LongOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a recipe as it would be registered here, with what was measured of it.

    Examples:

      octant recipes show octant-mini-fast

      octant recipes show ./mine.toml --long
    """
    from octant.app.artifacts import complete_recipe
    from octant.cli.loading import load
    from octant.core.record import to_builtins

    loaded = load(config, data_dir)
    complete = complete_recipe(_find(recipe), loaded.settings)
    if as_json:
        print_json(to_builtins(complete))
        return
    told = cast("dict[str, Any]", to_builtins(complete))
    print_rows(["", ""], _facts(told) if long else _short(told), empty="")


@recipes.command("check")
def check_recipe(
    recipe: RecipeArgument,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe file, its artifact, its measurement and its quality gate.

    Examples:

      octant recipes check ./mine.toml

      octant recipes check octant-mini-precise --json
    """
    from octant.app.artifacts import complete_recipe
    from octant.cli.loading import load

    loaded = load(config, data_dir)
    complete = complete_recipe(_find(recipe), loaded.settings)
    problems = _problems(complete)
    told = {"ok": not problems, "digest": complete.digest, "problems": problems}
    if as_json:
        print_json(told)
    elif problems:
        for problem in problems:
            console().print(problem, soft_wrap=True, markup=False)
    else:
        console().print(f"{complete.name} is sound: {complete.digest}", soft_wrap=True)
    raise typer.Exit(ExitCode.FAILED_CHECK if problems else ExitCode.OK)


@recipes.command("measure")
def measure_recipe(
    recipe: RecipeArgument,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Measurements of each speed.")] = 3,
    suite: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSONL suite for accuracy.", show_default="beside the artifact"
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many cases of each task.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write here.", show_default="beside the recipe"),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a recipe privately, measure it and write the figures beside it.

    Load time, memory, first token, decoding at 1 and 8 requests, prefill, accuracy by task, and
    what the model answers to the probe, which it has to answer at every start from then on.

    Examples:

      octant recipes measure octant-mini-fast

      octant recipes measure ./mine.toml --suite mine.jsonl --rounds 5 --json
    """
    from octant.app.artifacts import measured_path
    from octant.cli.loading import load
    from octant.cli.recipe_measurement import written
    from octant.core.record import to_builtins

    loaded = load(config, data_dir)
    source = _find(recipe)
    found = _measured(loaded, source, config, rounds, _cases(source, suite, limit))
    told = cast("dict[str, Any]", to_builtins(found.measurement))
    path = record or measured_path(source.path)
    path.write_text(written(told), encoding="utf-8")
    if as_json:
        print_json(told | {"probe_margin": found.probe_margin})
    else:
        print_rows(["", ""], _facts(told), empty="")
        console().print(f"Written to {path}.", soft_wrap=True)
    if found.probe_margin is not None and found.probe_margin < _SURE_NATS:
        notices().print(
            f"The probe's answer is not sure: one of its tokens won by {found.probe_margin:.2f} "
            "nats only. Another processor could answer otherwise; ask something else.",
            style="yellow",
        )


def _measured(
    loaded: "LoadedSettings",
    source: "RecipeSource",
    config: Path | None,
    rounds: int,
    cases: "Sequence[EvalCase]",
) -> "MeasuredRoute":
    from octant.cli.recipe_measurement import Plan, measure

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=notices(),
        transient=True,
    )
    with progress:
        bar = progress.add_task("", total=_STEPS)

        def advanced(what: str) -> None:
            progress.update(bar, advance=1, description=what)

        plan = Plan(rounds, cases)
        return asyncio.run(measure(source, loaded.settings, config, plan, advanced))


def _find(named: str) -> "RecipeSource":
    """The file, or the bundled recipe of that name. Raises Failed(NOT_FOUND)."""
    from octant.app.artifacts import find_recipe, read_recipe

    return find_recipe(named) or read_recipe(Path(named))


def _cases(source: "RecipeSource", suite: Path | None, limit: int | None) -> "list[EvalCase]":
    from octant.app.artifacts import directory_of
    from octant.cli.asking import limited
    from octant.lifecycle.evaluation import parse_suite

    directory = directory_of(source.file.artifact)
    beside = [folder / "eval" / "final.jsonl" for folder in (directory, directory.parent)]
    path = suite or next((path for path in beside if path.is_file()), None)
    if path is None:
        return []
    return limited(parse_suite(path.read_text(encoding="utf-8").splitlines(), str(path)), limit)


def _problems(recipe: "Recipe") -> list[str]:
    from octant.lifecycle.recipes import misses

    found: list[str] = []
    if recipe.measured is None:
        found.append(
            f"{recipe.name} was not measured with this artifact and engine. "
            f"Run `octant recipes measure {recipe.name}`."
        )
    if recipe.probe is None:
        found.append(f"{recipe.name} has no probe with a known answer. Add [probe], then measure.")
    return found + [f"Below the quality gate: {miss}." for miss in misses(recipe)]


async def _get(loaded: "LoadedSettings", url: str | None, key: str | None, path: str) -> Any:
    from octant.cli.session import open_session

    async with open_session(loaded, url, key, (Scope.DEPLOYMENTS,)) as session:
        return await session.get(path)


def _speeds(recipe: Mapping[str, Any]) -> str:
    measured = cast("dict[str, Any] | None", recipe["measured"])
    rates = cast("dict[str, float]", measured["decode_tokens_per_s"]) if measured else {}
    return ", ".join(f"{rate:g}" for rate in rates.values()) or "not measured"


def _short(recipe: Mapping[str, Any]) -> list[list[str]]:
    measured = cast("dict[str, Any] | None", recipe["measured"])
    told = {name: recipe[name] for name in ("name", "model", "label", "description", "digest")}
    told["weights, KV cache"] = f"{recipe['weight_precision']}, {recipe['kv_precision']}"
    told["context"] = f"{recipe['working_context']} of {recipe['max_context']} tokens"
    told["decode tokens/s at 1, 8"] = _speeds(recipe)
    if measured:
        told["first token"] = f"{measured['ttft_ms'].get('1', 0):g} ms"
        told["prefill tokens/s"] = f"{measured['prefill_tokens_per_s']:g}"
        told["memory"] = f"{measured['resident_bytes'] / _MIB:.0f} MiB after loading"
        told["measured on"] = measured["machine"]
    return [[name, str(value)] for name, value in told.items()]


def _facts(values: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Every value by its dotted name."""
    rows: list[list[str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows.extend(_facts(cast("dict[str, Any]", value), f"{prefix}{name}."))
        else:
            rows.append([prefix + name, "" if value is None else str(value)])
    return rows
