"""Recipe measurement: what a recipe's route does on this machine, heard and timed over HTTP.

Law: the route is a real one, in a private server that serves this recipe and nothing else, so the
figures are what callers get. Speeds are medians of rounds; the machine's other work is in them.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from octant.app import wiring
from octant.app.artifacts import RecipeSource, complete_recipe
from octant.app.settings import Settings
from octant.cli import machine
from octant.cli.asking import asking
from octant.cli.json_child import JsonChild, json_child
from octant.cli.private_server import PrivateServer, private_server
from octant.cli.serve_benchmark import Shape
from octant.cli.session import Session
from octant.core.deployment import MeasuredFigures, Recipe
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.lifecycle.evaluation import EvalCase, run_suite, score
from octant.lifecycle.recipe_files import ProbeTable
from octant.lifecycle.recipes import Measurement

_AT_ONCE = (1, 8)
_PROMPT_TOKENS = 64
# Long enough that all requests decode at once for most of the time, also of a small model.
_NEW_TOKENS = 512
# Enough for the first token to be there; the prompt is what is timed.
_PREFILL_NEW_TOKENS = 32
_ASKED_AT_ONCE = 8


class Plan(NamedTuple):
    """What is measured: rounds of each speed, and the suite's cases (none: no accuracy)."""

    rounds: int
    cases: Sequence[EvalCase]


class Heard(NamedTuple):
    """The probe's answer, and how much more likely each token was than the next best, at least."""

    answer: str
    least_margin: float


class Speeds(NamedTuple):
    """By number of requests at once; milliseconds and tokens per second."""

    ttft_ms: dict[str, float]
    decode_tokens_per_s: dict[str, float]
    prefill_tokens_per_s: float


class MeasuredRoute(NamedTuple):
    """The measurement, and the margin of the probe's answer in nats (None without a probe)."""

    measurement: Measurement
    probe_margin: float | None


Advanced = Callable[[str], None]


async def measure(
    source: RecipeSource, settings: Settings, config: Path | None, plan: Plan, advanced: Advanced
) -> MeasuredRoute:
    """Starts the route, measures and ends it; `advanced` is told each thing that begins."""
    recipe = complete_recipe(source._replace(measurement=None), settings)
    advanced("loading")
    async with (
        private_server(source.path, config, is_recipe=True) as server,
        json_child("load generator", "octant.cli.load_generator") as load,
    ):
        session = Session(server.target)
        try:
            (route,) = (await session.get("/admin/v1/deployments"))["data"]
            advanced("asking the probe")
            heard = await _ask_probe(session, server.model, source.file.probe)
            speeds = await _time(server, load, recipe, plan.rounds, advanced)
            advanced("asking the suite")
            accuracy = await _accuracy(server, plan.cases)
        finally:
            session.close()
    figures = MeasuredFigures(
        machine=f"{machine.cpu_name()}, {machine.facts()['cores']} cores",
        measured_unix_ns=wiring.clock().unix_ns(),
        load_ms=route["load_ms"],
        resident_bytes=route["resident_bytes"],
        kv_bytes_per_token=route["kv_bytes_per_token"],
        ttft_ms=speeds.ttft_ms,
        decode_tokens_per_s=speeds.decode_tokens_per_s,
        prefill_tokens_per_s=speeds.prefill_tokens_per_s,
        accuracy=accuracy,
    )
    return MeasuredRoute(
        _measurement(source, recipe, heard, figures), heard.least_margin if heard else None
    )


def _measurement(
    source: RecipeSource, recipe: Recipe, heard: Heard | None, figures: MeasuredFigures
) -> Measurement:
    asked = source.file.probe
    return Measurement(
        recipe=recipe.name,
        artifact_digest=recipe.artifact_digest,
        engine_version=recipe.engine_version,
        kv_precision=recipe.kv_precision,
        probe_user=asked.user if asked else "",
        probe_system=asked.system if asked else "",
        answer=heard.answer if heard else "",
        figures=figures,
    )


