"""From settings to what each layer takes. Pure, one function for each layer."""

from ipaddress import ip_address
from pathlib import Path

from msgspec.structs import replace

from octant.adapters.openvino.settings import OpenVinoSettings
from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.tools.settings import ToolSettings
from octant.admission.settings import AdmissionSettings
from octant.app.policy_file import policy_in_force
from octant.app.settings import Settings
from octant.compute.schedule import SchedulerSettings
from octant.core.deployment import Recipe
from octant.core.limits import Objective, Profile, QueueLimit
from octant.core.record import from_builtins, to_builtins
from octant.core.route import Price
from octant.core.units import NS_PER_MS, NanoUsd
from octant.gateway.authentication import KeyCacheSettings
from octant.gateway.settings import GatewaySettings
from octant.governance.governor import Governor
from octant.observability.metrics import MetricsLimits
from octant.orchestration.breaker import BreakerSettings
from octant.orchestration.execution import ExecutionSettings
from octant.orchestration.prompts import PromptSettings
from octant.orchestration.request_path import PathSettings
from octant.serving.engine_client import ClientSettings
from octant.serving.restart_policy import RestartSettings
from octant.serving.supervisor import SupervisorSettings


def gateway(settings: Settings) -> GatewaySettings:
    """Bounds of the edge; each profile's deadline stands with its objectives."""
    limits = settings.limits
    return GatewaySettings(
        max_connections=limits.max_connections,
        max_body_bytes=limits.max_body_bytes,
        max_header_bytes=limits.max_header_bytes,
        max_nesting=limits.max_nesting,
        max_messages=limits.max_messages,
        max_tools=limits.max_tools,
        max_choices=limits.max_choices,
        max_documents=limits.max_documents,
        max_steps=limits.max_steps,
        max_repairs=limits.max_repairs,
        max_listed_sessions=limits.max_listed_sessions,
        long_context_bytes=limits.long_context_bytes,
        header_read_timeout_ms=limits.header_read_timeout_ms,
        body_read_timeout_ms=limits.body_read_timeout_ms,
        discard_ms=limits.discard_ms,
        keep_alive_interval_ms=limits.keep_alive_interval_ms,
        slow_reader_timeout_ms=limits.slow_reader_timeout_ms,
        idle_timeout_ms=limits.idle_timeout_ms,
        overdue_grace_ms=limits.overdue_grace_ms,
        deadlines_ms={
            profile: getattr(settings.objectives, profile.value).deadline_ms for profile in Profile
        },
        draining_retry_after_ms=limits.draining_retry_after_ms,
        metrics_need_key=_metrics_need_key(settings),
    )


def key_cache(settings: Settings) -> KeyCacheSettings:
    """What authentication remembers."""
    limits = settings.limits
    return KeyCacheSettings(limits.key_cache_ms * NS_PER_MS, limits.key_cache_entries)


def _metrics_need_key(settings: Settings) -> bool:
    wanted = settings.observability.metrics_need_key
    if wanted is not None:
        return wanted
    try:
        return not ip_address(settings.server.host).is_loopback
    except ValueError:
        return settings.server.host != "localhost"


def admission(settings: Settings) -> AdmissionSettings:
    """Queues and the cost model; limits of tenants come with their keys."""
    section = settings.admission
    return AdmissionSettings(
        queues={
            profile: QueueLimit(max_inside=inside)
            for profile, inside in _max_inside(settings).items()
        },
        max_scopes=section.max_scopes,
        max_accounts=section.max_accounts,
        smoothing=section.smoothing,
        min_observations=section.min_observations,
        retry_floor_ns=section.retry_floor_ms * NS_PER_MS,
        retry_ceiling_ns=section.retry_ceiling_ms * NS_PER_MS,
    )


def _max_inside(settings: Settings) -> dict[Profile, int]:
    queues = settings.admission.queues
    return {profile: getattr(queues, profile.value).max_inside for profile in Profile}


def governor(settings: Settings) -> Governor:
    """Governance by the policy file. Raises Failed when the file cannot be enforced."""
    return Governor(policy_in_force(settings).document)


def request_path(settings: Settings) -> PathSettings:
    """What the request path decides by itself."""
    return PathSettings(
        assumed_output_tokens=settings.admission.assumed_output_tokens,
        offload_bytes=settings.limits.long_context_bytes,
    )


def execution(settings: Settings) -> ExecutionSettings:
    """How prompts are made, and how often a model call is tried."""
    assumed = settings.admission.assumed_output_tokens
    return ExecutionSettings(
        PromptSettings(assumed, settings.limits.long_context_bytes),
        max_attempts=settings.routing.max_attempts,
    )


def breakers(settings: Settings) -> BreakerSettings:
    """When a route is left alone, and for how long."""
    section = settings.routing
    return BreakerSettings(
        failures_in_row=section.breaker_failures,
        window=section.breaker_window,
        window_ns=section.breaker_window_ms * NS_PER_MS,
        failure_share=section.breaker_failure_percent / 100,
        first_pause_ns=section.breaker_first_pause_ms * NS_PER_MS,
        longest_pause_ns=section.breaker_longest_pause_ms * NS_PER_MS,
    )


