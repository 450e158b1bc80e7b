"""Deployments: what is wanted against what runs, and what may be changed about it (LC1, LC3). Pure.

    wanted + running -> reconcile -> Start | Stop       settings' recipes + stored -> adopt

Law: the store says what is wanted, and reconciling is the only way to get there, at the first start
as after a crash. At most so many engines load at once, in the order in which they were asked for,
so that the first one is ready as early as alone. A release that takes traffic keeps a route.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from msgspec.structs import replace

from octant.core.deployment import Deployment, Recipe, Traffic
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import ReleaseId, RouteId
from octant.core.route import DeploymentState
from octant.core.stage import Stage

# One at a time: two engines that load together make both late.
MAX_LOADING = 1
MAX_WEIGHT = 1_000_000

_ON_THE_WAY = (DeploymentState.LOADING, DeploymentState.WARMING, DeploymentState.PROBING)


class Running(NamedTuple):
    """A route that has an engine, or is about to; `leaving` once it was told to stop."""

    recipe_digest: str
    state: DeploymentState
    leaving: bool


class Start(NamedTuple):
    """Give this deployment an engine."""

    deployment: Deployment


class Stop(NamedTuple):
    """Drain this route and end its engine."""

    route: RouteId


Action = Start | Stop


class Adoption(NamedTuple):
    """What the store has to be told for the settings' model to be served.

    `renamed` releases give their traffic to the ones that take their place.
    """

    put: tuple[Deployment, ...]
    superseded: tuple[RouteId, ...]
    renamed: Mapping[ReleaseId, ReleaseId]


class Standing(NamedTuple):
    """A route of one model as it stands, whatever runs it."""

    release: ReleaseId
    state: DeploymentState


def route_id(label: str, release: ReleaseId) -> RouteId:
    """`label@release`: what a deployment and its route are called."""
    return RouteId(f"{label}@{release}")


def reconcile(
    wanted: Sequence[Deployment], running: Mapping[RouteId, Running]
) -> tuple[Action, ...]:
    """The next actions; asked again after each change of either side."""
    targets = {deployment.id: deployment for deployment in wanted}
    stops = [
        Stop(route)
        for route, engine in running.items()
        if not engine.leaving and not _as_wanted(engine, targets.get(route))
    ]
    loading = sum(engine.state in _ON_THE_WAY for engine in running.values() if not engine.leaving)
    missing = [deployment for deployment in wanted if deployment.id not in running]
    room = max(0, MAX_LOADING - loading)
    return (*stops, *(Start(deployment) for deployment in missing[:room]))


def _as_wanted(engine: Running, target: Deployment | None) -> bool:
    return target is not None and target.recipe_digest == engine.recipe_digest


def adopt(
    base: Sequence[Recipe],
    stored: Sequence[Deployment],
    recipes: Mapping[str, Recipe],
    now_unix_ns: int,
) -> Adoption:
    """Makes the settings' recipes deployments of one release; `recipes` are the stored ones.

    They stay the same release while their artifacts do; a changed artifact is the next release.
    What an operator has stopped stays stopped.
    """
    put: list[Deployment] = []
    superseded: list[RouteId] = []
    renamed: dict[ReleaseId, ReleaseId] = {}
    for model in dict.fromkeys(recipe.model for recipe in base):
        own = {recipe.label: recipe for recipe in base if recipe.model == model}
        before = [d for d in stored if d.from_settings and d.model == model and _label(d) in own]
        release = _kept_release(own, before, recipes) or _next_release(model, stored)
        for label, recipe in own.items():
            same_label = [old for old in before if _label(old) == label]
            put.append(_deployment(recipe, release, same_label, now_unix_ns))
        for old in before:
            if old.release != release:
                superseded.append(old.id)
                renamed[old.release] = release
    changed = [new for new in put if new not in stored]
    return Adoption(tuple(changed), tuple(superseded), renamed)


def _kept_release(
    own: Mapping[str, Recipe], before: Sequence[Deployment], recipes: Mapping[str, Recipe]
) -> ReleaseId | None:
    """The newest release whose artifacts are all still those of the settings' recipes."""
    for release in dict.fromkeys(deployment.release for deployment in reversed(before)):
        of_release = [deployment for deployment in before if deployment.release == release]
        if all(_same_artifact(own[_label(d)], d, recipes) for d in of_release):
            return release
    return None


