"""Settings of the edge: objectives, server, limits of what callers send, admission, policy.

Defaults and bounds only; `app/wiring.py` makes of them what each layer takes.
"""

from typing import Self

from pydantic import model_validator

from octant.app.settings_fields import Section, setting

_MIB = 1024 * 1024


class ObjectiveSection(Section):
    """What one workload profile promises, and the longest a request of it may take.

    The deadline is enforced. The three objectives before it are judged and counted in
    `octant_objective_requests_total`; no request is refused or cut short for them.
    """

    ttft_ms: int = setting(2_000, "Time to the first token.", ge=1)
    tpot_ms: int = setting(200, "Time for each further token, on average.", ge=1)
    total_ms: int = setting(60_000, "Time to the whole answer.", ge=1)
    deadline_ms: int = setting(
        120_000, "The deadline of a request that brings none, and the latest it may ask for.", ge=1
    )


class ObjectivesSection(Section):
    """Service objectives, one table for each workload profile."""

    interactive: ObjectiveSection = ObjectiveSection()
    long_context: ObjectiveSection = ObjectiveSection(
        ttft_ms=30_000, tpot_ms=300, total_ms=300_000, deadline_ms=600_000
    )
    batch: ObjectiveSection = ObjectiveSection(
        ttft_ms=300_000, tpot_ms=1_000, total_ms=1_800_000, deadline_ms=3_600_000
    )
    critical: ObjectiveSection = ObjectiveSection(
        ttft_ms=1_000, tpot_ms=100, total_ms=30_000, deadline_ms=60_000
    )


class ServerSection(Section):
    """Where the server listens, where it keeps its files, how it stops."""

    host: str = setting(
        "127.0.0.1", "Address to listen on; 0.0.0.0 is every interface.", min_length=1
    )
    port: int = setting(8000, "Port to listen on; 0 takes a free one.", ge=0, le=65_535)
    data_dir: str = setting(
        "",
        "Directory of the store, secrets and prepared models. Empty is $XDG_DATA_HOME/octant, or "
        "~/.local/share/octant.",
    )
    drain_grace_ms: int = setting(
        30_000, "How long running requests may go on after SIGTERM.", ge=0
    )


class LimitsSection(Section):
    """What the gateway accepts from a caller before anything else looks at it."""

    max_connections: int = setting(
        2_048, "Connections open at once; one more is refused as overloaded.", ge=1
    )
    max_body_bytes: int = setting(4 * _MIB, "Largest request body.", ge=1)
    max_header_bytes: int = setting(32 * 1024, "Largest request head.", ge=1)
    max_nesting: int = setting(64, "Deepest nesting of JSON.", ge=1)
    max_messages: int = setting(2_048, "Most messages in a conversation.", ge=1)
    max_tools: int = setting(128, "Most tools in a request.", ge=0)
    max_choices: int = setting(16, "Most answers (`n`) to one request.", ge=1, le=128)
    max_documents: int = setting(64, "Most documents to answer from in a request.", ge=0)
    max_steps: int = setting(8, "Most model calls (`max_steps`) of one run.", ge=1)
    max_repairs: int = setting(
        3, "Most further tries (`max_repairs`) at an answer that breaks its contract.", ge=0
    )
    max_session_turns: int = setting(
        1_000,
        "Turns that a session keeps; a full one can be read and branched.",
        chosen_by="far more than any context holds, and a megabyte or so to read",
        ge=1,
    )
    max_listed_sessions: int = setting(100, "Sessions in one listing, newest first.", ge=1)
    long_context_bytes: int = setting(
        24_000,
        "Bodies above this run under the long_context profile unless the caller names one.",
        chosen_by="about 6,000 tokens of English",
        ge=1,
    )
    header_read_timeout_ms: int = setting(10_000, "Time to send a request's head.", ge=1)
    body_read_timeout_ms: int = setting(30_000, "Time to send a request's body.", ge=1)
    discard_ms: int = setting(
        1_000, "How long the rest of a refused body is read, so that the refusal arrives.", ge=0
    )
    keep_alive_interval_ms: int = setting(
        15_000,
        "Silence before a comment keeps a stream, and the longest that its status stays open.",
        ge=1,
    )
    slow_reader_timeout_ms: int = setting(
        30_000, "How long a stream may be blocked by its reader.", ge=1
    )
    idle_timeout_ms: int = setting(
        120_000,
        "Longest silence of a model that has begun to answer, before its stream is broken off.",
        ge=1,
    )
    overdue_grace_ms: int = setting(
        5_000, "How long after its deadline a request is ended by force.", ge=0
    )
    key_cache_ms: int = setting(
        1_000,
        "How long what the store said of an API key is believed; so long a revoked key works.",
        ge=0,
    )
    key_cache_entries: int = setting(4_096, "API keys remembered at once.", ge=1)
    draining_retry_after_ms: int = setting(
        2_000, "When callers who are refused while the server drains should come back.", ge=0
    )


class QueueSection(Section):
    """The bound of one profile's queue."""

    max_inside: int = setting(
        96,
        "Requests of this profile inside at once, running and waiting; beyond it they are refused "
        "as overloaded.",
        ge=1,
    )


class QueuesSection(Section):
    """One bounded queue for each workload profile; a full one is refused as overloaded."""

    interactive: QueueSection = QueueSection()
    long_context: QueueSection = QueueSection(max_inside=20)
    batch: QueueSection = QueueSection(max_inside=1_056)
    critical: QueueSection = QueueSection(max_inside=32)


class TenantDefaultsSection(Section):
    """Limits of tenants that are created without their own; unset is unlimited."""

    requests_per_minute: int | None = setting(None, "Requests in a minute.", ge=0)
    tokens_per_minute: int | None = setting(None, "Prompt and output tokens in a minute.", ge=0)
    max_concurrent: int | None = setting(None, "Requests running at once.", ge=0)
    budget_nano_usd: int | None = setting(None, "Money in a calendar month (UTC).", ge=0)


class AdmissionSection(Section):
    """Queues, default limits, and the cost model that predicts waiting times."""

    queues: QueuesSection = QueuesSection()
    tenant_defaults: TenantDefaultsSection = TenantDefaultsSection()
    assumed_output_tokens: int = setting(
        512,
        "Output tokens reserved for a request that names no maximum; settled with actuals.",
        ge=1,
    )
    max_scopes: int = setting(
        20_000,
        "Keys and tenants with limits held in memory at once.",
        chosen_by="about 1 KB each",
        ge=16,
    )
    max_accounts: int = setting(10_000, "Budget accounts held in memory at once.", ge=16)
    smoothing: float = setting(
        0.1, "Weight of the newest request in predicted times.", gt=0.0, le=1.0
    )
    min_observations: int = setting(
        3, "Finished requests needed before anything is predicted.", ge=1
    )
    retry_floor_ms: int = setting(250, "Shortest retry-after of a refusal for load.", ge=1)
    retry_ceiling_ms: int = setting(
        60_000,
        "Longest retry-after of a refusal for load.",
        chosen_by="openai-python gives up on more than 120 s",
        ge=1,
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.retry_floor_ms > self.retry_ceiling_ms:
            raise ValueError("admission.retry_floor_ms to be at most admission.retry_ceiling_ms")
        return self


class PolicySection(Section):
    """Rules checked before and after a model, and before every action."""

    path: str = setting(
        "", "The policy file; empty is the policy that comes with Octant (`octant policy show`)."
    )
