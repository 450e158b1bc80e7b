"""The metrics of Octant: names, labels and buckets, as data.

Law: what is not listed here is not exposed, and what is listed is in `docs/observability.md`.
`gen_ai_*` follows OpenTelemetry's GenAI conventions in Prometheus spelling, `vllm:*` follows the
names and buckets of vLLM because dashboards and autoscalers are written for them, `octant_*` is
what neither covers.
"""

from octant.observability.series import Labels, MetricKind, MetricSpec

_COUNTER, _GAUGE, _HISTOGRAM = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

_OPERATION_BUCKETS = tuple(0.01 * 2**power for power in range(14))
_FIRST_TOKEN_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
)  # fmt: skip
_PER_TOKEN_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5,
)  # fmt: skip
_REQUEST_BUCKETS = (
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)  # fmt: skip
_TOKEN_COUNT_BUCKETS = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
_STEP_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

_GEN_AI: Labels = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_VLLM: Labels = ("model_name", "engine")

GEN_AI_REQUEST_DURATION = MetricSpec(
    "gen_ai_server_request_duration_seconds",
    _HISTOGRAM,
    (*_GEN_AI, "error_type"),
    "Time from reception to the end of a request; error_type is empty on success.",
    _OPERATION_BUCKETS,
)
GEN_AI_TIME_TO_FIRST_TOKEN = MetricSpec(
    "gen_ai_server_time_to_first_token_seconds",
    _HISTOGRAM,
    _GEN_AI,
    "Time from reception, queueing included, to the first token of a request.",
    _FIRST_TOKEN_BUCKETS,
)
GEN_AI_TIME_PER_OUTPUT_TOKEN = MetricSpec(
    "gen_ai_server_time_per_output_token_seconds",
    _HISTOGRAM,
    _GEN_AI,
    "Mean time per token after the first one, for each choice that finished.",
    _PER_TOKEN_BUCKETS,
)
GEN_AI_TOKEN_USAGE = MetricSpec(
    "gen_ai_client_token_usage",
    _HISTOGRAM,
    (*_GEN_AI, "gen_ai_token_type"),
    "Tokens of a request: input (prompt) or output (all choices together).",
    tuple(float(4**power) for power in range(14)),
)

GEN_AI_TOOL_DURATION = MetricSpec(
    "gen_ai_execute_tool_duration_seconds",
    _HISTOGRAM,
    ("gen_ai_tool_name", "error_type"),
    "Execution of one tool by Octant; error_type is empty on success.",
    _OPERATION_BUCKETS,
)
GEN_AI_AGENT_DURATION = MetricSpec(
    "gen_ai_invoke_agent_duration_seconds",
    _HISTOGRAM,
    ("gen_ai_provider_name", "gen_ai_request_model", "error_type"),
    "Time from reception to the end of a request that took several model calls.",
    tuple(0.1 * 2**power for power in range(13)),
)

