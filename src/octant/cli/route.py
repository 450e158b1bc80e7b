"""`octant route`: why requests went where they went, from the store of the data directory."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import JsonOption, console, print_json, print_rows

if TYPE_CHECKING:
    from octant.app.settings import Settings
    from octant.core.outcome import Outcome
    from octant.core.route import RouteDecision
    from octant.orchestration.explanation import ExplainedAttempt

route = typer.Typer(
    help="Routing of requests. Works with and without a running server.", no_args_is_help=True
)
_Found = tuple["Outcome", tuple["ExplainedAttempt", ...]]


@route.callback()
def options() -> None:
    """Routing of requests. Works with and without a running server."""


@route.command("explain")
def explain_route(
    request: Annotated[
        str, typer.Argument(metavar="ID", help="Request id (x-request-id); a unique start does.")
    ],
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain where a request went: the traffic split, every route's score or refusal, the
    attempts and their fallbacks.

    Examples:

      octant route explain req_3f2a...

      octant route explain req_3f2a... --json
    """
    from octant.cli.loading import load

    outcome, attempts = asyncio.run(_read(load(config, data_dir).settings, request))
    if as_json:
        print_json(_plain(outcome, attempts))
        return
    terminal = console()
    terminal.print(f"request {outcome.request_id}  model {outcome.model}", style="dim")
    if not attempts:
        terminal.print(_unrouted(outcome), soft_wrap=True)
    for explained in attempts:
        _show(explained)


async def _read(settings: "Settings", named: str) -> "_Found":
    from octant.cli.local_store import open_local
    from octant.cli.request_lookup import find_outcome
    from octant.orchestration.explanation import explain

    async with open_local(settings) as local:
        outcome = await find_outcome(local, named)
        return outcome, explain(await local.store.events(outcome.request_id))


def _show(explained: "ExplainedAttempt") -> None:
    terminal, decision = console(), explained.decision
    terminal.print()
    title = f"step {explained.step}, attempt {explained.attempt}"
    terminal.print(Text.assemble((title, "bold"), f"  {decision.chosen.id}"), soft_wrap=True)
    terminal.print(f"  {_split(explained)}", soft_wrap=True)
    scores = {item.route: item for item in decision.candidates}
    order = (decision.chosen.id, *decision.fallbacks)
    refused = [item.route for item in decision.candidates if item.route not in order]
    print_rows(
        ["route", "score", "why not"],
        [
            [
                f"{'> ' if name == decision.chosen.id else '  '}{name}",
                "" if scores[name].score is None else f"{scores[name].score:.3f}",
                scores[name].rejected_because or "",
            ]
            for name in (*order, *refused)
        ],
        empty="",
    )
    if explained.failure is not None:
        failure = explained.failure
        ended = Text.assemble(("  failed ", "red"), f"{failure.kind.value}: {failure.message}")
        terminal.print(ended, soft_wrap=True)


def _split(explained: "ExplainedAttempt") -> str:
    decision = explained.decision
    if decision.release is None:
        return "traffic: all releases are equal"
    drew = f"traffic: drew release {decision.release}"
    if explained.split_kept:
        return drew
    return f"{drew}, which had no route for it; release {decision.chosen.release} stands in"


def _unrouted(outcome: "Outcome") -> str:
    if outcome.failure is None:
        return "Its events are no longer kept (store.keep_traces)."
    return f"No route was chosen: {outcome.failure.kind.value}: {outcome.failure.message}"


def _plain(outcome: "Outcome", attempts: tuple["ExplainedAttempt", ...]) -> dict[str, Any]:
    from octant.core.record import to_builtins

    return {
        "request_id": outcome.request_id,
        "model": outcome.model,
        "status": outcome.status.value,
        "route": outcome.route,
        "failure": to_builtins(outcome.failure) if outcome.failure else None,
        "attempts": [
            {
                "step": explained.step,
                "attempt": explained.attempt,
                "split": _plain_split(explained),
                **_plain_decision(explained.decision),
                "failure": to_builtins(explained.failure) if explained.failure else None,
            }
            for explained in attempts
        ],
    }


def _plain_split(explained: "ExplainedAttempt") -> dict[str, Any]:
    return {"release": explained.decision.release, "kept": explained.split_kept}


def _plain_decision(decision: "RouteDecision") -> dict[str, Any]:
    return {
        "chosen": decision.chosen.id,
        "release": decision.chosen.release,
        "candidates": [
            {"route": item.route, "score": item.score, "refused": item.rejected_because}
            for item in decision.candidates
        ],
        "fallbacks": list(decision.fallbacks),
    }
