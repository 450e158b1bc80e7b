"""OtlpTraces: settled requests to an OpenTelemetry collector, OTLP over HTTP.

    offer -> sampled? -> bounded queue -> one thread: fold, translate, send in batches

Law: no request waits for a collector or fails because of one. `offer` returns at once; a full
queue, a collector that refuses or is not there, and what is left at the end are counted as lost.
Implements ports.telemetry.TraceSink.
"""

import contextlib
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from octant.adapters.otel.settings import OtlpSettings
from octant.adapters.otel.translation import Translator
from octant.ports.telemetry import ExportedSpan, SettledTrace, TelemetryTotals

_log = logging.getLogger(__name__)

QUEUE_FULL, EXPORT_FAILED = "queue_full", "export_failed"
UNMAPPABLE, SHUTDOWN = "unmappable", "shutdown"
_REASONS = (QUEUE_FULL, EXPORT_FAILED, UNMAPPABLE, SHUTDOWN)

_SAMPLED_BITS = 64
# A retry that was cut short returns at once; a request under way has a time-out of its own.
_LAST_RETRY_S = 1.0


class OtlpTraces:
    """One collector. `spans_of` puts a settled request into OpenTelemetry's words."""

    def __init__(
        self, settings: OtlpSettings, spans_of: Callable[[SettledTrace], Sequence[ExportedSpan]]
    ) -> None:
        # Its words of each failed attempt would fill the log of a server whose collector is away.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._settings = settings
        self._spans_of = spans_of
        self._bound = round(settings.sample_ratio * (1 << _SAMPLED_BITS))
        self._translator = Translator(settings)
        self._exporter = OTLPSpanExporter(
            endpoint=settings.endpoint, headers=settings.headers, timeout=settings.timeout_s
        )
        self._queue: queue.Queue[SettledTrace] = queue.Queue(settings.max_waiting)
        self._sent = 0
        self._refused = 0
        self._lost: Counter[str] = Counter()
        self._reachable = True
        self._closing = threading.Event()
        # Not waited for when the process ends: what `close` could not send by then is lost.
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def offer(self, settled: SettledTrace) -> None:
        """Takes a trace of the sample on, or counts it as lost. Belongs to the event loop."""
        if int(settled.outcome.trace_id[-16:], 16) >= self._bound:
            return
        try:
            self._queue.put_nowait(settled)
        except queue.Full:
            self._refused += 1

    def totals(self) -> TelemetryTotals:
        """Counts so far."""
        # Named before they happen: an alarm on a series that is not there never rings.
        lost = {reason: self._lost[reason] for reason in _REASONS}
        return TelemetryTotals(self._sent, lost | {QUEUE_FULL: self._refused})

    def close(self) -> None:
        """Sends what waits, for `flush_s` at most; the rest is lost. Nothing is offered after."""
        self._closing.set()
        self._thread.join(self._settings.flush_s)
        # Closes the connections, and ends the pause before a retry where one is made just now.
        self._exporter.shutdown()
        self._thread.join(_LAST_RETRY_S)
        left = self._queue.qsize()
        if left:
            self._lost[SHUTDOWN] += left
        lost = sum(self.totals().lost.values())
        if lost:
            _log.warning("%d traces never reached the collector", lost)

    def _run(self) -> None:
        last = False
        while not last:
            last = self._closing.wait(self._settings.interval_s)
            while batch := self._batch():
                self._send(batch)

    def _batch(self) -> list[SettledTrace]:
        """What waits, up to one request's worth."""
        batch: list[SettledTrace] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._settings.max_batch:
                batch.append(self._queue.get_nowait())
        return batch

    def _send(self, batch: list[SettledTrace]) -> None:
        spans: list[ReadableSpan] = []
        mapped = 0
        for settled in batch:
            try:
                spans.extend(map(self._translator.translated, self._spans_of(settled)))
                mapped += 1
            except Exception:  # A trace that cannot be put into words costs itself, not the rest.
                _log.exception("the trace of %s cannot be exported", settled.outcome.request_id)
                self._lost[UNMAPPABLE] += 1
        if not spans:
            return
        if self._exporter.export(spans) is SpanExportResult.SUCCESS:
            self._sent += mapped
            self._say(reachable=True)
        else:
            self._lost[EXPORT_FAILED] += mapped
            self._say(reachable=False)

    def _say(self, *, reachable: bool) -> None:
        """Once for each change, however many traces it concerns."""
        if reachable != self._reachable:
            self._reachable = reachable
            state = "takes traces again" if reachable else "does not take traces; they are lost"
            _log.warning("the collector at %s %s", self._settings.endpoint, state)
