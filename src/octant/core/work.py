"""ModelWork: one attempt at one request on one route, complete, ready to be executed."""

from octant.core.content import Input
from octant.core.envelope import RequestEnvelope
from octant.core.ids import RequestId, SpanId, TenantId, TraceId
from octant.core.limits import Profile
from octant.core.record import Record
from octant.core.sampling import Sampling


class PromptPackage(Record, frozen=True, kw_only=True):
    """The prompt as the model sees it. `digest` is over the token ids."""

    tokens: tuple[int, ...]
    digest: str
    max_tokens: int
    echo_text: str | None = None


class ModelWork(Record, frozen=True, kw_only=True):
    """What a provider is given. `sampling.max_tokens` is set and fits the route's context, unless
    the provider makes the prompt itself: then `prompt_tokens` is empty and it may be None.

    `cache_salt` separates prefix caches: two works share cached blocks only when it is equal.
    `seed` is always set, so that a replay draws the same tokens. `span_id` is the attempt's own,
    for engines that continue the trace.
    """

    request_id: RequestId
    attempt: int
    tenant: TenantId
    profile: Profile
    cache_salt: str
    input: Input
    prompt_tokens: tuple[int, ...]
    sampling: Sampling
    seed: int
    received_ns: int
    deadline_ns: int
    trace_id: TraceId = TraceId("")
    span_id: SpanId = SpanId("")


def cache_salt(envelope: RequestEnvelope) -> str:
    """Tenants never share cached blocks; a caller's own salt narrows sharing further (GW2)."""
    return f"{envelope.principal.tenant}/{envelope.cache_salt or ''}"
