"""Engine to server: what an engine process reports."""

import msgspec

from octant.core.events import AnyEvent
from octant.core.failure import Failure
from octant.core.ids import RequestId
from octant.core.stream import ChoiceFinished, TextDelta, Usage
from octant.ports.executor import ExecutorFacts


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Loaded, warmed and probed; work may come."""

    facts: ExecutorFacts
    artifact_digest: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The engine could not load its model and is about to leave."""

    failure: Failure


class WorkOutput(msgspec.Struct, frozen=True, array_like=True):
    """What one step produced for one attempt, in order.

    `usage` is set when every choice has finished; `failure` when the attempt failed instead.
    """

    request_id: RequestId
    attempt: int
    started: bool
    deltas: tuple[TextDelta, ...] = ()
    finished: tuple[ChoiceFinished, ...] = ()
    usage: Usage | None = None
    failure: Failure | None = None


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """The engine's pulse: sent after each step and at least every second while idle.

    `step` grows with every executed step; a supervisor that sees work outstanding and no growth
    concludes that the engine hangs.
    """

    step: int
    running: int
    waiting: int
    waiting_tokens: int
    kv_usage: float
    outputs: tuple[WorkOutput, ...] = ()
    events: tuple[AnyEvent, ...] = ()


FromEngine = Ready | Refused | Progress

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(FromEngine)


def encode(message: FromEngine) -> bytes:
    """One frame."""
    return _ENCODER.encode(message)


def decode(payload: bytes) -> FromEngine:
    """Raises msgspec.DecodeError or msgspec.ValidationError on anything else than `encode`'s."""
    return _DECODER.decode(payload)
