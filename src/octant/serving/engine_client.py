"""EngineClient: the embedded engine as a Provider, whichever process runs it at the moment.

Law: each attempt handed in is answered by exactly one terminal item: by the engine, or by this
client when the engine is not there, is lost, or leaves. The supervisor alone moves the state; an
attempt that was left early is cancelled in the engine at once.
"""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from octant.core.failure import Failure, FailureKind
from octant.core.ids import RouteId
from octant.core.route import DeploymentState, RouteLoad
from octant.core.stage import Stage
from octant.core.stream import StreamItem
from octant.core.units import NS_PER_S
from octant.core.work import ModelWork
from octant.ports.executor import ExecutorFacts
from octant.ports.link import ServerLink
from octant.ports.provider import ProviderFacts
from octant.serving.messages import to_engine
from octant.serving.messages.from_engine import Progress, WorkOutput
from octant.serving.messages.to_engine import AttemptId, Cancel, Stop
from octant.serving.request_stream import RequestStream

_NO_PROGRESS = Progress(step=0, running=0, waiting=0, waiting_tokens={}, kv_usage=0.0)


class ClientSettings(NamedTuple):
    """Bounds. `max_outstanding` attempts are in the engine at most, queued ones included: as many
    as admission lets in. `max_buffered_tokens` is how far one reader may fall behind: a minute of a
    fast stream.
    """

    max_outstanding: int = 1_204
    max_buffered_tokens: int = 8192


