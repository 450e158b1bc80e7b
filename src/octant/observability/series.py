"""Series: the values behind metrics, by label values, and their hand-over to prometheus-client.

Law: a series table belongs to one fold on one event loop, so it has no lock, and it knows exactly
the metrics of its catalogue. Values only change through `add`, `set_to` and `observe`; reading
never changes them. Weighted observations are why these are not prometheus-client's own
histograms: one engine step observes the same interval once for each running sequence.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

Labels = tuple[str, ...]

OTHER = "other"


class MetricKind(StrEnum):
    """How values of a metric combine over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricSpec(NamedTuple):
    """One metric. Counters are exposed as `name` + `_total`; `buckets` are upper bounds."""

    name: str
    kind: MetricKind
    labels: Labels
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def exposed_name(self) -> str:
        """The name as Prometheus sees it."""
        return f"{self.name}_total" if self.kind is MetricKind.COUNTER else self.name


class Histogram:
    """Counts per bucket, the last one for everything above the bounds."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.total = 0.0

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(self.counts)


class BoundedLabel:
    """Lets the first `limit` distinct values through and calls all later ones `other`.

    Labels such as tenants grow with use; without a bound they would grow our memory with it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """The label value to use for `value`."""
        if value in self._known:
            return value
        if len(self._known) >= self._limit:
            return OTHER
        self._known.add(value)
        return value


class SeriesTable(Collector):
    """All series of a catalogue. Raises KeyError for a metric that is not in it."""

    def __init__(self, catalogue: Iterable[MetricSpec]) -> None:
        self._specs = tuple(catalogue)
        self._scalars: dict[str, dict[Labels, float]] = {
            spec.name: {} for spec in self._specs if spec.kind is not MetricKind.HISTOGRAM
        }
        self._histograms: dict[str, dict[Labels, Histogram]] = {
            spec.name: {} for spec in self._specs if spec.kind is MetricKind.HISTOGRAM
        }

    def add(self, spec: MetricSpec, labels: Labels, amount: float = 1) -> None:
        """Adds to a counter or gauge; only a gauge takes a negative amount."""
        assert amount >= 0 or spec.kind is MetricKind.GAUGE, f"{spec.name} cannot fall"
        series = self._scalars[spec.name]
        series[labels] = series.get(labels, 0) + amount

    def set_to(self, spec: MetricSpec, labels: Labels, value: float) -> None:
        """Puts a gauge at `value`; a counter follows a total kept elsewhere and never falls."""
        series = self._scalars[spec.name]
        if spec.kind is MetricKind.COUNTER:
            value = max(value, series.get(labels, 0))
        series[labels] = value

    def observe(self, spec: MetricSpec, labels: Labels, value: float, times: int = 1) -> None:
        """Puts `value` into a histogram as if it had been observed `times` times."""
        series = self._histograms[spec.name]
        histogram = series.get(labels)
        if histogram is None:
            histogram = series[labels] = Histogram(len(spec.buckets))
        histogram.counts[bisect_left(spec.buckets, value)] += times
        histogram.total += value * times

    def value(self, spec: MetricSpec, labels: Labels) -> float:
        """Present value of a counter or gauge, or the number of observations of a histogram."""
        if spec.kind is MetricKind.HISTOGRAM:
            histogram = self._histograms[spec.name].get(labels)
            return 0 if histogram is None else histogram.count
        return self._scalars[spec.name].get(labels, 0)

    def collect(self) -> Iterator[Metric]:
        """Every metric of the catalogue in its order, also those without a value yet."""
        for spec in self._specs:
            yield self._family(spec)

    def check_integrity(self) -> None:
        """Raises AssertionError when a series does not fit its metric."""
        for spec in self._specs:
            scalars = self._scalars.get(spec.name, {})
            histograms = self._histograms.get(spec.name, {})
            for labels in (*scalars, *histograms):
                assert len(labels) == len(spec.labels), f"{spec.name} has labels {labels}"
            for histogram in histograms.values():
                assert len(histogram.counts) == len(spec.buckets) + 1, spec.name
                assert min(histogram.counts) >= 0, spec.name
            if spec.kind is MetricKind.COUNTER:
                assert min(scalars.values(), default=0) >= 0, spec.name

    def _family(self, spec: MetricSpec) -> Metric:
        if spec.kind is MetricKind.HISTOGRAM:
            return self._histogram_family(spec)
        kind = CounterMetricFamily if spec.kind is MetricKind.COUNTER else GaugeMetricFamily
        family = kind(spec.name, spec.help, labels=spec.labels)
        for labels, value in self._scalars[spec.name].items():
            family.add_metric(labels, value)
        return family

    def _histogram_family(self, spec: MetricSpec) -> Metric:
        family = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
        bounds = [str(float(bound)) for bound in spec.buckets] + ["+Inf"]
        for labels, histogram in self._histograms[spec.name].items():
            family.add_metric(labels, _cumulated(bounds, histogram.counts), histogram.total)
        return family


def _cumulated(bounds: list[str], counts: list[int]) -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    seen = 0
    for bound, count in zip(bounds, counts, strict=True):
        seen += count
        pairs.append((bound, float(seen)))
    return pairs
