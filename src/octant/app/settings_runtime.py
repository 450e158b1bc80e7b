"""Settings behind the edge: model, engine, scheduler, store, observability.

The measurements are of a Qwen3-0.6B shape on two cores. Defaults and bounds only; `app/wiring.py`
makes of them what each layer takes.
"""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from octant.app.settings_fields import Section, setting

_GIB = 1 << 30


class ModelSection(Section):
    """Which model is served, and what its tokens cost."""

    path: str = setting("", "A directory or a hub name; empty is the model that comes with Octant.")
    name: str = setting("", "The name callers use; empty is the one in the model's card.")
    recipe: str = setting(
        "", "A recipe file that says what is served and how; it stands before model.path."
    )
    weights: Literal["auto", "bf16", "int8", "int4"] = setting(
        "auto",
        "Precision of the weights when a checkpoint is prepared.",
        chosen_by="int8 decodes 1.5 times as fast as bf16 at batch 1, int4 1.9 times",
    )
    input_nano_usd: int = setting(0, "Price of a prompt token in nano-USD.", ge=0)
    output_nano_usd: int = setting(0, "Price of an output token in nano-USD.", ge=0)

    @property
    def recipe_path(self) -> Path:
        """The recipe file."""
        return Path(self.recipe).expanduser().absolute()


class EngineSection(Section):
    """The embedded engine: its memory, its threads, and how its process is watched."""

    kv_bytes: int = setting(
        _GIB, "Most memory for the KV cache; less is taken when less is free.", ge=1
    )
    kv_precision: Literal["auto", "u8", "f16", "bf16", "f32"] = setting(
        "u8",
        "Precision of the KV cache.",
        chosen_by="u8 holds 1.7 times the tokens of bf16; 244 against 201 tokens/s at batch 32",
    )
    inference_precision: Literal["auto", "bf16", "f32"] = setting(
        "auto", "Precision of the computation; auto is bf16 where the processor has it."
    )
    threads: int = setting(0, "Threads of the executor; 0 is all cores.", ge=0)
    dynamic_quantization_group_size: int | None = setting(
        None,
        "OpenVINO's group size for activations; unset keeps its default (32).",
        chosen_by="128 raises prefill by a quarter, its quality on real weights is unmeasured",
        ge=0,
    )
    max_context: int | None = setting(
        None, "Longest context, prompt and output together; unset is the model's own.", ge=1
    )
    min_context: int = setting(
        512, "Smallest context worth serving; loading is refused when memory allows less.", ge=1
    )
    max_buffered_tokens: int = setting(
        8_192,
        "How far the reader of a stream may fall behind.",
        chosen_by="a minute of a fast stream",
        ge=1,
    )
    pulse_ms: int = setting(1_000, "Longest silence of an idle engine.", ge=1)
    stall_ms: int = setting(
        30_000,
        "Time without progress after which a busy engine counts as hung.",
        chosen_by="far above the longest step, 1.2 s",
        ge=1,
    )
    max_failed_steps: int = setting(
        3, "Steps that may fail in a row before the engine is replaced.", ge=1
    )
    load_timeout_ms: int = setting(
        600_000,
        "Time to load, warm and probe a model.",
        chosen_by="loading and compiling take 1 to 2.4 s from a warm disk",
        ge=1,
    )
    stop_grace_ms: int = setting(2_000, "Time for an idle engine to leave.", ge=0)
    restart_first_ms: int = setting(100, "Pause before the first restart.", ge=0)
    restart_longest_ms: int = setting(10_000, "Longest pause between quick restarts.", ge=0)
    restart_window_ms: int = setting(60_000, "Window in which failures are counted.", ge=1)
    restart_loop_count: int = setting(5, "Failures within the window that are a crash loop.", ge=1)
    restart_slow_ms: int = setting(60_000, "Pause between restarts in a crash loop.", ge=0)