async def _ask_probe(session: Session, model: str, probe: ProbeTable | None) -> Heard | None:
    """Raises Failed(OUTPUT_INVALID) when there is no answer to compare with later."""
    if probe is None:
        return None
    system = [{"role": "system", "content": probe.system}] if probe.system else []
    body = {
        "model": model,
        "messages": [*system, {"role": "user", "content": probe.user}],
        "max_tokens": probe.max_tokens,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
    }
    choice = (await session.post("/v1/chat/completions", body)).json()["choices"][0]
    answer = choice["message"].get("content") or ""
    if not answer.strip() or choice["finish_reason"] != "stop":
        raise Failed(
            Failure(
                kind=FailureKind.OUTPUT_INVALID,
                stage=Stage.WARM,
                message="The probe has no whole answer: it ended with "
                f"{choice['finish_reason']!r} after {answer[:80]!r}. Ask something that is "
                "answered in words, or raise probe.max_tokens.",
                param="probe",
            )
        )
    tokens: list[dict[str, Any]] = choice["logprobs"]["content"]
    return Heard(answer, min(_margin(token) for token in tokens))


def _margin(token: dict[str, Any]) -> float:
    best, second = (entry["logprob"] for entry in token["top_logprobs"][:2])
    return best - second


async def _time(
    server: PrivateServer, load: JsonChild, recipe: Recipe, rounds: int, advanced: Advanced
) -> Speeds:
    ttft: dict[str, float] = {}
    decode: dict[str, float] = {}
    for at_once in _AT_ONCE:
        advanced(f"{at_once} at once")
        new_tokens = min(_NEW_TOKENS, recipe.max_context - _PROMPT_TOKENS)
        shape = Shape(_PROMPT_TOKENS, new_tokens, rounds)
        told = await _rounds(server, load, shape, at_once)
        ttft[str(at_once)] = round(median([ms for one in told for ms in one["ttft_ms"]]), 2)
        decode[str(at_once)] = round(median([one["decode_tokens_per_s"] for one in told]), 1)
    advanced("prefill")
    length = min(recipe.working_context, recipe.max_context - _PREFILL_NEW_TOKENS)
    told = await _rounds(server, load, Shape(length, _PREFILL_NEW_TOKENS, rounds), 1)
    prefill = length * 1_000 / median([one["ttft_ms"][0] for one in told])
    return Speeds(ttft, decode, round(prefill, 1))


async def _rounds(
    server: PrivateServer, load: JsonChild, shape: Shape, at_once: int
) -> list[dict[str, Any]]:
    """As many rounds as asked for, after one that warms up and is not counted."""
    return [
        await load.ask(_question(server, shape, at_once, number))
        for number in range(shape.rounds + 1)
    ][1:]


def _question(server: PrivateServer, shape: Shape, at_once: int, number: int) -> dict[str, Any]:
    return {
        "url": server.target.url,
        "key": server.target.key,
        "model": server.model,
        "concurrency": at_once,
        "prompt_tokens": shape.prompt_tokens,
        "max_tokens": shape.new_tokens,
        "min_tokens": shape.new_tokens,
        "seed": at_once * 10_000 + shape.prompt_tokens * 100 + number,
    }


async def _accuracy(server: PrivateServer, cases: Sequence[EvalCase]) -> dict[str, float]:
    if not cases:
        return {}
    async with asking(server.target, server.model, _ASKED_AT_ONCE) as ask:
        verdicts = await run_suite(cases, ask, _ASKED_AT_ONCE, lambda _: None)
    return {task.task: round(task.accuracy, 4) for task in score(verdicts, {})}


def written(measurement: dict[str, Any]) -> str:
    """The text of the file beside the recipe."""
    return json.dumps(measurement, indent=2, ensure_ascii=False) + "\n"
