"""Routing: split -> filter -> score -> pick (OR1). Pure; what cannot be used keeps its reason.

Split draws the release by the model's traffic weights. A filter says why a route cannot take the
request, or nothing. The score is between 0 and 1, higher is better, and measures what the request
prefers; routes of one machine count as equally loaded, or load would spill over to a slower one
that only takes the processor from the other. Routes of the drawn release come first, then those of
other releases with traffic, then the rest: they are its fallbacks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, assert_never

from octant.core.envelope import Preference, RequestEnvelope
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import ReleaseId, RouteId
from octant.core.route import Candidate, DeploymentState, Route, RouteDecision, RouteLoad
from octant.core.stage import Stage
from octant.core.units import NS_PER_S, s_from_ns
from octant.orchestration.breakers import Shut
from octant.orchestration.traffic_split import draw, sticky_key

# For routes that do not say when they are worth asking again.
UNAVAILABLE_RETRY_NS = 2 * NS_PER_S
# So many waiting tokens weigh as much as one more request: about a prompt of ordinary length.
_TOKENS_LIKE_A_REQUEST = 512
# Repeated measurements of one route differ by so much: its rate on a machine with other work, and
# its accuracy over a few hundred cases.
_SPEED_NOISE = 0.35
_QUALITY_NOISE = 0.03


class PromptSize(NamedTuple):
    """Tokens of the prompt, counted or estimated, and of one answer as far as is foreseen."""

    prompt: int
    output: int


class RouteView(NamedTuple):
    """One route as it stands at the moment of the decision.

    `max_context` is what fits now; `size` is what the request is there, None while its prompt has
    not been made; `unfit` is why no prompt could be made for it.
    """

    route: Route
    load: RouteLoad
    max_context: int
    shut: Shut | None = None
    size: PromptSize | None = None
    unfit: Failure | None = None


class RouteNeeds(NamedTuple):
    """What the request asks of a route, and what its earlier attempts leave out."""

    envelope: RequestEnvelope
    excluded: frozenset[RouteId] = frozenset()
    traffic: Mapping[ReleaseId, int] = {}


class Refusal(NamedTuple):
    """Why a route cannot take the request. A passing reason can be gone when it is asked again."""

    reason: str
    passing: bool = False


class _Ranked(NamedTuple):
    view: RouteView
    order: tuple[float, ...]
    score: float


def standing(needs: RouteNeeds, views: Sequence[RouteView]) -> list[RouteView]:
    """Those that nothing speaks against."""
    return [view for view in views if _refusal(needs, view) is None]


def worth_a_prompt(needs: RouteNeeds, views: Sequence[RouteView]) -> list[RouteView]:
    """Those that can take the request and those that may come back; none where no route can now.

    What does not fit where it would have to wait is not worth waiting for.
    """
    refusals = [_refusal(needs, view) for view in views]
    if None not in refusals:
        return []
    possible = zip(views, refusals, strict=True)
    return [view for view, refusal in possible if refusal is None or refusal.passing]


def decide(needs: RouteNeeds, views: Sequence[RouteView]) -> RouteDecision:
    """The best route, with every candidate's score or refusal.

    Raises Failed when no route is left: with what is wrong with the prompt where only that keeps a
    route from taking it, ENGINE_UNAVAILABLE when waiting can help, else INVALID_VALUE.
    """
    release = draw(needs.traffic, sticky_key(needs.envelope))
    refusals = {view.route.id: _refusal(needs, view) for view in views}
    eligible = [view for view in views if refusals[view.route.id] is None]
    ranked = _ranked(needs, release, eligible, views)
    if not ranked:
        raise Failed(_no_route(needs.envelope, refusals, views))
    scores = {item.view.route.id: item.score for item in ranked}
    return RouteDecision(
        chosen=ranked[0].view.route,
        candidates=tuple(
            Candidate(
                route=route,
                score=scores.get(route),
                rejected_because=refusal.reason if refusal else None,
            )
            for route, refusal in refusals.items()
        ),
        release=release,
        fallbacks=tuple(item.view.route.id for item in ranked[1:]),
    )


# Filter


def _refusal(needs: RouteNeeds, view: RouteView) -> Refusal | None:
    for check in _FILTERS:
        refusal = check(needs, view)
        if refusal is not None:
            return refusal
    return None


def _already_tried(needs: RouteNeeds, view: RouteView) -> Refusal | None:
    tried = view.route.id in needs.excluded
    return Refusal("an earlier attempt failed there", passing=True) if tried else None


def _not_ready(_: RouteNeeds, view: RouteView) -> Refusal | None:
    if view.load.state is DeploymentState.READY:
        return None
    because = f": {view.load.reason}" if view.load.reason else ""
    return Refusal(f"it is {view.load.state.value}{because}", passing=True)


def _breaker_open(_: RouteNeeds, view: RouteView) -> Refusal | None:
    if view.shut is None:
        return None
    left_s = s_from_ns(view.shut.retry_after_ns)
    return Refusal(f"its breaker is open ({view.shut.reason}; {left_s:.1f} s left)", passing=True)


def _other_label(needs: RouteNeeds, view: RouteView) -> Refusal | None:
    labels = needs.envelope.model.labels
    if not labels or view.route.label in labels:
        return None
    own = f"its label is {view.route.label}" if view.route.label else "it has no label"
    return Refusal(f"{own}, wanted is {' or '.join(labels)}")


def _lacks_capability(needs: RouteNeeds, view: RouteView) -> Refusal | None:
    missing = set(needs.envelope.model.capabilities) - set(view.route.capabilities)
    return Refusal(f"it lacks {', '.join(sorted(missing))}") if missing else None


def _elsewhere(needs: RouteNeeds, view: RouteView) -> Refusal | None:
    wanted = needs.envelope.model.residency
    if wanted is None or view.route.residency == wanted:
        return None
    return Refusal(f"it computes in {view.route.residency}, wanted is {wanted}")


def _unfit(_: RouteNeeds, view: RouteView) -> Refusal | None:
    return Refusal(view.unfit.message) if view.unfit is not None else None


def _too_expensive(needs: RouteNeeds, view: RouteView) -> Refusal | None:
    envelope = needs.envelope
    asked = (envelope.model.max_cost_nano_usd, envelope.budget.cost_nano_usd)
    ceilings = [ceiling for ceiling in asked if ceiling is not None]
    cost = _cost(needs, view)
    if not ceilings or cost <= min(ceilings):
        return None
    return Refusal(f"it would cost about {cost} nano-USD, at most {min(ceilings)} are allowed")


def _too_short(_: RouteNeeds, view: RouteView) -> Refusal | None:
    tokens = sum(view.size) if view.size is not None else 0
    if tokens <= view.max_context:
        return None
    return Refusal(f"its context holds {view.max_context} tokens, {tokens} are needed")


# What does not pass comes first: a route that may come back is waited for only where it would do.
_FILTERS: tuple[Callable[[RouteNeeds, RouteView], Refusal | None], ...] = (
    _other_label,
    _lacks_capability,
    _elsewhere,
    _unfit,
    _too_expensive,
    _too_short,
    _already_tried,
    _not_ready,
    _breaker_open,
)


# Score and pick


class _Field(NamedTuple):
    """What a route is compared with: the lowest cost, the work ahead of each, in requests, the
    highest decode rate and the highest quality."""

    cheapest: int
    ahead: Mapping[RouteId, float]
    fastest: float
    best: float


def _ranked(
    needs: RouteNeeds,
    release: ReleaseId | None,
    eligible: Sequence[RouteView],
    views: Sequence[RouteView],
) -> list[_Ranked]:
    """Best first; sorting keeps the order of the table where all else is equal."""
    field = _Field(
        cheapest=min((_cost(needs, view) for view in eligible), default=0),
        ahead={view.route.id: _ahead_on_machine(view, views) for view in eligible},
        fastest=max((view.route.tokens_per_s for view in eligible), default=0.0),
        best=max((view.route.quality for view in eligible), default=0.0),
    )
    ranked = [_rank(needs, release, view, field) for view in eligible]
    return sorted(ranked, key=lambda item: item.order, reverse=True)


def _rank(needs: RouteNeeds, release: ReleaseId | None, view: RouteView, field: _Field) -> _Ranked:
    free, quality = 1.0 / (1.0 + field.ahead[view.route.id]), view.route.quality
    speed = _unless_near(view.route.tokens_per_s, field.fastest, field.fastest * _SPEED_NOISE)
    alike = _unless_near(quality, field.best, _QUALITY_NOISE)
    cost = _cost(needs, view)
    cheap = field.cheapest / cost if cost else 1.0
    match needs.envelope.model.prefer:
        case Preference.LATENCY:
            scores = (free, speed, alike, cheap)
        case Preference.QUALITY:
            scores = (quality, free, speed, cheap)
        case Preference.COST:
            scores = (cheap, free, speed, quality)
        case _ as never:
            assert_never(never)
    return _Ranked(view, (_standing_of(needs, release, view), *scores), scores[0])


def _standing_of(needs: RouteNeeds, release: ReleaseId | None, view: RouteView) -> int:
    """2 within the drawn release, 1 where the release takes traffic at all."""
    if release is None or view.route.release == release:
        return 2
    return 1 if needs.traffic.get(view.route.release, 0) > 0 else 0


def _unless_near(value: float, best: float, noise: float) -> float:
    """The best for what no measurement tells from it, so that noise never moves the traffic."""
    return best if value >= best - noise else value


def _ahead_on_machine(view: RouteView, views: Sequence[RouteView]) -> float:
    """What has to be done first, by this route and by those that share its processor."""
    machine = view.route.machine
    sharing = [other for other in views if other.route.machine == machine] if machine else [view]
    return sum(_ahead(other.load) for other in sharing)


def _ahead(load: RouteLoad) -> float:
    return load.running + load.waiting + load.waiting_tokens / _TOKENS_LIKE_A_REQUEST


def _cost(needs: RouteNeeds, view: RouteView) -> int:
    """Nano-USD of the whole request there, as far as its size is known."""
    if view.size is None:
        return 0
    price, choices = view.route.price, needs.envelope.sampling.n
    output = choices * view.size.output
    return view.size.prompt * price.input_nano_usd + output * price.output_nano_usd


# No route


def _no_route(
    envelope: RequestEnvelope,
    refusals: Mapping[RouteId, Refusal | None],
    views: Sequence[RouteView],
) -> Failure:
    waiting_helps = any(refusal is not None and refusal.passing for refusal in refusals.values())
    unfit = [view.unfit for view in views if view.unfit is not None]
    if unfit and not waiting_helps:
        return unfit[0]
    reasons = {str(route): item.reason for route, item in refusals.items() if item is not None}
    told = "; ".join(f"{route}: {reason}" for route, reason in reasons.items())
    name = envelope.model.name
    if not waiting_helps:
        return Failure(
            kind=FailureKind.INVALID_VALUE,
            stage=Stage.ROUTE,
            message=f"No route of model `{name}` is what this request asks for ({told}). Ask for "
            "less, or for another model.",
            param="model",
            detail=reasons,
        )
    return Failure(
        kind=FailureKind.ENGINE_UNAVAILABLE,
        stage=Stage.ROUTE,
        message=f"No route of model `{name}` can take this request now ({told}).",
        retry_after_ns=min(_waits_ns(views), default=UNAVAILABLE_RETRY_NS),
        detail=reasons,
    )


def _waits_ns(views: Sequence[RouteView]) -> list[int]:
    loads = [v.load.retry_after_ns for v in views if v.load.retry_after_ns is not None]
    return loads + [view.shut.retry_after_ns for view in views if view.shut is not None]
