"""Names shared by traces and metrics: the GenAI conventions' words for what Octant does."""

PROVIDER = "octant"

# Engines that Octant runs itself; any other engine is the provider of what it answers.
_OWN_ENGINES = frozenset({"openvino"})
_OPERATIONS = {"chat_completions": "chat", "completions": "text_completion", "runs": "chat"}


def provider_name(engine: str) -> str:
    """`gen_ai.provider.name` of what a route's engine answers; Octant's own where it is unknown."""
    return PROVIDER if not engine or engine in _OWN_ENGINES else engine


def is_own(engine: str) -> bool:
    """Whether Octant runs the engine itself, and so holds the model."""
    return engine in _OWN_ENGINES


def operation_name(api: str) -> str:
    """`gen_ai.operation.name` of an endpoint family; an unknown family keeps its own name."""
    return _OPERATIONS.get(api, api)
