"""The administration API: recipes, deployments, traffic. Loaded at its first request.

Law: an endpoint translates and nothing else; what may be done is decided by
`lifecycle.administration`. FastAPI answers under the mounted prefix only and has no part in how
inference is routed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from octant import __version__
from octant.core.deployment import Traffic
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import ReleaseId, RouteId
from octant.core.record import from_builtins, to_builtins
from octant.core.stage import Stage
from octant.gateway.administration.application import OPENAPI_PATH
from octant.gateway.administration.schemas import (
    DeploymentList,
    DeploymentView,
    NewDeployment,
    NewRecipe,
    NewTraffic,
    RecipeList,
    TrafficVersion,
    TrafficView,
)
from octant.gateway.failures import error_body, error_headers
from octant.lifecycle import administration
from octant.lifecycle.administration import Administration, Caller, Deployed
from octant.lifecycle.recipe_files import parse_values
from octant.lifecycle.recipes import Measurement

_OF_A_BODY = "the request"
_KINDS = {
    "missing": FailureKind.MISSING_PARAMETER,
    "extra_forbidden": FailureKind.UNKNOWN_PARAMETER,
    "json_invalid": FailureKind.INVALID_JSON,
}
_STATUS_KINDS = {404: FailureKind.NOT_FOUND, 405: FailureKind.METHOD_NOT_ALLOWED}


def _caller(request: Request) -> Caller:
    return request.state.caller


CallerOf = Annotated[Caller, Depends(_caller)]
Force = Annotated[bool, Query(description="Also when callers are left without a route by it.")]


def create_api(desk: Administration) -> FastAPI:
    """The ASGI application over `desk`; `scope["state"]` brings the caller."""
    api = FastAPI(
        title="Octant administration",
        version=__version__,
        summary="Recipes, deployments and traffic. Every call needs a key with the scope "
        "`deployments`.",
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    api.add_exception_handler(Failed, _failed)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _not_routed)
    endpoints = _Endpoints(desk)
    for method, path, endpoint, status in endpoints.table:
        api.add_api_route(path, endpoint, methods=[method], status_code=status)
    return api


class _Endpoints:
    """What answers each path; FastAPI reads parameters, bodies and answers off the signatures."""

    def __init__(self, desk: Administration) -> None:
        self._desk = desk
        self.table: tuple[tuple[str, str, Callable[..., Any], int], ...] = (
            ("GET", "/recipes", self.list_recipes, 200),
            ("POST", "/recipes", self.add_recipe, 201),
            ("GET", "/recipes/{recipe}", self.show_recipe, 200),
            ("GET", "/deployments", self.list_deployments, 200),
            ("POST", "/deployments", self.add_deployment, 202),
            ("GET", "/deployments/{deployment}", self.show_deployment, 200),
            ("POST", "/deployments/{deployment}/drain", self.drain_deployment, 202),
            ("DELETE", "/deployments/{deployment}", self.remove_deployment, 202),
            ("GET", "/models/{model:path}/traffic", self.show_traffic, 200),
            ("PUT", "/models/{model:path}/traffic", self.set_traffic, 200),
        )

    async def list_recipes(self, model: str | None = None) -> RecipeList:
        """Every recipe that was registered, or those of one model."""
        return RecipeList(data=[to_builtins(recipe) for recipe in await self._desk.recipes(model)])

    async def show_recipe(self, recipe: str) -> dict[str, Any]:
        """One recipe by digest, or the newest one of a name."""
        return to_builtins(await self._desk.recipe(recipe))

    async def add_recipe(self, new: NewRecipe, caller: CallerOf) -> dict[str, Any]:
        """Verifies the artifact and registers the recipe under its digest."""
        file = parse_values(new.recipe, "recipe")
        return to_builtins(await self._desk.add_recipe(caller, file, _measurement(new.measurement)))

    async def list_deployments(self) -> DeploymentList:
        """Every deployment with its state."""
        return DeploymentList(data=[_view(deployed) for deployed in await self._desk.deployments()])

    async def show_deployment(self, deployment: str) -> DeploymentView:
        """One deployment with its state."""
        return _view(await self._desk.deployment(RouteId(deployment)))

    async def add_deployment(self, new: NewDeployment, caller: CallerOf) -> DeploymentView:
        """Loads a recipe as a route; it takes traffic once its release has a weight."""
        return _view(await self._desk.deploy(caller, new.recipe, ReleaseId(new.release)))

    async def drain_deployment(
        self, deployment: str, caller: CallerOf, force: Force = False
    ) -> DeploymentView:
        """Lets what is inside finish and ends the engine; the deployment can be added again."""
        return _view(await self._desk.drain(caller, RouteId(deployment), force=force))

    async def remove_deployment(
        self, deployment: str, caller: CallerOf, force: Force = False
    ) -> DeploymentView:
        """Drains it, ends its engine and forgets it."""
        return _view(await self._desk.remove(caller, RouteId(deployment), force=force))

    async def show_traffic(self, model: str) -> TrafficView:
        """How a model's requests are split over its releases, and how they were."""
        return _traffic(await self._desk.traffic(model))

    async def set_traffic(self, model: str, new: NewTraffic, caller: CallerOf) -> TrafficView:
        """Splits new requests; running ones and their retries stay where they are."""
        weights = {ReleaseId(release): weight for release, weight in new.weights.items()}
        changed = await self._desk.set_traffic(caller, model, weights, new.expected_version)
        return _traffic(changed)


