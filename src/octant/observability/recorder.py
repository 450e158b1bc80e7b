"""EventRecorder: the event sink of the server; keeps each request's events until it is settled.

    emit ... emit -> take (for the store) -> settled (metrics, and the collector where there is one)

Law: a request's buffer opens with `RequestReceived` and closes with `take`, in that order and once.
Buffers and their number are bounded, what does not fit is counted, never waited for. Metrics see
every event, also those that no trace has room for. One event loop; no lock.
"""

from collections.abc import Sequence

from octant.core.events import AnyEvent, RequestEvent, RequestReceived, RequestSettled
from octant.core.ids import RequestId
from octant.core.manifest import ExecutionManifest
from octant.observability.metrics import Metrics
from octant.ports.telemetry import SettledTrace, TraceSink

_REQUEST_LIMIT, _EVENT_LIMIT, _LATE = "request_limit", "event_limit", "late"


class EventRecorder:
    """An `EventSink` over `metrics`; `traces` is where settled requests go besides."""

    def __init__(
        self,
        metrics: Metrics,
        max_requests: int,
        max_events_per_request: int,
        traces: TraceSink | None = None,
    ) -> None:
        self._metrics = metrics
        self._traces = traces
        self._max_requests = max_requests
        self._max_events = max_events_per_request
        self._buffers: dict[RequestId, list[AnyEvent]] = {}
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Events missing from traces since the start."""
        return self._dropped

    def emit(self, event: AnyEvent) -> None:
        """Folds the event into the metrics and keeps it if it belongs to an open request."""
        self._metrics.fold(event)
        if isinstance(event, RequestReceived) and len(self._buffers) < self._max_requests:
            self._buffers[event.request_id] = [event]
        elif isinstance(event, RequestEvent):
            self._keep(event)

    def take(self, request_id: RequestId) -> tuple[AnyEvent, ...]:
        """The request's events in order of arrival; its buffer is closed. Empty when unknown."""
        return tuple(self._buffers.pop(request_id, ()))

    def settled(
        self,
        event: RequestSettled,
        events: Sequence[AnyEvent],
        manifest: ExecutionManifest | None,
    ) -> None:
        """Folds a request's end into the metrics and offers its trace, whether stored or not.

        `events` are what `take` gave; empty when none were kept.
        """
        self.emit(event)
        if self._traces is not None and events:
            self._traces.offer(SettledTrace((*events, event), event.outcome, manifest))

    def check_integrity(self) -> None:
        """Raises AssertionError when a bound is broken or a buffer holds another's events."""
        assert len(self._buffers) <= self._max_requests
        for request_id, kept in self._buffers.items():
            assert 1 <= len(kept) <= self._max_events
            assert all(isinstance(e, RequestEvent) and e.request_id == request_id for e in kept)

    def _keep(self, event: AnyEvent) -> None:
        assert isinstance(event, RequestEvent)
        buffer = self._buffers.get(event.request_id)
        if buffer is not None and len(buffer) < self._max_events:
            buffer.append(event)
        elif buffer is not None:
            self._drop(_EVENT_LIMIT)
        elif isinstance(event, RequestReceived):
            self._drop(_REQUEST_LIMIT)
        elif not isinstance(event, RequestSettled):
            self._drop(_LATE)

    def _drop(self, reason: str) -> None:
        self._dropped += 1
        self._metrics.dropped(reason)
