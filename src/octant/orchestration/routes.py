"""RouteTable: which models are served, by which routes, and how their prompts are made.

Law: the table is the only place that joins a model's public name to providers. It is changed by
deployment, read by the request path and by listings, all on one event loop.
"""

from collections.abc import Sequence
from typing import NamedTuple

from octant.context.chat_template import ChatTemplate
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.route import DeploymentState, Route, RouteLoad
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.ports.provider import Provider
from octant.ports.tokenizer import Tokenizer


class DeployedRoute(NamedTuple):
    """A route and what answers for it."""

    route: Route
    provider: Provider

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
    """A public model name with its prompt rules and its routes, never empty."""

    name: str
    created_unix_s: int
    tokenizer: Tokenizer
    template: ChatTemplate | None
    tool_format: str | None
    default_sampling: Sampling
    routes: tuple[DeployedRoute, ...]

    @property
    def max_context(self) -> int:
        """What the roomiest route holds."""
        return max(deployed.max_context for deployed in self.routes)


class ModelListing(NamedTuple):
    """What is said about a model in public."""

    name: str
    created_unix_s: int
    owned_by: str
    max_context: int
    state: DeploymentState
    reason: str


class RouteTable:
    """Served models by name; the first one added is the default."""

    def __init__(self) -> None:
        self._models: dict[str, ServedModel] = {}

    def serve(self, model: ServedModel) -> None:
        """Adds a model or replaces it by name."""
        assert model.routes, f"model {model.name} has no route"
        self._models[model.name] = model

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
        return [_listing(model) for model in self._models.values()]


def _listing(model: ServedModel) -> ModelListing:
    loads = [deployed.load() for deployed in model.routes]
    best = next((load for load in loads if load.state is DeploymentState.READY), loads[0])
    return ModelListing(
        name=model.name,
        created_unix_s=model.created_unix_s,
        owned_by="octant",
        max_context=model.max_context,
        state=best.state,
        reason=best.reason,
    )