class EngineClient:
    """Implements ports.provider.Provider. Belongs to one event loop."""

    def __init__(self, route: RouteId, artifact_digest: str, settings: ClientSettings) -> None:
        self.route = route
        self._artifact_digest = artifact_digest
        self._settings = settings
        self._streams: dict[AttemptId, RequestStream] = {}
        self._link: ServerLink | None = None
        self._facts: ProviderFacts | None = None
        self._engine_facts: ExecutorFacts | None = None
        self._state = DeploymentState.LOADING
        self._reason = ""
        self._retry_after_ns = NS_PER_S
        self._progress = _NO_PROGRESS

    # For the request path

    def facts(self) -> ProviderFacts | None:
        """None until a model has been loaded once."""
        return self._facts

    def load(self) -> RouteLoad:
        """As the engine last reported it, with what is on the way to it counted as waiting."""
        unstarted = [
            stream for stream in self._streams.values() if not stream.started and not stream.ended
        ]
        waiting_tokens = Counter(self._progress.waiting_tokens)
        for stream in unstarted:
            waiting_tokens[stream.profile] += stream.prompt_tokens
        return RouteLoad(
            state=self._state,
            reason=self._reason,
            running=self._progress.running,
            waiting=self._progress.waiting + len(unstarted),
            waiting_tokens_by_profile=dict(waiting_tokens),
            kv_usage=self._progress.kv_usage,
            retry_after_ns=None if self._state is DeploymentState.READY else self._retry_after_ns,
        )

    def generate(self, work: ModelWork) -> AbstractAsyncContextManager[AsyncIterator[StreamItem]]:
        """Starts the work; leaving the context frees what it holds in the engine."""
        return self._stream(work, DeploymentState.READY)

    def probe(self, work: ModelWork) -> AbstractAsyncContextManager[AsyncIterator[StreamItem]]:
        """As `generate`, while the engine still has to prove itself."""
        return self._stream(work, DeploymentState.PROBING)

    @asynccontextmanager
    async def _stream(
        self, work: ModelWork, during: DeploymentState
    ) -> AsyncGenerator[AsyncIterator[StreamItem]]:
        stream = RequestStream(work, self.route, self._settings.max_buffered_tokens)
        refusal = self._submit(work, stream, during)
        if refusal is not None:
            stream.fail(refusal)
        try:
            yield stream
        finally:
            self._leave(stream)

    def _submit(
        self, work: ModelWork, stream: RequestStream, during: DeploymentState
    ) -> Failure | None:
        if self._link is None or self._state is not during:
            return self._unavailable()
        if len(self._streams) >= self._settings.max_outstanding:
            return _full(len(self._streams))
        if stream.id in self._streams:
            return _internal("This attempt is being executed already.")
        try:
            payload = to_engine.encode(to_engine.generate(work))
        except OverflowError as error:
            return _internal(f"This request cannot be sent to the engine: {error}.")
        if not self._link.send(payload):
            return self._unreachable()
        self._streams[stream.id] = stream
        return None

    def _leave(self, stream: RequestStream) -> None:
        # An attempt refused as a duplicate must not take the first one with it.
        if self._streams.get(stream.id) is not stream:
            return
        del self._streams[stream.id]
        if not stream.ended:
            self._cancel(stream.id)

    def _cancel(self, attempt: AttemptId) -> None:
        if self._link is not None:
            # Unsent when the engine reads nothing; its next output for this attempt repeats it.
            self._link.send(to_engine.encode(Cancel(attempt.request_id, attempt.attempt)))

    def _unavailable(self) -> Failure:
        draining = self._state in (DeploymentState.DRAINING, DeploymentState.STOPPED)
        return Failure(
            kind=FailureKind.DRAINING if draining else FailureKind.ENGINE_UNAVAILABLE,
            stage=Stage.ROUTE,
            message=f"The engine takes no requests now: it is {self._state.value}"
            + (f" ({self._reason})" if self._reason else "")
            + ". Try again later.",
            retry_after_ns=self._retry_after_ns,
        )

    def _unreachable(self) -> Failure:
        """The link has room for all outstanding attempts, so nobody reads its other end."""
        return Failure(
            kind=FailureKind.ENGINE_UNAVAILABLE,
            stage=Stage.QUEUE,
            message="The engine cannot be reached; if it is lost, it is restarted. Try again.",
            retry_after_ns=self._retry_after_ns,
        )

    # For the supervisor and whoever tells how the engine is

    @property
    def engine_facts(self) -> ExecutorFacts | None:
        """What the last engine said of itself, None until one has loaded."""
        return self._engine_facts

    @property
    def outstanding(self) -> int:
        """Attempts that still wait for their end."""
        return sum(not stream.ended for stream in self._streams.values())

    def move(self, state: DeploymentState, reason: str, retry_after_ns: int) -> None:
        """Sets the state; `retry_after_ns` is what refused callers are told."""
        self._state = state
        self._reason = reason
        self._retry_after_ns = retry_after_ns

    def attach(self, link: ServerLink, facts: ExecutorFacts) -> None:
        """An engine is loaded at the other end of `link`."""
        self._link = link
        self._engine_facts = facts
        self._facts = ProviderFacts(
            artifact_digest=self._artifact_digest,
            engine=facts.engine,
            engine_version=facts.engine_version,
            weight_precision=facts.weight_precision,
            kv_precision=facts.kv_precision,
            max_context=facts.max_context,
            device=facts.device,
            flags=facts.flags,
            hardware=facts.hardware,
        )

    def detach(self, failure: Failure) -> None:
        """The engine is gone: all its attempts end with `failure`."""
        self._link = None
        self._progress = _NO_PROGRESS
        for stream in self._streams.values():
            stream.fail(failure)

    def take(self, progress: Progress) -> None:
        """Passes on what a step produced."""
        self._progress = progress
        for output in progress.outputs:
            self._deliver(output)

    def stop_engine(self) -> None:
        """Tells the engine to leave."""
        if self._link is not None:
            self._link.send(to_engine.encode(Stop()))

    def _deliver(self, output: WorkOutput) -> None:
        attempt = AttemptId(output.request_id, output.attempt)
        stream = self._streams.get(attempt)
        if stream is not None:
            stream.put(output)
        wanted = stream is not None and not stream.ended
        if not wanted and output.usage is None:
            self._cancel(attempt)


def _full(outstanding: int) -> Failure:
    return Failure(
        kind=FailureKind.CAPACITY_EXHAUSTED,
        stage=Stage.QUEUE,
        message="The engine has as many requests as it may hold. Try again later.",
        retry_after_ns=NS_PER_S,
        detail={"outstanding": outstanding},
    )


def _internal(message: str) -> Failure:
    return Failure(
        kind=FailureKind.INTERNAL_ERROR,
        stage=Stage.QUEUE,
        message=f"{message} Report it with the request id.",
    )
