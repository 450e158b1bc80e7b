"""Engine to server: what an engine process reports.

Reached*, then Ready and Progress*; Leaving last, where the process still can
"""

import msgspec

from octant.core.events import AnyEvent
from octant.core.failure import Failure
from octant.core.ids import RequestId
from octant.core.limits import Profile
from octant.core.route import DeploymentState
from octant.core.stream import ChoiceFinished, TextDelta
from octant.core.usage import Usage
from octant.ports.executor import ExecutorFacts


class Reached(msgspec.Struct, frozen=True, tag="reached"):
    """The engine entered a state on its way to READY."""

    state: DeploymentState


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Loaded, warmed and probed; work may come."""

    facts: ExecutorFacts


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """The engine cannot load its model or cannot go on, and ends its process now."""

    failure: Failure


class WorkOutput(msgspec.Struct, frozen=True, array_like=True):
    """What one step produced for one attempt, in order.

    `started` is set once, in the first output. `usage` is set in the last one: every choice has
    finished, or `failure` says why not.
    """

    request_id: RequestId
    attempt: int
    started: bool = False
    deltas: tuple[TextDelta, ...] = ()
    finished: tuple[ChoiceFinished, ...] = ()
    usage: Usage | None = None
    failure: Failure | None = None


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """The engine's pulse: sent after each step and at its pulse interval while idle.

    `step` grows with every executed step; a supervisor that sees work outstanding and no growth
    concludes that the engine hangs.
    """

    step: int
    running: int
    waiting: int
    waiting_tokens: dict[Profile, int]
    kv_usage: float
    outputs: tuple[WorkOutput, ...] = ()
    events: tuple[AnyEvent, ...] = ()


FromEngine = Reached | Ready | Leaving | Progress

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(FromEngine)


def encode(message: FromEngine) -> bytes:
    """One frame."""
    return _ENCODER.encode(message)


def decode(payload: bytes) -> FromEngine:
    """Raises msgspec.DecodeError or msgspec.ValidationError on anything else than `encode`'s."""
    return _DECODER.decode(payload)
