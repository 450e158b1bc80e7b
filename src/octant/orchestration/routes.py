"""RouteTable: which models are served, by which routes, and how each route's prompts are made.

Law: the table is the only place that joins a model's public name to providers. It is changed by
deployment, read by the request path and by listings, all on one event loop; what it hands out never
changes, so a running request keeps the routes and weights it began with.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from octant.context.chat_template import ChatTemplate
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import ReleaseId, RouteId
from octant.core.route import BreakerState, DeploymentState, Route, RouteLoad
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.orchestration.breakers import Breakers
from octant.ports.provider import Provider
from octant.ports.tokenizer import Tokenizer


class PromptRules(NamedTuple):
    """How a release's prompts are made, and how tool calls stand in its answers."""

    tokenizer: Tokenizer
    template: ChatTemplate | None
    tool_format: str | None
    default_sampling: Sampling = Sampling()


class DeployedRoute(NamedTuple):
    """A route and what answers for it; without prompt rules the provider takes messages."""

    route: Route
    provider: Provider
    prompt: PromptRules | None

    @property
    def max_context(self) -> int:
        """Tokens that fit: the release's own limit, or less where the engine's memory is short."""
        facts = self.provider.facts()
        declared = self.route.max_context
        return declared if facts is None else min(declared, facts.max_context)

    def load(self) -> RouteLoad:
        """The provider's present condition."""
        return self.provider.load()


class ServedModel(NamedTuple):
    """A public model name with its routes, never empty.

    `traffic` weighs releases against each other; empty, all are equal.
    """

    name: str
    created_unix_s: int
    routes: tuple[DeployedRoute, ...]
    traffic: Mapping[ReleaseId, int] = {}

    @property
    def max_context(self) -> int:
        """What the roomiest route holds."""
        return max(deployed.max_context for deployed in self.routes)

    @property
    def default_sampling(self) -> Sampling:
        """What the publisher of the first route with prompt rules recommends."""
        rules = (deployed.prompt for deployed in self.routes)
        return next((rule.default_sampling for rule in rules if rule is not None), Sampling())


class RouteListing(NamedTuple):
    """One route of a model as it stands."""

    id: RouteId
    release: ReleaseId
    label: str
    state: DeploymentState
    reason: str
    breaker: BreakerState


class ModelListing(NamedTuple):
    """What is said about a model in public: its best route's state, and each route's own."""

    name: str
    created_unix_s: int
    owned_by: str
    max_context: int
    state: DeploymentState
    reason: str
    routes: tuple[RouteListing, ...]


class RouteTable:
    """Served models by name; the first one added is the default."""

    def __init__(self, breakers: Breakers) -> None:
        self.breakers = breakers
        self._models: dict[str, ServedModel] = {}

    def serve(self, model: ServedModel) -> None:
        """Adds a model or replaces it by name."""
        assert model.routes, f"model {model.name} has no route"
        self._models[model.name] = model

    def put_route(self, model_name: str, created_unix_s: int, deployed: DeployedRoute) -> None:
        """Adds a route to a model, or replaces the one with its id; a new name is a new model."""
        known = self._models.get(model_name)
        if known is None:
            self.serve(ServedModel(model_name, created_unix_s, (deployed,)))
            return
        routes = {other.route.id: other for other in known.routes} | {deployed.route.id: deployed}
        self.serve(known._replace(routes=tuple(routes.values())))

    def remove_route(self, route_id: RouteId) -> None:
        """Takes a route out of its model; a model without routes is served no more."""
        self.breakers.forget(route_id)
        for model in list(self._models.values()):
            left = tuple(other for other in model.routes if other.route.id != route_id)
            if not left:
                del self._models[model.name]
            elif len(left) < len(model.routes):
                self.serve(model._replace(routes=left))

    def set_traffic(self, model_name: str, weights: Mapping[ReleaseId, int]) -> None:
        """New requests are split by these weights. Raises Failed(MODEL_NOT_FOUND)."""
        self.serve(self.model(model_name)._replace(traffic=dict(weights)))

    def model(self, name: str) -> ServedModel:
        """Raises Failed(MODEL_NOT_FOUND) with the names that exist."""
        found = self._models.get(name)
        if found is None:
            served = ", ".join(f"`{known}`" for known in self._models) or "none yet"
            raise Failed(
                Failure(
                    kind=FailureKind.MODEL_NOT_FOUND,
                    stage=Stage.ROUTE,
                    message=f"The model `{name}` is not served here. Served models: {served}.",
                    param="model",
                )
            )
        return found

    def default_sampling(self, model: str) -> Sampling:
        """What the model's publisher recommends; OpenAI's defaults for an unknown name."""
        found = self._models.get(model)
        return found.default_sampling if found else Sampling()

    def models(self) -> Sequence[ModelListing]:
        """All models in the order of their addition, each in the state of its best route."""
        return [self._listing(model) for model in self._models.values()]

    def _listing(self, model: ServedModel) -> ModelListing:
        loads = [deployed.load() for deployed in model.routes]
        best = next((load for load in loads if load.state is DeploymentState.READY), loads[0])
        return ModelListing(
            name=model.name,
            created_unix_s=model.created_unix_s,
            owned_by="octant",
            max_context=model.max_context,
            state=best.state,
            reason=best.reason,
            routes=tuple(
                self._route_listing(deployed.route, load)
                for deployed, load in zip(model.routes, loads, strict=True)
            ),
        )

    def _route_listing(self, route: Route, load: RouteLoad) -> RouteListing:
        return RouteListing(
            id=route.id,
            release=route.release,
            label=route.label,
            state=load.state,
            reason=load.reason,
            breaker=self.breakers.state(route.id),
        )
