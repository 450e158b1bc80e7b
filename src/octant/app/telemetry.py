"""Telemetry: the collector that traces are sent to, where one is configured.

Law: OpenTelemetry's SDK is imported only then; a server without a collector starts without it.
"""

import asyncio
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from octant import __version__
from octant.app import layers
from octant.app.settings import Settings, environment_value
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.ports.telemetry import TraceSink

_SIGNAL_PATH = "/v1/traces"


class Collector(TraceSink, Protocol):
    """A sink that has to be closed."""

    def close(self) -> None:
        """Sends what waits, within a bound."""
        ...


def collector(settings: Settings) -> Collector | None:
    """None without `observability.otlp_endpoint`. Raises Failed(INVALID_VALUE) for bad headers."""
    section = settings.observability
    if not section.otlp_endpoint:
        return None
    from octant.adapters.otel.exporter import OtlpTraces
    from octant.adapters.otel.settings import OtlpSettings
    from octant.observability.semconv import SCHEMA_URL, spans_of

    return OtlpTraces(
        OtlpSettings(
            endpoint=_signal_url(section.otlp_endpoint),
            headers=_headers(settings),
            service_name=section.otlp_service_name,
            service_version=__version__,
            schema_url=SCHEMA_URL,
            sample_ratio=section.otlp_sample_ratio,
            max_waiting=section.otlp_max_waiting,
            max_batch=section.otlp_max_batch,
            interval_s=section.otlp_interval_ms / 1_000,
            timeout_s=section.otlp_timeout_ms / 1_000,
            flush_s=section.otlp_flush_ms / 1_000,
        ),
        # Its own governor: it is asked on the exporter's thread.
        partial(spans_of, redact=layers.governor(settings).telemetry_text),
    )


async def close(found: Collector | None) -> None:
    """Sends what waits, off the event loop."""
    if found is not None:
        await asyncio.to_thread(found.close)


def _signal_url(endpoint: str) -> str:
    """An endpoint without a path is a collector's base; the signal has its own path below it."""
    parts = urlsplit(endpoint)
    return urlunsplit(parts._replace(path=parts.path if parts.path.strip("/") else _SIGNAL_PATH))


def _headers(settings: Settings) -> dict[str, str]:
    section = settings.observability
    if section.otlp_headers_env:
        where = f"the variable {section.otlp_headers_env}"
        text = environment_value(section.otlp_headers_env)
        if text is None:
            raise _refusal(f"observability.otlp_headers_env names {where}, which is not set.")
        return _pairs(text, where)
    if section.otlp_headers_file:
        path = Path(section.otlp_headers_file).expanduser()
        try:
            return _pairs(path.read_text(encoding="utf-8"), str(path))
        except OSError as error:
            raise _refusal(f"{path} cannot be read: {error.strerror}.") from error
    return {}


def _pairs(text: str, where: str) -> dict[str, str]:
    """`name=value`, separated by commas or lines. Values never appear in a message."""
    headers: dict[str, str] = {}
    for part in text.replace("\n", ",").split(","):
        name, sign, value = part.partition("=")
        if not part.strip():
            continue
        if not sign or not name.strip():
            raise _refusal(f"{where} holds something else than name=value, separated by commas.")
        headers[name.strip().lower()] = value.strip()
    return headers


def _refusal(message: str) -> Failed:
    return Failed(Failure(kind=FailureKind.INVALID_VALUE, stage=Stage.BOUNDARY, message=message))