def tools(settings: Settings) -> ToolSettings:
    """Octant's own tools and the bounds of their calls."""
    section = settings.tools
    database = section.lookup_database
    return ToolSettings(
        enabled=section.enabled,
        timeout_ns=section.timeout_ms * NS_PER_MS,
        max_concurrent=section.max_concurrent,
        max_waiting=section.max_waiting,
        max_result_bytes=section.max_result_bytes,
        memory_bytes=section.memory_bytes,
        require_isolation=section.require_isolation,
        lookup_database=Path(database).expanduser().absolute() if database else None,
        lookup_tables=section.lookup_tables,
    )


def store(settings: Settings) -> SqliteSettings:
    """The embedded store."""
    section = settings.store
    return SqliteSettings(
        path=settings.store_path,
        max_batch=section.max_batch,
        max_waiting=section.max_waiting,
        keep_traces=section.keep_traces,
        prune_chunk=section.prune_chunk,
        busy_timeout_ms=section.busy_timeout_ms,
        read_connections=section.read_connections,
    )


def metrics(settings: Settings) -> MetricsLimits:
    """Bounds on series and open requests."""
    section = settings.observability
    return MetricsLimits(
        max_tenants=section.max_tenants, max_open_requests=section.max_open_requests
    )


def objectives(settings: Settings) -> dict[Profile, Objective]:
    """What each workload profile promises."""
    sections = {profile: getattr(settings.objectives, profile.value) for profile in Profile}
    return {
        profile: Objective(
            ttft_ms=section.ttft_ms, tpot_ms=section.tpot_ms, total_ms=section.total_ms
        )
        for profile, section in sections.items()
    }


def executor(settings: Settings) -> OpenVinoSettings:
    """How the embedded engine loads its model."""
    section = settings.engine
    return OpenVinoSettings(
        kv_precision=section.kv_precision,
        inference_precision=section.inference_precision,
        kv_bytes=section.kv_bytes,
        threads=section.threads,
        dynamic_quantization_group_size=section.dynamic_quantization_group_size,
        max_context=section.max_context,
        min_context=section.min_context,
    )


def scheduler(settings: Settings) -> SchedulerSettings:
    """What one step may hold; every answer to every admitted request finds a place to wait."""
    section = settings.scheduler
    return SchedulerSettings(
        max_batch_tokens=section.max_batch_tokens,
        max_sequences=section.max_sequences,
        max_prefill_chunk=section.max_prefill_chunk,
        max_long_prefills=section.max_long_prefills,
        long_prompt_tokens=section.long_prompt_tokens,
        max_waiting=max(_max_inside(settings).values()) * settings.limits.max_choices,
        ageing_ns=section.ageing_ms * NS_PER_MS,
    )


def recipe_executor(settings: Settings, recipe: Recipe) -> OpenVinoSettings:
    """As `executor`, with what the recipe pins; how much memory it may take stays a setting."""
    flags, common = recipe.flags, executor(settings)
    group = flags.get("dynamic_quantization_group_size")
    values = to_builtins(common) | {
        "kv_precision": recipe.kv_precision,
        "inference_precision": flags.get("inference_precision", common.inference_precision),
        "threads": int(flags.get("threads", common.threads)),
        "dynamic_quantization_group_size": None if group is None else int(group),
        "max_context": recipe.max_context,
    }
    return from_builtins(values, OpenVinoSettings)


def recipe_scheduler(settings: Settings, recipe: Recipe) -> SchedulerSettings:
    """As `scheduler`, with the recipe's sequences; each of them fits into a step."""
    common = scheduler(settings)
    return replace(
        common,
        max_sequences=recipe.max_sequences,
        max_batch_tokens=max(common.max_batch_tokens, recipe.max_sequences + 1),
    )


def client(settings: Settings) -> ClientSettings:
    """Room in the engine for all that is admitted, and how much is kept of what it sends."""
    return ClientSettings(
        max_outstanding=sum(_max_inside(settings).values()),
        max_buffered_tokens=settings.engine.max_buffered_tokens,
    )


def supervisor(settings: Settings) -> SupervisorSettings:
    """How the engine process is watched and restarted."""
    section = settings.engine
    return SupervisorSettings(
        stall_ns=section.stall_ms * NS_PER_MS,
        load_timeout_ns=section.load_timeout_ms * NS_PER_MS,
        stop_grace_ns=section.stop_grace_ms * NS_PER_MS,
        restart=RestartSettings(
            first_ns=section.restart_first_ms * NS_PER_MS,
            longest_ns=section.restart_longest_ms * NS_PER_MS,
            window_ns=section.restart_window_ms * NS_PER_MS,
            loop_count=section.restart_loop_count,
            slow_ns=section.restart_slow_ms * NS_PER_MS,
        ),
    )


def price(settings: Settings) -> Price:
    """What tokens of the served model cost."""
    return Price(
        input_nano_usd=NanoUsd(settings.model.input_nano_usd),
        output_nano_usd=NanoUsd(settings.model.output_nano_usd),
    )
