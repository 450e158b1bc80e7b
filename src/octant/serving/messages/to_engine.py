"""Server to engine: what an engine process is told."""

from typing import Any, NamedTuple, cast

import msgspec

from octant.core.ids import RequestId, TenantId
from octant.core.limits import Profile
from octant.core.sampling import Sampling
from octant.core.work import ModelWork


class AttemptId(NamedTuple):
    """One attempt at one request: the name of a piece of work on both sides."""

    request_id: RequestId
    attempt: int


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """Take this work on. It is a `ModelWork` without its text, which an engine has no use for."""

    request_id: RequestId
    attempt: int
    tenant: TenantId
    profile: Profile
    cache_salt: str
    prompt_tokens: tuple[int, ...]
    sampling: Sampling
    seed: int
    received_ns: int
    deadline_ns: int

    @property
    def id(self) -> AttemptId:
        """What answers to this work are addressed to."""
        return AttemptId(self.request_id, self.attempt)


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Nobody waits for this attempt any more; free what it holds before the next step."""

    request_id: RequestId
    attempt: int


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Leave: no work is outstanding, or nobody wants it."""


ToEngine = Generate | Cancel | Stop

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ToEngine)


def generate(work: ModelWork) -> Generate:
    """The part of `work` that an engine needs."""
    return Generate(
        request_id=work.request_id,
        attempt=work.attempt,
        tenant=work.tenant,
        profile=work.profile,
        cache_salt=work.cache_salt,
        prompt_tokens=work.prompt_tokens,
        sampling=work.sampling,
        seed=work.seed,
        received_ns=work.received_ns,
        deadline_ns=work.deadline_ns,
    )


def encode(message: ToEngine) -> bytes:
    """One frame. Raises OverflowError for an integer beyond 64 bits."""
    return _ENCODER.encode(message)


def decode(payload: bytes) -> ToEngine:
    """Raises msgspec.DecodeError or msgspec.ValidationError on anything else than `encode`'s."""
    return _DECODER.decode(payload)


def sender(payload: bytes) -> AttemptId | None:
    """Whose work a frame carries that `decode` refuses, so that only this work fails."""
    try:
        fields = cast("dict[str, Any]", msgspec.msgpack.decode(payload, type=dict))
        return AttemptId(RequestId(str(fields["request_id"])), int(fields["attempt"]))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None
