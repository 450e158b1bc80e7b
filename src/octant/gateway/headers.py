"""Headers: every one that is read and every one that is sent, in two tables, and how they are read.

Law: a header that does not stand in `READ` reaches nothing behind `read_head`; the documentation
test reads both tables.
"""

import math
from typing import NamedTuple

from starlette.types import Scope

from octant.admission.control import RateLimitStatus, RateStatus
from octant.core import ids
from octant.core.failure import FailureKind
from octant.core.ids import RequestId, SpanId, TraceId
from octant.core.limits import Profile
from octant.core.units import NS_PER_MS, NS_PER_S
from octant.gateway.failures import Header, refuse
from octant.gateway.trace_context import parse_traceparent
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy

READ: dict[str, str] = {
    "authorization": "Bearer and an API key.",
    "content-type": "application/json.",
    "content-encoding": "Absent or identity; compressed bodies are refused.",
    "content-length": "Refused at once above the bound on bodies.",
    "traceparent": "W3C Trace Context; the request joins that trace.",
    "x-client-request-id": "The caller's own id of the request, up to 512 printable characters.",
    "idempotency-key": "Recorded with the request, up to 255 printable characters.",
    "x-octant-deadline-ms": "Milliseconds until the caller stops being interested.",
    "x-octant-profile": "The workload profile, where the body names none.",
    "x-stainless-read-timeout": "Seconds without a byte after which OpenAI's clients give up.",
}
SENT: dict[str, str] = {
    "content-type": (
        "application/json, text/event-stream, application/schema+json or the format of metrics."
    ),
    "content-length": "On everything but streams.",
    "cache-control": "no-store on streams.",
    "x-accel-buffering": "no on streams, so that proxies pass events on at once.",
    "x-request-id": "The id of the request in logs, traces and records.",
    "x-octant-trace-id": "The trace that the request belongs to.",
    "openai-processing-ms": "Milliseconds from the request's arrival to its whole answer.",
    "x-ratelimit-limit-requests": "Requests per minute of the tightest limit.",
    "x-ratelimit-remaining-requests": "What is left of them.",
    "x-ratelimit-reset-requests": "Time until all are available again.",
    "x-ratelimit-limit-tokens": "Tokens per minute of the tightest limit.",
    "x-ratelimit-remaining-tokens": "What is left of them.",
    "x-ratelimit-reset-tokens": "Time until all are available again.",
    "retry-after": "Seconds, rounded up, after which a retry can succeed.",
    "retry-after-ms": "The same in milliseconds.",
    "x-should-retry": "Whether the same request can succeed later; OpenAI's clients obey it.",
    "www-authenticate": "Bearer, with status 401.",
    "allow": "The methods of a path, with status 405.",
    "connection": "close while draining, and after what was not read to its end.",
}

_READ_NAMES = frozenset(name.encode() for name in READ)
MAX_CLIENT_REQUEST_ID = 512
MAX_IDEMPOTENCY_KEY = 255
_MAX_DEADLINE_MS = 86_400_000


class Head(NamedTuple):
    """What is known of a request before its body: ids, instants, those of its headers in `READ`."""

    request_id: RequestId
    trace_id: TraceId
    parent_span_id: SpanId | None
    received_ns: int
    received_unix_ns: int
    method: str
    path: str
    headers: dict[bytes, bytes]


def read_head(scope: Scope, clock: Clock, entropy: Entropy) -> Head:
    """Never fails: what may be refused is looked at later, when a refusal can carry the ids."""
    headers = {name: value for name, value in scope["headers"] if name in _READ_NAMES}
    parent = parse_traceparent(headers.get(b"traceparent"))
    return Head(
        request_id=ids.request_id(entropy.bytes(ids.ID_ENTROPY_BYTES)),
        trace_id=parent.trace_id if parent else ids.trace_id(entropy.bytes(ids.ID_ENTROPY_BYTES)),
        parent_span_id=parent.span_id if parent else None,
        received_ns=clock.monotonic_ns(),
        received_unix_ns=clock.unix_ns(),
        method=scope["method"],
        path=scope["path"],
        headers=headers,
    )


def client_request_id(head: Head) -> str | None:
    """Raises Failed(INVALID_VALUE)."""
    return _printable(head, "x-client-request-id", MAX_CLIENT_REQUEST_ID)


def idempotency_key(head: Head) -> str | None:
    """Raises Failed(INVALID_VALUE)."""
    return _printable(head, "idempotency-key", MAX_IDEMPOTENCY_KEY)


def deadline_ms(head: Head) -> int | None:
    """`x-octant-deadline-ms`. Raises Failed(INVALID_VALUE)."""
    value = head.headers.get(b"x-octant-deadline-ms")
    if value is None:
        return None
    if not (value.isdigit() and len(value) <= 8 and 1 <= int(value) <= _MAX_DEADLINE_MS):
        refuse(
            FailureKind.INVALID_VALUE,
            "The header x-octant-deadline-ms must be a whole number of milliseconds from 1 to "
            f"{_MAX_DEADLINE_MS}.",
            "x-octant-deadline-ms",
        )
    return int(value)


def read_timeout_ms(head: Head) -> int | None:
    """`x-stainless-read-timeout` in milliseconds; None where a client sets none that is usable.

    The client library writes this header, not its user, so a strange value is no one's mistake.
    """
    try:
        seconds = float(head.headers.get(b"x-stainless-read-timeout", b"nan"))
    except ValueError:
        return None
    if not (math.isfinite(seconds) and 0 < seconds <= _MAX_DEADLINE_MS / 1000):
        return None
    return max(1, round(seconds * 1000))


def profile(head: Head) -> Profile | None:
    """`x-octant-profile`. Raises Failed(INVALID_VALUE)."""
    value = head.headers.get(b"x-octant-profile")
    if value is None:
        return None
    try:
        return Profile(value.decode("latin-1"))
    except ValueError:
        known = ", ".join(profile.value for profile in Profile)
        refuse(
            FailureKind.INVALID_VALUE,
            f"The header x-octant-profile must be one of: {known}.",
            "x-octant-profile",
        )


def rate_limit_headers(status: RateLimitStatus | None) -> list[Header]:
    """`x-ratelimit-*` for the kinds of rate that are limited."""
    if status is None:
        return []
    return _rate(b"requests", status.requests) + _rate(b"tokens", status.tokens)


def _rate(kind: bytes, status: RateStatus | None) -> list[Header]:
    if status is None:
        return []
    return [
        (b"x-ratelimit-limit-" + kind, b"%d" % status.limit),
        (b"x-ratelimit-remaining-" + kind, b"%d" % status.remaining),
        (b"x-ratelimit-reset-" + kind, _duration(status.reset_ns)),
    ]


def _duration(duration_ns: int) -> bytes:
    """As OpenAI writes durations: `0s`, `120ms`, `6.5s`, `2m5.25s`."""
    if 0 < duration_ns < NS_PER_S:
        return b"%dms" % math.ceil(duration_ns / NS_PER_MS)
    minutes, rest_ns = divmod(duration_ns, 60 * NS_PER_S)
    seconds = f"{rest_ns / NS_PER_S:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{minutes}m{seconds}" if minutes else seconds).encode()


def _printable(head: Head, name: str, limit: int) -> str | None:
    value = head.headers.get(name.encode())
    if value is None:
        return None
    text = value.decode("latin-1")
    if not (text.isascii() and text.isprintable() and 1 <= len(text) <= limit):
        refuse(
            FailureKind.INVALID_VALUE,
            f"The header {name} must be 1 to {limit} printable ASCII characters.",
            name,
        )
    return text
