"""Listings: the endpoints that say what is served and how the server is.

Law: liveness asks nothing but the event loop; readiness asks every dependency and is false while
draining; no listing names what another tenant uses.
"""

from collections.abc import Sequence

from octant.core.failure import FailureKind
from octant.core.identity import Principal, Scope
from octant.core.route import DeploymentState
from octant.gateway.dialects.dialect import encode_json
from octant.gateway.failures import refuse
from octant.gateway.reply import JSON
from octant.gateway.routing import Call
from octant.gateway.services import GatewayServices, HealthCheck, ModelListing
from octant.orchestration.routes import RouteListing

_LISTING_SCOPES = (Scope.MODELS_READ, Scope.INFERENCE)


class Listings:
    """The GET endpoints."""

    def __init__(self, services: GatewayServices) -> None:
        self._services = services

    async def models(self, call: Call) -> None:
        """`GET /v1/models`: those that the key may use."""
        visible = self._visible(await self._principal(call, _LISTING_SCOPES))
        data = [_model_object(listing) for listing in visible]
        await call.reply.whole(200, JSON, encode_json({"object": "list", "data": data}))

    async def model(self, call: Call) -> None:
        """`GET /v1/models/{id}`. Raises Failed(MODEL_NOT_FOUND), also for one not permitted."""
        wanted = call.names["id"]
        visible = self._visible(await self._principal(call, _LISTING_SCOPES))
        found = next((listing for listing in visible if listing.name == wanted), None)
        if found is None:
            refuse(
                FailureKind.MODEL_NOT_FOUND,
                f"The model '{wanted[:100]}' does not exist or you do not have access to it. "
                "GET /v1/models lists what you may use.",
                "model",
            )
        await call.reply.whole(200, JSON, encode_json(_model_object(found)))

    async def live(self, call: Call) -> None:
        """`GET /health/live`: 200 as long as the event loop runs."""
        await call.reply.whole(200, JSON, encode_json({"status": "live"}))

    async def ready(self, call: Call) -> None:
        """`GET /health/ready`: 200 when requests can be answered, otherwise 503; why, for each."""
        checks = [self._not_draining(), self._some_model(), *await self._services.health.checks()]
        ready = all(check.healthy for check in checks)
        body = {
            "status": "ready" if ready else "not_ready",
            "checks": {
                check.name: {"healthy": check.healthy, "reason": check.reason} for check in checks
            },
        }
        await call.reply.whole(200 if ready else 503, JSON, encode_json(body))

    async def model_health(self, call: Call) -> None:
        """`GET /health/models`: each model's state and its routes'; 503 unless all are ready."""
        listings = self._services.routes.models()
        ready = all(listing.state is DeploymentState.READY for listing in listings)
        states = {
            listing.name: {
                "state": listing.state.value,
                "reason": listing.reason,
                "routes": {route.id: _route_condition(route) for route in listing.routes},
            }
            for listing in listings
        }
        status = 200 if ready and states else 503
        await call.reply.whole(status, JSON, encode_json({"models": states}))

    async def metrics(self, call: Call) -> None:
        """`GET /metrics`: Prometheus' text format."""
        if self._services.settings.metrics_need_key:
            await self._principal(call, (Scope.METRICS_READ,))
        page = self._services.metrics.render()
        await call.reply.whole(200, page.content_type.encode(), page.body)

    async def _principal(self, call: Call, any_of: tuple[Scope, ...]) -> Principal:
        authorization = call.head.headers.get(b"authorization")
        identity = await self._services.authenticator.authenticate(authorization, any_of)
        return identity.principal

    def _visible(self, principal: Principal) -> Sequence[ModelListing]:
        listings = self._services.routes.models()
        if not principal.models:
            return listings
        return [listing for listing in listings if listing.name in principal.models]

    def _not_draining(self) -> HealthCheck:
        drain = self._services.drain
        if drain.draining:
            return HealthCheck("accepting", False, f"draining, {drain.inside} requests inside")
        return HealthCheck("accepting", True)

    def _some_model(self) -> HealthCheck:
        listings = self._services.routes.models()
        if any(listing.state is DeploymentState.READY for listing in listings):
            return HealthCheck("models", True)
        states = (_condition(listing) for listing in listings)
        return HealthCheck("models", False, ", ".join(states) or "no model is served")


def _model_object(listing: ModelListing) -> dict[str, object]:
    return {
        "id": listing.name,
        "object": "model",
        "created": listing.created_unix_s,
        "owned_by": listing.owned_by,
        "max_model_len": listing.max_context,
        "octant": {"state": listing.state.value},
    }


def _route_condition(route: RouteListing) -> dict[str, str]:
    return {
        "release": route.release,
        "label": route.label,
        "state": route.state.value,
        "reason": route.reason,
        "breaker": route.breaker.value,
    }


def _condition(listing: ModelListing) -> str:
    because = f": {listing.reason}" if listing.reason else ""
    return f"{listing.name} is {listing.state.value}{because}"
