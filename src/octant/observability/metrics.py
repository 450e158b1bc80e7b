"""Metrics: one fold from events to the figures that Prometheus reads.

Law: every event type has exactly one place here. The registry belongs to this object; the
process-wide one of prometheus-client is never touched, and nothing here opens a port or starts a
thread. Figures that concern money and tokens come from settled outcomes, so they equal the ledger.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import CollectorRegistry

from octant.core import events
from octant.core.ids import RouteId
from octant.core.limits import Objective, Profile
from octant.observability import catalogue
from octant.observability.engine_metrics import EngineMetrics
from octant.observability.request_metrics import RequestMetrics
from octant.observability.series import BoundedLabel, Labels, MetricSpec, SeriesTable
from octant.ports.telemetry import TraceSink


class MetricsLimits(NamedTuple):
    """Bounds on what callers can make grow. A tenant has 4 series, and 4 more for each model."""

    max_tenants: int = 100
    max_open_requests: int = 20_000


DEFAULT_LIMITS = MetricsLimits()
NO_OBJECTIVES: Mapping[Profile, Objective] = MappingProxyType({})


class Exposition(NamedTuple):
    """A response body and its content type."""

    body: bytes
    content_type: str


class Metrics:
    """Folds events one by one; `render` can be called at any time between two of them."""

    def __init__(
        self,
        *,
        version: str,
        limits: MetricsLimits = DEFAULT_LIMITS,
        objectives: Mapping[Profile, Objective] = NO_OBJECTIVES,
    ) -> None:
        self._series = SeriesTable(catalogue.CATALOGUE)
        self._route_models: dict[RouteId, str] = {}
        self._requests = RequestMetrics(
            self._series,
            BoundedLabel(limits.max_tenants),
            self._route_models,
            limits.max_open_requests,
            objectives,
        )
        self._engines = EngineMetrics(self._series, self._route_models)
        self._traces: TraceSink | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._series)
        self._series.set_to(catalogue.BUILD_INFO, (version,), 1)
        self._folds = self._fold_by_type()

    def name_route(self, route: RouteId, model: str) -> None:
        """Says which model a route serves, so that its engine's figures carry the model's name."""
        self._route_models[route] = model

    def fold(self, event: events.AnyEvent) -> None:
        """Takes one event into account."""
        self._folds[type(event)](event)

    def dropped(self, reason: str, count: int = 1) -> None:
        """Counts events that are missing from traces (OB8)."""
        self._series.add(catalogue.EVENTS_DROPPED, (reason,), count)

    def follow(self, traces: TraceSink) -> None:
        """Shows what a collector took and what was lost on the way to it (OB8)."""
        self._traces = traces

    def value(self, spec: MetricSpec, *labels: str) -> float:
        """Present value of one series; of a histogram the number of observations."""
        return self._series.value(spec, Labels(labels))

    def render(self) -> Exposition:
        """All metrics in Prometheus text format."""
        if self._traces is not None:
            totals = self._traces.totals()
            self._series.set_to(catalogue.TELEMETRY_SENT, (), totals.sent)
            for reason, count in totals.lost.items():
                self._series.set_to(catalogue.TELEMETRY_LOST, (reason,), count)
        return Exposition(generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4)

    def check_integrity(self) -> None:
        """Raises AssertionError when series, books or gauges contradict each other."""
        self._series.check_integrity()
        self._requests.check_integrity()

    def _fold_by_type(self) -> Mapping[type, Callable[[Any], None]]:
        requests, engines = self._requests, self._engines
        return {
            events.RequestReceived: requests.received,
            events.RequestRefused: self._refused,
            events.RequestAdmitted: requests.admitted,
            events.PolicyDecided: requests.moved_on,
            events.SessionLoaded: requests.moved_on,
            events.EvidenceSelected: requests.moved_on,
            events.ContextAssembled: requests.moved_on,
            events.RouteDecided: self._routed,
            events.AttemptStarted: requests.attempted,
            events.AttemptFailed: requests.attempt_failed,
            events.ToolStarted: requests.tool_started,
            events.ToolFinished: requests.tool_finished,
            events.OutputChecked: requests.moved_on,
            events.SequenceScheduled: requests.scheduled,
            events.SequencePreempted: self._preempted,
            events.FirstToken: requests.first_token,
            events.SequenceFinished: requests.finished,
            events.RequestSettled: requests.settled,
            events.StepExecuted: engines.step,
            events.EngineLoadChanged: engines.load,
            events.EngineStateChanged: engines.state,
            events.BreakerChanged: engines.breaker,
        }

    def _refused(self, event: events.RequestRefused) -> None:
        self._requests.failed(event.failure, refused=True)

    def _routed(self, event: events.RouteDecided) -> None:
        self._requests.routed(event)
        chosen = event.decision.chosen
        self.name_route(chosen.id, chosen.model)

    def _preempted(self, event: events.SequencePreempted) -> None:
        route = self._requests.route_of(event.request_id)
        if route is not None:
            self._engines.preempted(event, route)
