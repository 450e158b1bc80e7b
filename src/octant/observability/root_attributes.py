"""Root attributes: what the GenAI conventions and Octant say about a request as a whole.

Law: `gen_ai.*` only where the conventions document the name; everything else is `octant.*`.
"""

from collections.abc import Sequence

from octant.core.events import AnyEvent, RequestReceived, RouteDecided
from octant.core.outcome import Outcome
from octant.core.units import s_from_ns
from octant.observability.naming import PROVIDER, operation_name
from octant.observability.span import Attributes


def root_attributes(
    received: RequestReceived, ordered: Sequence[AnyEvent], outcome: Outcome | None
) -> Attributes:
    """Attributes of the root span; those of the outcome are missing while it is unknown."""
    attributes: Attributes = {
        "gen_ai.operation.name": operation_name(received.api),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": received.model,
        "octant.api": received.api,
        "octant.request.id": str(received.request_id),
        "octant.tenant.id": str(received.tenant),
        "octant.key.id": str(received.key_id),
        "octant.profile": received.profile.value,
        "octant.deadline_s": s_from_ns(received.deadline_ns - received.at_ns),
    }
    if received.stream:
        attributes["gen_ai.request.stream"] = True
    routed = next((e for e in ordered if isinstance(e, RouteDecided)), None)
    if routed is not None:
        attributes["gen_ai.response.model"] = routed.decision.chosen.model
    return attributes if outcome is None else attributes | _ending(received, outcome)


def _ending(received: RequestReceived, outcome: Outcome) -> Attributes:
    ending: Attributes = {
        "octant.status": outcome.status.value,
        "octant.attempts": outcome.attempts,
        "octant.cost_nano_usd": outcome.cost_nano_usd,
    }
    if outcome.attempts:
        ending["gen_ai.usage.input_tokens"] = outcome.usage.prompt_tokens
        ending["gen_ai.usage.output_tokens"] = outcome.usage.completion_tokens
        ending["gen_ai.usage.cache_read.input_tokens"] = outcome.usage.cached_tokens
    if outcome.finish_reasons:
        reasons = tuple(reason.value for reason in outcome.finish_reasons)
        ending["gen_ai.response.finish_reasons"] = reasons
    if received.stream and outcome.time_to_first_token_ns is not None:
        first_s = s_from_ns(outcome.time_to_first_token_ns)
        ending["gen_ai.response.time_to_first_chunk"] = first_s
    return ending
