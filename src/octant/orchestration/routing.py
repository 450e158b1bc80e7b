"""Routing: filter, score, pick (OR1). Pure; every candidate that loses keeps its reason.

A filter says why a route cannot take the request, or nothing. The score is between 0 and 1, higher
is better: routes with less work waiting first. Ties go to the route named first in the table.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import RouteId
from octant.core.route import Candidate, DeploymentState, Route, RouteDecision, RouteLoad
from octant.core.stage import Stage
from octant.core.units import NS_PER_S

# For routes that do not say when they are worth asking again.
UNAVAILABLE_RETRY_NS = 2 * NS_PER_S


class RouteView(NamedTuple):
    """One route as it stands at the moment of the decision.

    `max_context` is what fits now; `tokens` is what the request needs of it there, None while its
    prompt has not been made; `unfit` is why no prompt could be made for it.
    """

    route: Route
    load: RouteLoad
    max_context: int
    tokens: int | None = None
    unfit: Failure | None = None


class RouteNeeds(NamedTuple):
    """What the request asks of a route."""

    envelope: RequestEnvelope
    excluded: frozenset[RouteId]


def standing(needs: RouteNeeds, views: Sequence[RouteView]) -> list[RouteView]:
    """Those that nothing speaks against; worth making a prompt for."""
    return [view for view in views if _refusal(needs, view) is None]


def decide(needs: RouteNeeds, views: Sequence[RouteView]) -> RouteDecision:
    """The best route. Raises Failed(ENGINE_UNAVAILABLE) with every refusal when none is left, or
    with what is wrong with the prompt where only that keeps a route from taking it.
    """
    refusals = {view.route.id: _refusal(needs, view) for view in views}
    candidates = tuple(
        Candidate(
            route=view.route.id,
            score=None if refusals[view.route.id] else _score(view.load),
            rejected_because=refusals[view.route.id],
        )
        for view in views
    )
    eligible = [view for view in views if refusals[view.route.id] is None]
    if not eligible:
        unfit = [view.unfit for view in views if view.unfit is not None]
        raise Failed(unfit[0] if unfit else _no_route(needs.envelope, candidates, views))
    best = max(eligible, key=lambda view: _score(view.load))
    return RouteDecision(chosen=best.route, candidates=candidates)


def _refusal(needs: RouteNeeds, view: RouteView) -> str | None:
    for check in _FILTERS:
        reason = check(needs, view)
        if reason is not None:
            return reason
    return None


def _already_tried(needs: RouteNeeds, view: RouteView) -> str | None:
    return "an earlier attempt failed there" if view.route.id in needs.excluded else None


def _not_ready(_: RouteNeeds, view: RouteView) -> str | None:
    if view.load.state is DeploymentState.READY:
        return None
    because = f": {view.load.reason}" if view.load.reason else ""
    return f"it is {view.load.state.value}{because}"


def _too_short(_: RouteNeeds, view: RouteView) -> str | None:
    if view.tokens is None or view.tokens <= view.max_context:
        return None
    return f"its context holds {view.max_context} tokens, {view.tokens} are needed"


def _unfit(_: RouteNeeds, view: RouteView) -> str | None:
    return view.unfit.message if view.unfit is not None else None


def _lacks_capability(needs: RouteNeeds, view: RouteView) -> str | None:
    missing = set(needs.envelope.model.capabilities) - set(view.route.capabilities)
    return f"it lacks {', '.join(sorted(missing))}" if missing else None


_FILTERS: tuple[Callable[[RouteNeeds, RouteView], str | None], ...] = (
    _already_tried,
    _not_ready,
    _lacks_capability,
    _unfit,
    _too_short,
)


def _score(load: RouteLoad) -> float:
    return 1.0 / (1.0 + load.running + load.waiting)


def _no_route(
    envelope: RequestEnvelope, candidates: Sequence[Candidate], views: Sequence[RouteView]
) -> Failure:
    reasons = "; ".join(f"{item.route}: {item.rejected_because}" for item in candidates)
    waits_ns = [v.load.retry_after_ns for v in views if v.load.retry_after_ns is not None]
    return Failure(
        kind=FailureKind.ENGINE_UNAVAILABLE,
        stage=Stage.ROUTE,
        message=f"No route of model `{envelope.model.name}` can take this request now ({reasons}).",
        retry_after_ns=min(waits_ns, default=UNAVAILABLE_RETRY_NS),
        detail={item.route: item.rejected_because for item in candidates},
    )
