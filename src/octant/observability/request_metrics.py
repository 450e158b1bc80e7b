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
    EvidenceSelected,
    FirstToken,
    OutputChecked,
    PolicyDecided,
    RequestAdmitted,
    RequestReceived,
    RequestSettled,
    RouteDecided,
    SequenceFinished,
    SequenceScheduled,
    SessionLoaded,
    ToolFinished,
    ToolStarted,
)
from octant.core.failure import Failure
from octant.core.ids import RequestId, RouteId
from octant.core.limits import Objective, Profile
from octant.core.outcome import Outcome, OutcomeStatus
from octant.core.stage import Stage
from octant.core.units import s_from_ns
from octant.observability import catalogue
from octant.observability.naming import PROVIDER, operation_name, provider_name
from octant.observability.objectives import judge
from octant.observability.series import OTHER, BoundedLabel, MetricSpec, SeriesTable
from octant.observability.stages import closes

PathEvent = (
    PolicyDecided
    | RequestAdmitted
    | SessionLoaded
    | EvidenceSelected
    | ContextAssembled
    | RouteDecided
    | ToolStarted
    | ToolFinished
    | OutputChecked
)

_SUCCESS = ""
_ABORT, _ERROR = "abort", "error"


class _OpenRequest:
    """What is known of one request in flight; instants are monotonic nanoseconds."""

    __slots__ = (
        "attempt_ns",
        "finished_ns",
        "first_ns",
        "first_token_of",
        "first_token_seen",
        "in_engine",
        "mark_ns",
        "model",
        "operation",
        "profile",
        "provider",
        "received_ns",
        "route",
        "scheduled",
        "scheduled_ns",
        "steps",
        "tool_ns",
    )

    def __init__(self, event: RequestReceived) -> None:
        self.model = OTHER
        self.operation = operation_name(event.api)
        self.provider = PROVIDER
        self.profile = event.profile.value
        self.received_ns = self.mark_ns = event.at_ns
        self.route: RouteId | None = None
        self.first_token_seen = False
        self.steps = 0
        self.tool_ns: int | None = None
        self.begin_call(None)

    def begin_call(self, event: AttemptStarted | None) -> None:
        """What an engine reports from here on belongs to this attempt."""
        self.attempt_ns: int | None = None if event is None else event.at_ns
        self.in_engine = event is not None
        self.scheduled_ns: int | None = None
        self.first_ns: int | None = None
        self.finished_ns: int | None = None
        self.scheduled: set[int] = set()
        self.first_token_of: dict[int, int] = {}
        if event is not None:
            self.route = event.route
            self.steps = max(self.steps, event.step)

    @property
    def labels(self) -> tuple[str, str]:
        """`model_name` and `engine`."""
        return (self.model, str(self.route or ""))

    @property
    def gen_ai(self) -> tuple[str, str, str]:
        """Operation, provider and request model of the GenAI conventions."""
        return (self.operation, self.provider, self.model)


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
        self._tools: set[str] = set()

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
        self._end_stage(event)

    def moved_on(
        self,
        event: PolicyDecided | SessionLoaded | EvidenceSelected | ContextAssembled | OutputChecked,
    ) -> None:
        """Ends the stage that the event ends."""
        self._end_stage(event)

    def tool_started(self, event: ToolStarted) -> None:
        """Ends the authorization of a tool call; its execution begins."""
        self._end_stage(event)
        self._tools.add(event.tool)
        if (found := self._open.get(event.request_id)) is not None:
            found.tool_ns = event.at_ns

    def tool_finished(self, event: ToolFinished) -> None:
        """Counts a proposed call; only one that ran has a duration."""
        self._end_stage(event)
        outcome = event.outcome
        # Names of calls that never ran are the model's invention and must not become series.
        tool = outcome.tool if outcome.tool in self._tools else OTHER
        labels = (tool, outcome.status.value, outcome.side_effect.value)
        self._series.add(catalogue.TOOL_CALLS, labels)
        found = self._open.get(event.request_id)
        if found is not None and found.tool_ns is not None:
            error = outcome.failure.kind.value if outcome.failure else _SUCCESS
            elapsed_s = s_from_ns(max(0, event.at_ns - found.tool_ns))
            self._series.observe(catalogue.GEN_AI_TOOL_DURATION, (tool, error), elapsed_s)
            found.tool_ns = None

    def routed(self, event: RouteDecided) -> None:
        """Ends the route stage and any earlier call; from here on the request has a route and a
        verified model."""
        self._end_stage(event)
        if (found := self._open.get(event.request_id)) is not None:
            self._observe_call(found)
            found.begin_call(None)
            chosen = event.decision.chosen
            found.route, found.model = chosen.id, chosen.model
            found.provider = provider_name(chosen.engine)

    def attempted(self, event: AttemptStarted) -> None:
        """Queueing at a route begins."""
        if (found := self._open.get(event.request_id)) is not None:
            found.begin_call(event)

    def attempt_failed(self, event: AttemptFailed) -> None:
        """Counts a failed attempt, whatever becomes of the request."""
        kind = event.failure.kind.value
        self._series.add(catalogue.ATTEMPT_FAILURES, (kind, str(event.route)))
        if (found := self._open.get(event.request_id)) is not None:
            found.in_engine, found.mark_ns = False, event.at_ns

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
        found.first_ns = found.first_ns or event.at_ns
        if not found.first_token_seen:
            found.first_token_seen = True
            self._observe_first_token(found, event.at_ns - found.received_ns)

    def finished(self, event: SequenceFinished) -> None:
        """A choice left the engine; only finished ones tell a time per output token."""
        if (found := self._open.get(event.request_id)) is None:
            return
        found.finished_ns = found.mark_ns = event.at_ns
        found.in_engine = False
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
        tenant = self._tenants.of(outcome.tenant)
        self._series.add(catalogue.TENANT_REQUESTS, (tenant, outcome.status.value))
        if event.stored:
            self._charge(tenant, model, outcome)
        if found is not None:
            self._observe_gen_ai(found, outcome)
            if outcome.route is not None:
                self._observe_engine(found, outcome)
                if event.stored:
                    self._count_tokens(found, outcome)

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

    def _end_stage(self, event: PathEvent) -> None:
        """Observes the stage that `event` ends, unless an engine had the request until now."""
        stage = closes(event)
        found = self._open.get(event.request_id)
        if found is None or stage is None:
            return
        if not found.in_engine:
            if isinstance(event, ToolFinished) and found.tool_ns is None:
                stage = Stage.TOOL_AUTHORIZATION.value
            elapsed_s = s_from_ns(max(0, event.at_ns - found.mark_ns))
            self._series.observe(catalogue.STAGE_TIME, (stage,), elapsed_s)
        found.mark_ns, found.in_engine = event.at_ns, False

    def _observe_first_token(self, found: _OpenRequest, elapsed_ns: int) -> None:
        elapsed_s = s_from_ns(elapsed_ns)
        self._series.observe(catalogue.TIME_TO_FIRST_TOKEN, found.labels, elapsed_s)
        self._series.observe(catalogue.GEN_AI_TIME_TO_FIRST_TOKEN, found.gen_ai, elapsed_s)

    def _observe_gen_ai(self, found: _OpenRequest, outcome: Outcome) -> None:
        error = _SUCCESS if outcome.failure is None else outcome.failure.kind.value
        duration_s = s_from_ns(outcome.duration_ns)
        self._series.observe(catalogue.GEN_AI_REQUEST_DURATION, (*found.gen_ai, error), duration_s)
        if found.steps > 1:
            labels = (found.provider, found.model, error)
            self._series.observe(catalogue.GEN_AI_AGENT_DURATION, labels, duration_s)
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
        series.observe(catalogue.REQUEST_PROMPT_TOKENS, labels, usage.prompt_tokens)
        series.observe(catalogue.REQUEST_GENERATION_TOKENS, labels, usage.completion_tokens)
        series.add(catalogue.REQUEST_SUCCESS, (*labels, _finished_reason(outcome)))
        # Engines that Octant does not own report no FirstToken; their first output stands for it.
        if not found.first_token_seen and outcome.time_to_first_token_ns is not None:
            self._observe_first_token(found, outcome.time_to_first_token_ns)
        if outcome.status is OutcomeStatus.COMPLETED:
            series.observe(catalogue.E2E_LATENCY, labels, s_from_ns(outcome.duration_ns))
        self._observe_call(found)

    def _observe_call(self, found: _OpenRequest) -> None:
        """The engine's times of one model call, as far as it came."""
        self._span(catalogue.INFERENCE_TIME, found, found.scheduled_ns, found.finished_ns)
        self._span(catalogue.PREFILL_TIME, found, found.scheduled_ns, found.first_ns)
        self._span(catalogue.DECODE_TIME, found, found.first_ns, found.finished_ns)

    def _count_tokens(self, found: _OpenRequest, outcome: Outcome) -> None:
        """What the ledger has, by engine."""
        series, usage = self._series, outcome.usage
        labels = (found.model, str(outcome.route))
        series.add(catalogue.PROMPT_TOKENS, labels, usage.prompt_tokens)
        series.add(catalogue.PROMPT_TOKENS_CACHED, labels, usage.cached_tokens)
        series.add(catalogue.GENERATION_TOKENS, labels, usage.completion_tokens)

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

    def _charge(self, tenant: str, model: str, outcome: Outcome) -> None:
        """What the ledger has, by tenant and model: integers, added as integers."""
        series, usage = self._series, outcome.usage
        series.add(catalogue.TOKENS, (tenant, model, "input"), usage.prompt_tokens)
        series.add(catalogue.TOKENS, (tenant, model, "cached"), usage.cached_tokens)
        series.add(catalogue.TOKENS, (tenant, model, "output"), usage.completion_tokens)
        series.add(catalogue.COST, (tenant, model), outcome.cost_nano_usd)


def _finished_reason(outcome: Outcome) -> str:
    if outcome.status is OutcomeStatus.CANCELLED:
        return _ABORT
    if outcome.failure is not None or not outcome.finish_reasons:
        return _ERROR
    return outcome.finish_reasons[0].value
