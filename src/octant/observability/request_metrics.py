"""Request metrics: the part of the metrics that follows single requests from reception to settling.

Law: a request is in the books from `RequestReceived` to `RequestSettled` and nowhere else; each of
its figures is observed at most once, so counts equal requests (or choices, where it says so). The
books are bounded: the oldest request leaves them when the bound is reached, and its later events
are then those of a stranger and change nothing but totals.
"""

from collections.abc import Mapping

from octant.core.events import (
    AttemptFailed,
    AttemptStarted,
    ContextAssembled,
    FirstToken,
    PolicyDecided,
    RequestAdmitted,
    RequestEvent,
    RequestReceived,
    RequestSettled,
    RouteDecided,
    SequenceFinished,
    SequenceScheduled,
)
from octant.core.failure import Failure
from octant.core.ids import RequestId, RouteId
from octant.core.limits import Objective, Profile
from octant.core.outcome import Outcome, OutcomeStatus
from octant.core.stage import Stage
from octant.core.units import s_from_ns
from octant.observability import catalogue
from octant.observability.naming import PROVIDER, operation_name
from octant.observability.objectives import judge
from octant.observability.series import OTHER, BoundedLabel, MetricSpec, SeriesTable

_SUCCESS = ""
_ABORT, _ERROR = "abort", "error"


class _OpenRequest:
    """What is known of one request in flight; instants are monotonic nanoseconds."""

    __slots__ = (
        "attempt_ns",
        "first_token_ns",
        "first_token_of",
        "finished_ns",
        "mark_ns",
        "model",
        "operation",
        "profile",
        "received_ns",
        "route",
        "scheduled",
        "scheduled_ns",
    )

    def __init__(self, event: RequestReceived) -> None:
        self.model = OTHER
        self.operation = operation_name(event.api)
        self.profile = event.profile.value
        self.received_ns = self.mark_ns = event.at_ns
        self.attempt_ns: int | None = None
        self.scheduled_ns: int | None = None
        self.first_token_ns: int | None = None
        self.finished_ns: int | None = None
        self.route: RouteId | None = None
        self.scheduled: set[int] = set()
        self.first_token_of: dict[int, int] = {}

    @property
    def labels(self) -> tuple[str, str]:
        """`model_name` and `engine`."""
        return (self.model, str(self.route or ""))

    @property
    def gen_ai(self) -> tuple[str, str, str]:
        """Operation, provider and request model of the GenAI conventions."""
        return (self.operation, PROVIDER, self.model)