RUNNING = MetricSpec(
    "vllm:num_requests_running",
    _GAUGE,
    _VLLM,
    "Sequences in the engine's batch, as the engine last reported.",
)
WAITING = MetricSpec(
    "vllm:num_requests_waiting",
    _GAUGE,
    _VLLM,
    "Sequences waiting for a place in the engine's batch, as the engine last reported.",
)
KV_USAGE = MetricSpec(
    "vllm:kv_cache_usage_perc",
    _GAUGE,
    _VLLM,
    "Used share of the KV blocks, 0 to 1, as the engine last reported.",
)
PREFIX_QUERIES = MetricSpec(
    "vllm:prefix_cache_queries",
    _COUNTER,
    _VLLM,
    "Prompt tokens looked up in the prefix cache, once for each scheduled choice.",
)
PREFIX_HITS = MetricSpec(
    "vllm:prefix_cache_hits",
    _COUNTER,
    _VLLM,
    "Prompt tokens found in the prefix cache, once for each scheduled choice.",
)
PREEMPTIONS = MetricSpec(
    "vllm:num_preemptions",
    _COUNTER,
    _VLLM,
    "Sequences that gave their KV blocks back to be recomputed later.",
)
PROMPT_TOKENS = MetricSpec(
    "vllm:prompt_tokens",
    _COUNTER,
    _VLLM,
    "Prompt tokens of settled requests; equals the ledger.",
)
PROMPT_TOKENS_CACHED = MetricSpec(
    "vllm:prompt_tokens_cached",
    _COUNTER,
    _VLLM,
    "Prompt tokens of settled requests that came from the prefix cache.",
)
GENERATION_TOKENS = MetricSpec(
    "vllm:generation_tokens",
    _COUNTER,
    _VLLM,
    "Generated tokens of settled requests; equals the ledger.",
)
REQUEST_SUCCESS = MetricSpec(
    "vllm:request_success",
    _COUNTER,
    (*_VLLM, "finished_reason"),
    "Requests that ended on a route: stop, length, tool_calls, abort (cancelled) or error.",
)
TIME_TO_FIRST_TOKEN = MetricSpec(
    "vllm:time_to_first_token_seconds",
    _HISTOGRAM,
    _VLLM,
    "Time from reception, queueing included, to the first token of a request.",
    (*_FIRST_TOKEN_BUCKETS, 20, 40, 80, 160, 640, 2560),
)
INTER_TOKEN_LATENCY = MetricSpec(
    "vllm:inter_token_latency_seconds",
    _HISTOGRAM,
    _VLLM,
    "Time between consecutive engine steps, once for each decoded token.",
    (*_PER_TOKEN_BUCKETS, 5, 7.5, 10, 20, 40, 80),
)
TIME_PER_OUTPUT_TOKEN = MetricSpec(
    "vllm:request_time_per_output_token_seconds",
    _HISTOGRAM,
    _VLLM,
    "Mean time per token after the first one, for each choice that finished.",
    (*_PER_TOKEN_BUCKETS, 5, 7.5, 10, 20, 40, 80),
)
E2E_LATENCY = MetricSpec(
    "vllm:e2e_request_latency_seconds",
    _HISTOGRAM,
    _VLLM,
    "Time from reception to the end of a completed request.",
    _REQUEST_BUCKETS,
)
QUEUE_TIME = MetricSpec(
    "vllm:request_queue_time_seconds",
    _HISTOGRAM,
    _VLLM,
    "Time from the hand-over to a route until the first tokens entered a step.",
    _REQUEST_BUCKETS,
)
INFERENCE_TIME = MetricSpec(
    "vllm:request_inference_time_seconds",
    _HISTOGRAM,
    _VLLM,
    "Time from the first scheduled token to the last finished choice.",
    _REQUEST_BUCKETS,
)
PREFILL_TIME = MetricSpec(
    "vllm:request_prefill_time_seconds",
    _HISTOGRAM,
    _VLLM,
    "Time from the first scheduled token to the first generated one.",
    _REQUEST_BUCKETS,
)
DECODE_TIME = MetricSpec(
    "vllm:request_decode_time_seconds",
    _HISTOGRAM,
    _VLLM,
    "Time from the first generated token to the last finished choice.",
    _REQUEST_BUCKETS,
)
REQUEST_PROMPT_TOKENS = MetricSpec(
    "vllm:request_prompt_tokens",
    _HISTOGRAM,
    _VLLM,
    "Prompt tokens of one settled request.",
    _TOKEN_COUNT_BUCKETS,
)
REQUEST_GENERATION_TOKENS = MetricSpec(
    "vllm:request_generation_tokens",
    _HISTOGRAM,
    _VLLM,
    "Generated tokens of one settled request, all choices together.",
    _TOKEN_COUNT_BUCKETS,
)
ITERATION_TOKENS = MetricSpec(
    "vllm:iteration_tokens_total",
    _HISTOGRAM,
    _VLLM,
    "Tokens computed in one engine step, prefill and decode together.",
    (1.0, *(float(2**power) for power in range(3, 15))),
)

