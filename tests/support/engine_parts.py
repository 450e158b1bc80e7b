"""Values and small parts that engine tests share."""

from collections import deque
from collections.abc import Iterable
from typing import Any

from octant.core.content import TextPrompt
from octant.core.events import AnyEvent
from octant.core.ids import RequestId, RouteId, TenantId
from octant.core.limits import Profile
from octant.core.sampling import Sampling
from octant.core.work import ModelWork
from octant.serving.messages import from_engine, to_engine
from octant.serving.messages.from_engine import FromEngine, Progress, WorkOutput
from octant.serving.messages.to_engine import ToEngine

ROUTE = RouteId("route-under-test")
FAR_NS = 1 << 62


def work(
    prompt: Iterable[int],
    name: str = "req_1",
    *,
    max_tokens: int | None = 200,
    deadline_ns: int = FAR_NS,
    seed: int = 7,
    attempt: int = 1,
    **sampling: Any,
) -> ModelWork:
    """Greedy unless `sampling` says otherwise."""
    return ModelWork(
        request_id=RequestId(name),
        attempt=attempt,
        tenant=TenantId("tenant"),
        profile=Profile.INTERACTIVE,
        cache_salt="tenant/",
        input=TextPrompt(text=""),
        prompt_tokens=tuple(prompt),
        sampling=Sampling(max_tokens=max_tokens, **({"temperature": 0.0} | sampling)),
        seed=seed,
        received_ns=0,
        deadline_ns=deadline_ns,
    )


class SetClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_ns = 1

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return self.now_ns

    async def sleep(self, duration_ns: int) -> None:
        self.now_ns += duration_ns


class FixedEntropy:
    """The same bytes every time."""

    def bytes(self, count: int) -> bytes:
        return b"\x80" * count


class EventList:
    """An EventSink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []

    def emit(self, event: AnyEvent) -> None:
        self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class MemoryLink:
    """An EngineLink without a process: what is told goes in, what is reported is kept."""

    def __init__(self) -> None:
        self.inbox: deque[bytes] = deque()
        self.reported: list[FromEngine] = []

    def tell(self, *messages: ToEngine) -> None:
        self.inbox.extend(map(to_engine.encode, messages))

    def send(self, payload: bytes) -> None:
        self.reported.append(from_engine.decode(payload))

    def receive(self, timeout_ms: int) -> bytes | None:
        return self.inbox.popleft() if self.inbox else None

    def close(self) -> None:
        self.inbox.clear()

    def progress(self) -> list[Progress]:
        return [message for message in self.reported if isinstance(message, Progress)]

    def outputs(self, name: str) -> list[WorkOutput]:
        return [
            output
            for progress in self.progress()
            for output in progress.outputs
            if output.request_id == name
        ]

    def events(self, kind: type[Any]) -> list[Any]:
        return [
            event
            for progress in self.progress()
            for event in progress.events
            if isinstance(event, kind)
        ]


def text_of(outputs: Iterable[WorkOutput], choice: int = 0) -> str:
    """The text of one choice."""
    return "".join(
        delta.text for output in outputs for delta in output.deltas if delta.choice == choice
    )
