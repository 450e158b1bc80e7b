"""Engine metrics: the part of the metrics that follows engines rather than requests.

Law: an engine's gauges say what it last reported to hold; an engine that is not ready has none of
its former load.
"""

from octant.core.events import (
    BreakerChanged,
    EngineLoadChanged,
    EngineStateChanged,
    SequencePreempted,
    StepExecuted,
)
from octant.core.ids import RouteId
from octant.core.route import BreakerState, DeploymentState
from octant.core.units import s_from_ns
from octant.observability import catalogue
from octant.observability.series import SeriesTable


class EngineMetrics:
    """Folds the events of engines. `models` names the model that a route serves, where known."""

    def __init__(self, series: SeriesTable, models: dict[RouteId, str]) -> None:
        self._series = series
        self._models = models
        self._last_step_ns: dict[RouteId, int] = {}

    def step(self, event: StepExecuted) -> None:
        """One engine step: batch, tokens, durations."""
        series, engine = self._series, (str(event.route),)
        labels = self._labels(event.route)
        series.observe(catalogue.STEP_TIME, engine, s_from_ns(event.duration_ns))
        series.observe(catalogue.STEP_EXECUTOR_TIME, engine, s_from_ns(event.executor_ns))
        series.observe(catalogue.STEP_SEQUENCES, engine, event.sequences)
        tokens = event.prefill_tokens + event.decode_tokens
        series.observe(catalogue.ITERATION_TOKENS, labels, tokens)
        self._observe_intervals(event, labels)

    def load(self, event: EngineLoadChanged) -> None:
        """What the engine holds; once nothing runs, the next step starts a new row of tokens."""
        if not event.running:
            self._last_step_ns.pop(event.route, None)
        self._show_load(
            event.route, event.running, event.waiting, event.kv_blocks_used, event.kv_blocks_total
        )

    def state(self, event: EngineStateChanged) -> None:
        """A deployment's state; leaving READY clears the load that its engine last reported."""
        engine = str(event.route)
        for state in DeploymentState:
            self._series.set_to(
                catalogue.ENGINE_STATE, (engine, state.value), float(state is event.state)
            )
        self._series.set_to(catalogue.ENGINE_RESTARTS, (engine,), event.restarts)
        if event.state not in (DeploymentState.READY, DeploymentState.DRAINING):
            self._last_step_ns.pop(event.route, None)
            self._show_load(event.route, 0, 0, 0, 0)

    def breaker(self, event: BreakerChanged) -> None:
        """A route's breaker moved."""
        route = str(event.route)
        for state in BreakerState:
            self._series.set_to(
                catalogue.BREAKER_STATE, (route, state.value), float(state is event.state)
            )
        if event.state is BreakerState.OPEN:
            self._series.add(catalogue.BREAKER_OPENINGS, (route,))

    def preempted(self, event: SequencePreempted, route: RouteId) -> None:
        """A sequence of a request on `route` gave its blocks back."""
        self._series.add(catalogue.PREEMPTIONS, self._labels(route))

    def _observe_intervals(self, event: StepExecuted, labels: tuple[str, str]) -> None:
        """A step that follows an idle engine starts a new row: its gap was nobody's waiting."""
        last_ns = self._last_step_ns.get(event.route)
        if last_ns is not None and event.decode_tokens:
            interval_s = s_from_ns(max(0, event.at_ns - last_ns))
            self._series.observe(
                catalogue.INTER_TOKEN_LATENCY, labels, interval_s, event.decode_tokens
            )
        self._last_step_ns[event.route] = event.at_ns

    def _show_load(self, route: RouteId, running: int, waiting: int, used: int, total: int) -> None:
        series, labels, engine = self._series, self._labels(route), str(route)
        series.set_to(catalogue.RUNNING, labels, running)
        series.set_to(catalogue.WAITING, labels, waiting)
        series.set_to(catalogue.KV_USAGE, labels, used / total if total else 0.0)
        series.set_to(catalogue.KV_BLOCKS, (engine, "used"), used)
        series.set_to(catalogue.KV_BLOCKS, (engine, "total"), total)

    def _labels(self, route: RouteId) -> tuple[str, str]:
        return (self._models.get(route, str(route)), str(route))
