"""KnownAnswer: the request that an engine answers rightly before it is given any other (LC3).

Law: the question goes the whole way of a request: link, scheduler, executor, sampler and text. It
belongs to no caller, so nothing of it is counted as a request.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from octant.core.content import TokenPrompt
from octant.core.ids import RequestId, TenantId
from octant.core.limits import Profile
from octant.core.sampling import Sampling
from octant.core.stream import Broken, StreamItem, TextDelta
from octant.core.work import ModelWork

PROBE_REQUEST = RequestId("req_probe")

_PROBE_TENANT = TenantId("octant")
# The supervisor's own watch ends a probe that hangs.
_NO_DEADLINE_NS = (1 << 63) - 1
_SHOWN_CHARS = 200


class KnownAnswer(NamedTuple):
    """A prompt as token ids and the text that greedy decoding must give, white space around it
    aside."""

    prompt: tuple[int, ...]
    expect: str
    max_tokens: int


class Prober(Protocol):
    """What answers a probe; `serving.engine_client.EngineClient` in production."""

    def probe(self, work: ModelWork) -> AbstractAsyncContextManager[AsyncIterator[StreamItem]]:
        """As `Provider.generate`, before the route is ready."""
        ...


async def what_is_wrong(known: KnownAnswer, engine: Prober) -> str | None:
    """Asks; None when the answer is the known one, otherwise what came instead."""
    said: list[str] = []
    async with engine.probe(_work(known)) as items:
        async for item in items:
            if isinstance(item, TextDelta):
                said.append(item.text)
            elif isinstance(item, Broken):
                return f"the probe ended with: {item.failure.message}"
    answer = "".join(said).strip()
    if answer == known.expect.strip():
        return None
    wanted = known.expect.strip()[:_SHOWN_CHARS]
    return f"it answered {answer[:_SHOWN_CHARS]!r} where {wanted!r} is known to be right"


def _work(known: KnownAnswer) -> ModelWork:
    return ModelWork(
        request_id=PROBE_REQUEST,
        attempt=1,
        tenant=_PROBE_TENANT,
        profile=Profile.CRITICAL,
        cache_salt=f"{_PROBE_TENANT}/probe",
        input=TokenPrompt(tokens=known.prompt),
        prompt_tokens=known.prompt,
        sampling=Sampling(max_tokens=known.max_tokens, temperature=0.0),
        seed=0,
        received_ns=0,
        deadline_ns=_NO_DEADLINE_NS,
    )