REQUESTS = MetricSpec(
    "octant_requests",
    _COUNTER,
    ("model_name", "profile", "status"),
    "Settled requests by how they ended: completed, failed, partial or cancelled.",
)
OBJECTIVES = MetricSpec(
    "octant_objective_requests",
    _COUNTER,
    ("profile", "objective", "kept"),
    "Settled requests judged by their profile's objectives (ttft, tpot, total); kept is true or "
    "false, and false too for what failed through Octant or a provider.",
)
IN_FLIGHT = MetricSpec(
    "octant_requests_in_flight",
    _GAUGE,
    ("profile",),
    "Requests received and not yet settled.",
)
FAILURES = MetricSpec(
    "octant_failures",
    _COUNTER,
    ("kind", "failure_class", "stage", "blame"),
    "Failures that callers were told of, by the row of the failure table.",
)
REFUSALS = MetricSpec(
    "octant_refusals",
    _COUNTER,
    ("kind", "stage"),
    "Requests refused before any model work.",
)
ATTEMPT_FAILURES = MetricSpec(
    "octant_attempt_failures",
    _COUNTER,
    ("kind", "engine"),
    "Attempts that failed, whether or not another one then succeeded.",
)
TOOL_CALLS = MetricSpec(
    "octant_tool_calls",
    _COUNTER,
    ("tool", "status", "side_effect"),
    "Proposed calls of Octant's tools by what became of them; a tool that never ran is `other`.",
)
STAGE_TIME = MetricSpec(
    "octant_stage_seconds",
    _HISTOGRAM,
    ("stage",),
    "Time of one visit to a stage outside of engines.",
    (0.0001, 0.0002, 0.0005, *_STEP_BUCKETS),
)
STEP_TIME = MetricSpec(
    "octant_step_seconds",
    _HISTOGRAM,
    ("engine",),
    "Duration of one engine step, planning and sampling included.",
    _STEP_BUCKETS,
)
STEP_EXECUTOR_TIME = MetricSpec(
    "octant_step_executor_seconds",
    _HISTOGRAM,
    ("engine",),
    "The executor's part of one engine step.",
    _STEP_BUCKETS,
)
STEP_SEQUENCES = MetricSpec(
    "octant_step_sequences",
    _HISTOGRAM,
    ("engine",),
    "Sequences computed together in one engine step (batch size).",
    (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
)
KV_BLOCKS = MetricSpec(
    "octant_kv_blocks",
    _GAUGE,
    ("engine", "state"),
    "KV blocks, used and total, as the engine last reported.",
)
ENGINE_STATE = MetricSpec(
    "octant_engine_state",
    _GAUGE,
    ("engine", "state"),
    "1 for the state in which a deployment is, 0 for the others.",
)
ENGINE_RESTARTS = MetricSpec(
    "octant_engine_restarts",
    _COUNTER,
    ("engine",),
    "Restarts of an engine process after a crash or hang.",
)
BREAKER_STATE = MetricSpec(
    "octant_route_breaker_state",
    _GAUGE,
    ("route", "state"),
    "1 for the state in which a route's breaker is (closed, open, half_open), 0 for the others.",
)
BREAKER_OPENINGS = MetricSpec(
    "octant_route_breaker_openings",
    _COUNTER,
    ("route",),
    "How often a route's breaker opened.",
)
TENANT_REQUESTS = MetricSpec(
    "octant_tenant_requests",
    _COUNTER,
    ("tenant", "status"),
    "Settled requests of a tenant; tenants beyond the bound are `other`.",
)
TOKENS = MetricSpec(
    "octant_tokens",
    _COUNTER,
    ("tenant", "model", "token_type"),
    "Settled tokens: input, cached (part of input) or output; equals the ledger.",
)
COST = MetricSpec(
    "octant_cost_nano_usd",
    _COUNTER,
    ("tenant", "model"),
    "Settled cost in nano-USD, an integer; equals the ledger.",
)
SETTLE_FAILURES = MetricSpec(
    "octant_settle_failures",
    _COUNTER,
    (),
    "Requests whose outcome could not be stored.",
)
EVENTS_DROPPED = MetricSpec(
    "octant_events_dropped",
    _COUNTER,
    ("reason",),
    "Events lost to a trace: request_limit, event_limit (bounds reached) or late.",
)
TELEMETRY_LOST = MetricSpec(
    "octant_telemetry_lost",
    _COUNTER,
    ("reason",),
    "Sampled traces that no collector got: queue_full, export_failed, unmappable or shutdown.",
)
TELEMETRY_SENT = MetricSpec(
    "octant_telemetry_sent",
    _COUNTER,
    (),
    "Sampled traces that the collector took.",
)
BUILD_INFO = MetricSpec("octant_build_info", _GAUGE, ("version",), "Always 1.")

# Collected from the names above, so that a metric cannot be defined and then forgotten here.
CATALOGUE: tuple[MetricSpec, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, MetricSpec)
)
