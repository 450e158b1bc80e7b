"""Server to engine: what an engine process is told."""

import msgspec

from octant.core.ids import RequestId
from octant.core.work import ModelWork


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """Take this work on; answers name its request id and attempt."""

    work: ModelWork


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Nobody waits for this attempt any more; free what it holds before the next step."""

    request_id: RequestId
    attempt: int


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Leave: no work is outstanding, or nobody wants it."""


ToEngine = Generate | Cancel | Stop

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ToEngine)


def encode(message: ToEngine) -> bytes:
    """One frame."""
    return _ENCODER.encode(message)


def decode(payload: bytes) -> ToEngine:
    """Raises msgspec.DecodeError or msgspec.ValidationError on anything else than `encode`'s."""
    return _DECODER.decode(payload)