class SchedulerSection(Section):
    """Which sequences a step computes, and how much of each."""

    max_batch_tokens: int = setting(
        512,
        "Tokens computed in one step, all sequences together.",
        chosen_by="keeps the longest wait for a next token near 1.2 s",
        ge=1,
    )
    max_sequences: int = setting(
        32,
        "Sequences that take part in steps at once.",
        chosen_by="214 tokens/s at 16, 244 at 32; more was not measured",
        ge=1,
    )
    max_prefill_chunk: int = setting(
        128,
        "Tokens of one prompt in one step while others want their share.",
        chosen_by="a chunk of 128 holds 16 running streams up for 255 ms, one of 512 for 1.1 s",
        ge=1,
    )
    max_long_prefills: int = setting(2, "Long prompts in prefill at once.", ge=1)
    long_prompt_tokens: int = setting(
        1_024, "More uncomputed tokens than this make a prompt long.", ge=1
    )
    ageing_ms: int = setting(
        30_000, "Waiting time after which the next higher profile no longer passes.", ge=1
    )

    @model_validator(mode="after")
    def _every_sequence_gets_a_token(self) -> Self:
        if self.max_batch_tokens <= self.max_sequences:
            raise ValueError("scheduler.max_batch_tokens to exceed scheduler.max_sequences")
        return self


class StoreSection(Section):
    """The embedded store."""

    path: str = setting("", "The file; empty is octant.db in server.data_dir.")
    max_batch: int = setting(
        256,
        "Requests that share one commit at most.",
        chosen_by="64 concurrent callers settle 15 times as many requests as one",
        ge=1,
    )
    max_waiting: int = setting(4_096, "Writes that may wait for a commit.", ge=1)
    keep_traces: int = setting(
        20_000, "Newest requests whose events are kept.", chosen_by="about 1 KB each", ge=1
    )
    prune_chunk: int = setting(512, "Old traces removed at a time.", ge=1)
    busy_timeout_ms: int = setting(5_000, "How long to wait while another process writes.", ge=0)
    read_connections: int = setting(4, "Connections for reading.", ge=1)


class ObservabilitySection(Section):
    """Logs, metrics and traces."""

    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "Least severe messages that are logged."
    )
    metrics_need_key: bool | None = setting(
        None,
        "Whether /metrics, which names tenants and their cost, wants a key with the scope "
        "metrics:read; unset is yes unless the server listens on loopback only.",
    )
    max_tenants: int = setting(
        100,
        "Tenants with series of their own in /metrics; further ones are counted together.",
        ge=1,
    )
    max_open_requests: int = setting(20_000, "Requests whose events are gathered at once.", ge=1)
    max_events_per_request: int = setting(
        1_000, "Events kept of one request; further ones are counted as lost.", ge=16
    )
    otlp_endpoint: str = setting(
        "", "An OpenTelemetry collector (OTLP over HTTP); empty sends traces nowhere."
    )
    otlp_headers_env: str = setting(
        "", "The environment variable that holds its headers, `name=value,name=value`."
    )
    otlp_headers_file: str = setting("", "A file that holds them, instead of a variable.")
    otlp_service_name: str = setting("octant", "The name of this service in traces.", min_length=1)
    otlp_sample_ratio: float = setting(
        1.0, "Share of traces that is sent, chosen by trace id.", ge=0, le=1
    )
    otlp_max_waiting: int = setting(
        2_048, "Traces that wait to be sent; further ones are counted as lost.", ge=1
    )
    otlp_max_batch: int = setting(
        64, "Traces sent together.", chosen_by="6 KB for a trace of 24 spans", ge=1, le=1_024
    )
    otlp_interval_ms: int = setting(1_000, "Longest time a trace waits for others.", ge=1)
    otlp_timeout_ms: int = setting(10_000, "Longest time for one batch, retries included.", ge=1)
    otlp_flush_ms: int = setting(3_000, "Time to send what waits when the server stops.", ge=0)

    @model_validator(mode="after")
    def _one_source_of_headers(self) -> Self:
        if self.otlp_headers_env and self.otlp_headers_file:
            raise ValueError("one of otlp_headers_env and otlp_headers_file, not both")
        if self.otlp_headers_env.startswith("OCTANT_"):
            raise ValueError("otlp_headers_env not to begin with OCTANT_, which is for settings")
        return self

    @model_validator(mode="after")
    def _collector_has_an_address(self) -> Self:
        parts = urlsplit(self.otlp_endpoint)
        if self.otlp_endpoint and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("otlp_endpoint to be a URL with http or https and a host")
        return self
