"""Settings of the tools that Octant runs for a model."""

from octant.app.settings_fields import Section, setting

_MIB = 1 << 20


class ToolsSection(Section):
    """Octant's own tools: which there are, what they may read, how far a call may go."""

    enabled: tuple[str, ...] = setting(
        ("calculator", "clock", "lookup"),
        "Tools that requests may be granted; lookup is there once it has a database.",
    )
    timeout_ms: int = setting(
        5_000,
        "Longest run of a tool; the deadline of its request may end it sooner.",
        chosen_by="a built-in tool takes 27 to 29 ms, most of it the start of its process",
        ge=1,
    )
    max_concurrent: int = setting(
        4, "Tools that run at once, each in a process of its own.", ge=1, le=256
    )
    max_waiting: int = setting(
        64, "Calls that may wait for a place; waiting counts as running.", ge=0
    )
    max_result_bytes: int = setting(
        8_192,
        "Longest result that a model is given.",
        chosen_by="about 2,000 tokens of every further model call of the run",
        ge=64,
        le=_MIB,
    )
    memory_bytes: int = setting(
        256 * _MIB,
        "Address space of a tool's process.",
        chosen_by="the built-in tools stay below 64 MiB",
        ge=64 * _MIB,
    )
    require_isolation: bool = setting(
        False,
        "Whether a tool fails where the kernel grants no namespaces of its own (not Linux, or "
        "forbidden); otherwise limits and an interpreter that refuses have to do.",
    )
    lookup_database: str = setting("", "The SQLite file that lookup reads; empty is no lookup.")
    lookup_tables: dict[str, tuple[str, ...]] = setting(
        {},
        "Tables that lookup may read, each with its columns, the key first: "
        '{orders = ["id", "status"]}.',
    )
