"""Settings of routing: breakers, attempts, and the OpenAI-compatible servers that answer too."""

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator

from octant.app.settings_fields import Section, setting

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class RoutingSection(Section):
    """How often a request is tried, and when a route is left alone."""

    max_attempts: int = setting(
        3, "Attempts at one model call, each on another route.", ge=1, le=16
    )
    breaker_failures: int = setting(
        5,
        "Failures in a row that open a route's breaker.",
        chosen_by="an outage costs five requests an attempt, a single slip none",
        ge=1,
    )
    breaker_window: int = setting(
        20, "Attempts over which the share of failures is taken.", ge=2, le=1_000
    )
    breaker_window_ms: int = setting(60_000, "How long an attempt counts.", ge=1)
    breaker_failure_percent: int = setting(
        50, "Share of failed attempts in a full window that opens a breaker.", ge=1, le=100
    )
    breaker_first_pause_ms: int = setting(
        1_000, "How long a breaker stays open before its first probe.", ge=1
    )
    breaker_longest_pause_ms: int = setting(
        60_000, "Longest pause; each failed probe doubles the one before.", ge=1
    )
    upstream_check_ms: int = setting(
        5_000, "Pause between checks of an upstream that does not answer.", ge=100
    )

    @model_validator(mode="after")
    def _pauses_grow(self) -> Self:
        if self.breaker_first_pause_ms > self.breaker_longest_pause_ms:
            raise ValueError(
                "routing.breaker_longest_pause_ms to be at least routing.breaker_first_pause_ms"
            )
        return self


class UpstreamEntry(Section):
    """An OpenAI-compatible server, and which of its models answers under which public name."""

    name: str = setting(..., "What the route is called here, and in records.", pattern=_NAME)
    base_url: str = setting(..., "Where its API begins, such as `https://host/v1`.")
    serves: str = setting(
        ..., "The public model name: a new one, or one that has routes already.", min_length=1
    )
    model: str = setting("", "What the upstream calls the model; empty is the public name.")
    api_key_env: str = setting("", "The environment variable that holds its key.")
    api_key_file: str = setting("", "A file that holds its key, instead of a variable.")
    label: str = setting("", "The label by which callers can ask for it.")
    release: str = setting(
        "",
        "The release it belongs to, to share its traffic; empty is one of its own, which stands in "
        "where no other has a route.",
    )
    residency: str = setting("remote", "Where it computes; `local` is this machine.", min_length=1)
    max_context: int = setting(
        8_192, "Longest context, prompt and output together; prompts are estimated.", ge=2
    )
    input_nano_usd: int = setting(0, "Price of a prompt token in nano-USD.", ge=0)
    output_nano_usd: int = setting(0, "Price of an output token in nano-USD.", ge=0)
    quality: float = setting(
        0.5, "Quality between 0 and 1, comparable among the routes of a model.", ge=0, le=1
    )
    tokens_per_s: float = setting(
        0.0, "How fast it answers one request, as measured; 0 where it is not known.", ge=0
    )
    capabilities: tuple[str, ...] = setting((), "What it can do, such as `vision`.")
    max_connections: int = setting(64, "Requests that it is sent at once.", ge=1)
    connect_timeout_ms: int = setting(2_000, "Longest time to connect.", ge=1)
    first_byte_timeout_ms: int = setting(
        60_000,
        "Longest time to the head of its answer; never more than half of what the deadline leaves.",
        chosen_by="the other half is for another route",
        ge=1,
    )
    idle_timeout_ms: int = setting(
        60_000,
        "Longest silence within its answer, the wait for its first token included.",
        chosen_by="limits in use are from 30 to 120 s; models that think are silent before",
        ge=1,
    )
    max_answer_bytes: int = setting(
        16 << 20, "Most bytes of one answer, the framing included.", ge=1_024
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url to be a URL with http or https and a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("base_url without credentials, query or fragment")
        if self.api_key_env and self.api_key_file:
            raise ValueError("one of api_key_env and api_key_file, not both")
        if self.api_key_env and not _VARIABLE.fullmatch(self.api_key_env):
            raise ValueError("api_key_env to name a variable, not to be the key")
        if self.api_key_env.startswith("OCTANT_"):
            raise ValueError("api_key_env not to begin with OCTANT_, which is for settings")
        return self


def _distinct(entries: tuple[UpstreamEntry, ...]) -> tuple[UpstreamEntry, ...]:
    names = [entry.name for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"every upstream to have a name of its own, {', '.join(twice)} is twice")
    return entries


Upstreams = Annotated[tuple[UpstreamEntry, ...], AfterValidator(_distinct)]
