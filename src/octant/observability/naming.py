"""Names shared by traces and metrics: the GenAI conventions' words for what Octant does."""

PROVIDER = "octant"
OWN_ENGINES = frozenset({"openvino"})
"""Engines that Octant runs itself; any other engine is the provider of what it answers."""

_OPERATIONS = {"chat_completions": "chat", "completions": "text_completion", "runs": "chat"}


def operation_name(api: str) -> str:
    """`gen_ai.operation.name` of an endpoint family; an unknown family keeps its own name."""
    return _OPERATIONS.get(api, api)