def _view(deployed: Deployed) -> DeploymentView:
    deployment, recipe, status = deployed
    return DeploymentView(
        id=deployment.id,
        model=deployment.model,
        release=deployment.release,
        label=recipe.label if recipe else "",
        recipe=recipe.name if recipe else "",
        recipe_digest=deployment.recipe_digest,
        wanted=deployment.wanted,
        from_settings=deployment.from_settings,
        created_unix_ns=deployment.created_unix_ns,
        **status._asdict(),
    )


def _traffic(view: administration.TrafficView) -> TrafficView:
    return TrafficView(
        model=view.model,
        current=_split(view.current) if view.current else None,
        history=[_split(split) for split in view.history],
    )


def _split(traffic: Traffic) -> TrafficVersion:
    return TrafficVersion(
        weights={str(release): weight for release, weight in traffic.weights.items()},
        version=traffic.version,
        changed_unix_ns=traffic.changed_unix_ns,
        changed_by=traffic.changed_by,
    )


def _measurement(values: Mapping[str, Any] | None) -> Measurement | None:
    if values is None:
        return None
    try:
        return from_builtins(values, Measurement)
    except msgspec.ValidationError as error:
        message = f"measurement is none that `octant recipes measure` wrote: {error}."
        raise Failed(_failure(FailureKind.INVALID_VALUE, message, "measurement")) from error


# Failures, in the shape of all others


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, Failed)
    return _answer(request, error.failure)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: Mapping[str, Any] = error.errors()[0]
    kind = _KINDS.get(str(first["type"]), FailureKind.INVALID_VALUE)
    if kind is FailureKind.INVALID_JSON:
        message = f"The body is not JSON: {first['ctx']['error']}. Correct it."
        return _answer(request, _failure(kind, message, None))
    where: Sequence[Any] = first["loc"]
    param = ".".join(str(part) for part in where[1:]) or None
    message = f"{param or _OF_A_BODY}: {first['msg']}. Correct it."
    return _answer(request, _failure(kind, message, param))


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _STATUS_KINDS.get(error.status_code, FailureKind.INVALID_VALUE)
    message = (
        f"{request.method} {request.url.path[:200]}: {error.detail}. {OPENAPI_PATH} of this prefix "
        "names what there is."
    )
    answer = _answer(request, _failure(kind, message, None))
    if kind is FailureKind.METHOD_NOT_ALLOWED:
        answer.headers["allow"] = ", ".join(_allowed(request))
    return answer


def _allowed(request: Request) -> list[str]:
    """Methods of a path; the framework names those of its first route only."""
    routes: Sequence[APIRoute] = [r for r in request.app.routes if isinstance(r, APIRoute)]
    fitting = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in fitting for method in route.methods or ()})


def _answer(request: Request, failure: Failure) -> Response:
    request.state.refused(failure)
    body = error_body(failure, request.state.request_id)
    answer = Response(body, failure.rule.status, media_type="application/json")
    for name, value in error_headers(failure):
        answer.headers[name.decode()] = value.decode()
    return answer


def _failure(kind: FailureKind, message: str, param: str | None) -> Failure:
    return Failure(kind=kind, stage=Stage.BOUNDARY, message=message, param=param)