class RequestMetrics:
    """Folds the events of requests.

    `models` names the model of each known route. Only those names become labels: what a caller
    asked for and nobody serves is `other`, or callers would choose our series.
    """

    def __init__(
        self,
        series: SeriesTable,
        tenants: BoundedLabel,
        models: Mapping[RouteId, str],
        max_open: int,
        objectives: Mapping[Profile, Objective],
    ) -> None:
        self._series = series
        self._tenants = tenants
        self._models = models
        self._max_open = max_open
        self._objectives = objectives
        self._open: dict[RequestId, _OpenRequest] = {}

    def route_of(self, request: RequestId) -> RouteId | None:
        """The route that a request in flight was handed to."""
        found = self._open.get(request)
        return None if found is None else found.route

    def received(self, event: RequestReceived) -> None:
        """Opens the request's books."""
        if len(self._open) >= self._max_open:
            self._close(next(iter(self._open)))
        self._open[event.request_id] = _OpenRequest(event)
        self._series.add(catalogue.IN_FLIGHT, (event.profile.value,))

    def admitted(self, event: RequestAdmitted) -> None:
        """Ends the admission stage."""
        self._end_stage(event, Stage.ADMISSION)

    def decided(self, event: PolicyDecided) -> None:
        """Ends the policy stage that the verdict belongs to; output is judged after decoding."""
        if event.stage == Stage.BOUNDARY:
            self._end_stage(event, Stage.BOUNDARY)

    def assembled(self, event: ContextAssembled) -> None:
        """Ends the context stage."""
        self._end_stage(event, Stage.CONTEXT)

    def routed(self, event: RouteDecided) -> None:
        """Ends the route stage; from here on the request has a route and a verified model."""
        self._end_stage(event, Stage.ROUTE)
        if (found := self._open.get(event.request_id)) is not None:
            found.route, found.model = event.decision.chosen.id, event.decision.chosen.model

    def attempted(self, event: AttemptStarted) -> None:
        """Queueing at a route begins."""
        if (found := self._open.get(event.request_id)) is not None:
            found.attempt_ns, found.route = event.at_ns, event.route

    def attempt_failed(self, event: AttemptFailed) -> None:
        """Counts a failed attempt, whatever becomes of the request."""
        kind = event.failure.kind.value
        self._series.add(catalogue.ATTEMPT_FAILURES, (kind, str(event.route)))

    def scheduled(self, event: SequenceScheduled) -> None:
        """Queueing ends with the first choice; the prefix cache is counted once for each choice."""
        found = self._open.get(event.request_id)
        if found is None or event.choice in found.scheduled:
            return
        found.scheduled.add(event.choice)
        self._series.add(catalogue.PREFIX_QUERIES, found.labels, event.prompt_tokens)
        self._series.add(catalogue.PREFIX_HITS, found.labels, event.cached_tokens)
        if found.scheduled_ns is None:
            found.scheduled_ns = event.at_ns
            handed_over_ns = found.received_ns if found.attempt_ns is None else found.attempt_ns
            self._span(catalogue.QUEUE_TIME, found, handed_over_ns, event.at_ns)

    def first_token(self, event: FirstToken) -> None:
        """TTFT counts from reception, and only the first token of all choices and attempts."""
        if (found := self._open.get(event.request_id)) is None:
            return
        found.first_token_of[event.choice] = event.at_ns
        if found.first_token_ns is None:
            found.first_token_ns = event.at_ns
            self._observe_first_token(found, event.at_ns - found.received_ns)

    def finished(self, event: SequenceFinished) -> None:
        """A choice left the engine; only finished ones tell a time per output token."""
        if (found := self._open.get(event.request_id)) is None:
            return
        found.finished_ns = event.at_ns
        first_ns = found.first_token_of.get(event.choice)
        if first_ns is None or event.reason is None or event.completion_tokens < 2:
            return
        per_token_s = s_from_ns(event.at_ns - first_ns) / (event.completion_tokens - 1)
        self._series.observe(catalogue.TIME_PER_OUTPUT_TOKEN, found.labels, per_token_s)
        self._series.observe(catalogue.GEN_AI_TIME_PER_OUTPUT_TOKEN, found.gen_ai, per_token_s)

    def settled(self, event: RequestSettled) -> None:
        """Closes the books with the outcome's own figures."""
        outcome, found = event.outcome, self._close(event.request_id)
        if not event.stored:
            self._series.add(catalogue.SETTLE_FAILURES, ())
        model = outcome.model if outcome.model in self._models.values() else OTHER
        self._series.add(catalogue.REQUESTS, (model, outcome.profile.value, outcome.status.value))
        if outcome.failure is not None:
            self.failed(outcome.failure, refused=outcome.attempts == 0)
        self._judge(outcome)
        self._charge_tenant(outcome)
        if found is not None:
            self._observe_gen_ai(found, outcome)
            if outcome.route is not None:
                self._observe_engine(found, outcome)

    def failed(self, failure: Failure, *, refused: bool) -> None:
        """Counts a failure that a caller was told of."""
        rule, kind, stage = failure.rule, failure.kind.value, failure.stage.value
        labels = (kind, rule.failure_class.value, stage, rule.blame.value)
        self._series.add(catalogue.FAILURES, labels)
        if refused:
            self._series.add(catalogue.REFUSALS, (kind, stage))

    def check_integrity(self) -> None:
        """Raises AssertionError when the books and the gauge of requests in flight disagree."""
        assert len(self._open) <= self._max_open
        by_profile: dict[str, int] = {}
        for found in self._open.values():
            by_profile[found.profile] = by_profile.get(found.profile, 0) + 1
        for profile, count in by_profile.items():
            assert self._series.value(catalogue.IN_FLIGHT, (profile,)) == count, profile

    def _close(self, request: RequestId) -> _OpenRequest | None:
        found = self._open.pop(request, None)
        if found is not None:
            self._series.add(catalogue.IN_FLIGHT, (found.profile,), -1)
        return found

    def _end_stage(self, event: RequestEvent, stage: Stage) -> None:
        if (found := self._open.get(event.request_id)) is not None:
            elapsed_s = s_from_ns(event.at_ns - found.mark_ns)
            self._series.observe(catalogue.STAGE_TIME, (stage.value,), elapsed_s)
            found.mark_ns = event.at_ns

    def _observe_first_token(self, found: _OpenRequest, elapsed_ns: int) -> None:
        elapsed_s = s_from_ns(elapsed_ns)
        self._series.observe(catalogue.TIME_TO_FIRST_TOKEN, found.labels, elapsed_s)
        self._series.observe(catalogue.GEN_AI_TIME_TO_FIRST_TOKEN, found.gen_ai, elapsed_s)

    def _observe_gen_ai(self, found: _OpenRequest, outcome: Outcome) -> None:
        error = _SUCCESS if outcome.failure is None else outcome.failure.kind.value
        duration_s = s_from_ns(outcome.duration_ns)
        self._series.observe(catalogue.GEN_AI_REQUEST_DURATION, (*found.gen_ai, error), duration_s)
        if outcome.route is not None:
            usage = outcome.usage
            for token_type, count in (
                ("input", usage.prompt_tokens),
                ("output", usage.completion_tokens),
            ):
                labels = (*found.gen_ai, token_type)
                self._series.observe(catalogue.GEN_AI_TOKEN_USAGE, labels, count)

    def _observe_engine(self, found: _OpenRequest, outcome: Outcome) -> None:
        series, usage = self._series, outcome.usage
        labels = (found.model, str(outcome.route))
        series.add(catalogue.PROMPT_TOKENS, labels, usage.prompt_tokens)
        series.add(catalogue.PROMPT_TOKENS_CACHED, labels, usage.cached_tokens)
        series.add(catalogue.GENERATION_TOKENS, labels, usage.completion_tokens)
        series.observe(catalogue.REQUEST_PROMPT_TOKENS, labels, usage.prompt_tokens)
        series.observe(catalogue.REQUEST_GENERATION_TOKENS, labels, usage.completion_tokens)
        series.add(catalogue.REQUEST_SUCCESS, (*labels, _finished_reason(outcome)))
        # Engines that Octant does not own report no FirstToken; their first output stands for it.
        if found.first_token_ns is None and outcome.time_to_first_token_ns is not None:
            self._observe_first_token(found, outcome.time_to_first_token_ns)
        if outcome.status is OutcomeStatus.COMPLETED:
            series.observe(catalogue.E2E_LATENCY, labels, s_from_ns(outcome.duration_ns))
        self._span(catalogue.INFERENCE_TIME, found, found.scheduled_ns, found.finished_ns)
        self._span(catalogue.PREFILL_TIME, found, found.scheduled_ns, found.first_token_ns)
        self._span(catalogue.DECODE_TIME, found, found.first_token_ns, found.finished_ns)

    def _span(
        self, spec: MetricSpec, found: _OpenRequest, start_ns: int | None, end_ns: int | None
    ) -> None:
        if start_ns is not None and end_ns is not None:
            self._series.observe(spec, found.labels, s_from_ns(max(0, end_ns - start_ns)))

    def _judge(self, outcome: Outcome) -> None:
        if (objective := self._objectives.get(outcome.profile)) is not None:
            for name, kept in judge(outcome, objective).items():
                labels = (outcome.profile.value, name, str(kept).lower())
                self._series.add(catalogue.OBJECTIVES, labels)

    def _charge_tenant(self, outcome: Outcome) -> None:
        tenant, usage = self._tenants.of(outcome.tenant), outcome.usage
        self._series.add(catalogue.TENANT_REQUESTS, (tenant, outcome.status.value))
        self._series.add(catalogue.TENANT_TOKENS, (tenant, "input"), usage.prompt_tokens)
        self._series.add(catalogue.TENANT_TOKENS, (tenant, "cached"), usage.cached_tokens)
        self._series.add(catalogue.TENANT_TOKENS, (tenant, "output"), usage.completion_tokens)
        self._series.add(catalogue.TENANT_COST, (tenant,), outcome.cost_nano_usd)


def _finished_reason(outcome: Outcome) -> str:
    if outcome.status is OutcomeStatus.CANCELLED:
        return _ABORT
    if outcome.failure is not None or not outcome.finish_reasons:
        return _ERROR
    return outcome.finish_reasons[0].value