def _same_artifact(now: Recipe, deployed: Deployment, recipes: Mapping[str, Recipe]) -> bool:
    known = recipes.get(deployed.recipe_digest)
    return known is not None and known.artifact_digest == now.artifact_digest


def _deployment(
    recipe: Recipe, release: ReleaseId, same_label: Sequence[Deployment], now_unix_ns: int
) -> Deployment:
    old = next((deployment for deployment in same_label if deployment.release == release), None)
    if old is not None:
        return replace(old, recipe_digest=recipe.digest)
    return Deployment(
        id=route_id(recipe.label, release),
        model=recipe.model,
        release=release,
        recipe_digest=recipe.digest,
        wanted=all(deployment.wanted for deployment in same_label),
        from_settings=True,
        created_unix_ns=now_unix_ns,
    )


def _label(deployment: Deployment) -> str:
    return deployment.id.partition("@")[0]


def _next_release(model: str, stored: Iterable[Deployment]) -> ReleaseId:
    numbered = re.compile(re.escape(model) + r"-(\d+)")
    found = (numbered.fullmatch(deployment.release) for deployment in stored)
    return ReleaseId(f"{model}-{1 + max((int(m[1]) for m in found if m), default=0)}")


def traffic_after(traffic: Traffic | None, adoption: Adoption) -> dict[ReleaseId, int] | None:
    """The weights after an adoption; None where they stay as they are."""
    if traffic is None:
        return None
    weights: dict[ReleaseId, int] = {}
    for release, weight in traffic.weights.items():
        heir = adoption.renamed.get(release, release)
        weights[heir] = weights.get(heir, 0) + weight
    return weights if weights != traffic.weights else None


def check_may_stop(
    deployment: Deployment, stored: Sequence[Deployment], traffic: Traffic | None
) -> None:
    """Raises Failed(CONFLICT) when callers would be left without a route."""
    left = [
        other
        for other in stored
        if other.wanted and other.model == deployment.model and other.id != deployment.id
    ]
    if not deployment.wanted:
        return
    if not left:
        _conflict(
            f"{deployment.id} is the last deployment of {deployment.model}. Deploy another release "
            "first, or force it.",
            "id",
        )
    weight = traffic.weights.get(deployment.release, 0) if traffic else 0
    if weight and all(other.release != deployment.release for other in left):
        _conflict(
            f"{deployment.id} is the last route of {deployment.release}, which takes traffic "
            f"(weight {weight}). Move the traffic of {deployment.model} first, or force it.",
            "id",
        )


def check_weights(
    model: str, weights: Mapping[ReleaseId, int], standing: Sequence[Standing]
) -> None:
    """Raises Failed: INVALID_VALUE for weights that mean nothing, NOT_FOUND for a release that is
    not deployed, CONFLICT for one that is to take traffic and has no ready route."""
    if not any(weights.values()):
        _fail(FailureKind.INVALID_VALUE, "No release has a weight. Give one at least 1.", "weights")
    for release, weight in weights.items():
        param = f"weights.{release}"
        if not 0 <= weight <= MAX_WEIGHT:
            message = f"The weight of {release} is {weight}; weights are from 0 to {MAX_WEIGHT}."
            _fail(FailureKind.INVALID_VALUE, message, param)
        states = [state for of_release, state in standing if of_release == release]
        if not states:
            known = ", ".join(sorted({of_release for of_release, _ in standing})) or "none"
            message = f"{model} has no release {release}. Deployed: {known}."
            _fail(FailureKind.NOT_FOUND, message, param)
        if weight and DeploymentState.READY not in states:
            told = ", ".join(state.value for state in states)
            _conflict(
                f"No route of {release} is ready ({told}), so it can take no traffic. Wait until "
                "one is.",
                param,
            )


def _conflict(message: str, param: str) -> NoReturn:
    _fail(FailureKind.CONFLICT, message, param)


def _fail(kind: FailureKind, message: str, param: str) -> NoReturn:
    raise Failed(Failure(kind=kind, stage=Stage.ROUTE, message=message, param=param))
