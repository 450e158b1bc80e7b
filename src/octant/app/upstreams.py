"""Upstreams: the OpenAI-compatible servers named in the settings, as routes.

Law: they share one session, are watched as long as the scope is open, and are gone with it. A key
comes from a variable or a file, is read once, and goes nowhere but into the adapter.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from octant import __version__
from octant.adapters.openai_upstream.provider import ENGINE, UpstreamProvider
from octant.adapters.openai_upstream.session import open_session
from octant.adapters.openai_upstream.settings import UpstreamSettings
from octant.app.settings import Settings, environment_value
from octant.app.settings_routing import UpstreamEntry
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import ReleaseId, RouteId
from octant.core.route import Price, Route
from octant.core.stage import Stage
from octant.core.units import NS_PER_MS, NanoUsd
from octant.orchestration.routes import DeployedRoute
from octant.ports.clock import Clock
from octant.ports.sink import EventSink


class UpstreamRoute(NamedTuple):
    """A route and the public name of the model it serves."""

    serves: str
    deployed: DeployedRoute


@asynccontextmanager
async def upstream_routes(
    settings: Settings, clock: Clock, events: EventSink
) -> AsyncGenerator[tuple[UpstreamRoute, ...]]:
    """The routes of all upstreams. Raises Failed(INVALID_VALUE) where a key is not there."""
    keys = [_key(entry) for entry in settings.upstreams]
    if not settings.upstreams:
        yield ()
        return
    check_ns = settings.routing.upstream_check_ms * NS_PER_MS
    async with open_session(f"octant/{__version__}") as session:
        providers = [
            UpstreamProvider(_adapter(entry, key, check_ns), session, clock, events)
            for entry, key in zip(settings.upstreams, keys, strict=True)
        ]
        watches = [asyncio.create_task(provider.watch()) for provider in providers]
        try:
            # So that who is told that the server has started need not wait for its upstreams.
            await asyncio.gather(*(provider.checked() for provider in providers))
            yield tuple(
                UpstreamRoute(entry.serves, DeployedRoute(_route(entry), provider, prompt=None))
                for entry, provider in zip(settings.upstreams, providers, strict=True)
            )
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)


def _route(entry: UpstreamEntry) -> Route:
    return Route(
        id=RouteId(entry.name),
        model=entry.serves,
        # What an upstream runs is not known; all of its answers count as one release.
        release=ReleaseId(entry.release or entry.name),
        engine=ENGINE,
        max_context=entry.max_context,
        capabilities=entry.capabilities,
        price=Price(
            input_nano_usd=NanoUsd(entry.input_nano_usd),
            output_nano_usd=NanoUsd(entry.output_nano_usd),
        ),
        label=entry.label,
        quality=entry.quality,
        tokens_per_s=entry.tokens_per_s,
        residency=entry.residency,
    )


def _adapter(entry: UpstreamEntry, key: str | None, check_ns: int) -> UpstreamSettings:
    return UpstreamSettings(
        route=RouteId(entry.name),
        base_url=entry.base_url.rstrip("/"),
        model=entry.model or entry.serves,
        max_context=entry.max_context,
        api_key=key,
        max_connections=entry.max_connections,
        connect_ns=entry.connect_timeout_ms * NS_PER_MS,
        first_byte_ns=entry.first_byte_timeout_ms * NS_PER_MS,
        idle_ns=entry.idle_timeout_ms * NS_PER_MS,
        max_answer_bytes=entry.max_answer_bytes,
        check_ns=check_ns,
    )


def _key(entry: UpstreamEntry) -> str | None:
    if entry.api_key_env:
        key = environment_value(entry.api_key_env)
        place = f"the variable {entry.api_key_env}"
    elif entry.api_key_file:
        key = _read(entry)
        place = f"the file {entry.api_key_file}"
    else:
        return None
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise _no_key(entry, f"{place} holds no key")
    return key


def _read(entry: UpstreamEntry) -> str:
    try:
        return Path(entry.api_key_file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise _no_key(entry, f"the file {entry.api_key_file} cannot be read ({why})") from error


def _no_key(entry: UpstreamEntry, what: str) -> Failed:
    return Failed(
        Failure(
            kind=FailureKind.INVALID_VALUE,
            stage=Stage.BOUNDARY,
            message=f"The upstream `{entry.name}` has no key: {what}. Put it there, or take "
            "api_key_env and api_key_file out of its table.",
            param="upstreams",
        )
    )
