"""Failures of upstreams: what went wrong on the other side, in Octant's own words. Pure.

Law: an upstream's words never reach a caller; they can hold prompts, hosts and keys. What stays is
a status and a code that looks like one. Whose fault it is follows from the status: the operator's
key is never the caller's fault, and what one caller asked for never shuts the route for others.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from octant.core.failure import Failure, FailureKind
from octant.core.ids import RouteId
from octant.core.stage import Stage
from octant.core.units import NS_PER_MS, NS_PER_S

# Longer advice is for people: a route that is to be left alone for an hour is down.
MAX_RETRY_AFTER_NS = 3_600 * NS_PER_S
_CODE = re.compile(r"[a-z0-9_.-]{1,64}")
_BUSY = frozenset({429, 503, 529})
_KEY_REFUSED = frozenset({401, 403})
_NOT_THERE = frozenset({404, 405})
_BUSY_CODES = frozenset(
    {"rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "overloaded_error"}
    | {"overloaded", "capacity_exhausted", "draining"}
)
_CONTEXT_CODES = frozenset({"context_length_exceeded"})


class _ErrorBody(msgspec.Struct):
    """OpenAI's error object; everything else is left alone."""

    code: Any = None
    type: Any = None
    param: Any = None


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody | str | None = None


def of_status(route: RouteId, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """An answer that is no 200."""
    code = _code_in(body)
    detail = {"status": status} | ({"code": code} if code else {})
    if status in _BUSY:
        return busy(route, detail, retry_after_ns(headers))
    if status in _KEY_REFUSED:
        return failed(route, f"does not accept the key it was given (status {status})", detail)
    if status in _NOT_THERE:
        return failed(route, f"does not know the model or the path (status {status})", detail)
    if 400 <= status < 500 and status != 408:
        return _refused(route, code, detail)
    return failed(route, f"answered with status {status}", detail)


def in_band(route: RouteId, error: object) -> Failure:
    """An error object in place of a chunk, in an answer that began well."""
    code = _code_of(msgspec.convert(error, _ErrorBody)) if isinstance(error, dict) else ""
    detail: dict[str, Any] = {"code": code} if code else {}
    if code in _BUSY_CODES:
        return busy(route, detail, None)
    if code in _CONTEXT_CODES:
        return _refused(route, code, detail)
    return failed(route, "reported an error in the middle of its answer", detail, Stage.DECODE)


def busy(route: RouteId, detail: dict[str, Any], retry_ns: int | None) -> Failure:
    """It has too much to do, or we have asked it too often."""
    return Failure(
        kind=FailureKind.UPSTREAM_BUSY,
        stage=Stage.QUEUE,
        message=f"The upstream `{route}` has no capacity for this request now. Try again later.",
        retry_after_ns=retry_ns,
        detail=detail,
    )


def failed(
    route: RouteId, what: str, detail: dict[str, Any] | None = None, stage: Stage = Stage.QUEUE
) -> Failure:
    """It did not do what it should."""
    return Failure(
        kind=FailureKind.UPSTREAM_FAILURE,
        stage=stage,
        message=f"The upstream `{route}` {what}.",
        detail=detail or {},
    )


def truncated(route: RouteId, what: str) -> Failure:
    """Its answer ended before it was complete."""
    return Failure(
        kind=FailureKind.STREAM_TRUNCATED,
        stage=Stage.DECODE,
        message=f"The answer of the upstream `{route}` broke off: {what}.",
    )


def withheld(route: RouteId) -> Failure:
    """Its own policy did not let the answer out."""
    return Failure(
        kind=FailureKind.UPSTREAM_REFUSED,
        stage=Stage.DECODE,
        message=f"The upstream `{route}` withheld its answer (content_filter).",
    )


def late(route: RouteId) -> Failure:
    """The deadline passed while it was answering."""
    return Failure(
        kind=FailureKind.DEADLINE_EXCEEDED,
        stage=Stage.DECODE,
        message=f"The deadline passed while the upstream `{route}` was answering.",
    )


def crowded(route: RouteId, connections: int) -> Failure:
    """As many requests are there as it is sent at once, and none ended in time."""
    return Failure(
        kind=FailureKind.CAPACITY_EXHAUSTED,
        stage=Stage.QUEUE,
        message=f"The upstream `{route}` has all {connections} requests that it is sent at once. "
        "Try again later.",
        retry_after_ns=NS_PER_S,
    )


def retry_after_ns(headers: Mapping[str, str]) -> int | None:
    """What `retry-after-ms` or `retry-after` in seconds say, within bounds; dates say nothing."""
    for name, unit_ns in (("retry-after-ms", NS_PER_MS), ("retry-after", NS_PER_S)):
        try:
            wait_ns = float(headers[name]) * unit_ns
        except (KeyError, ValueError):
            continue
        if 0 <= wait_ns < float("inf"):
            return min(int(wait_ns), MAX_RETRY_AFTER_NS)
    return None


def _refused(route: RouteId, code: str, detail: dict[str, Any]) -> Failure:
    if code in _CONTEXT_CODES:
        return Failure(
            kind=FailureKind.CONTEXT_LENGTH_EXCEEDED,
            stage=Stage.CONTEXT,
            message=f"The request is longer than the context of the upstream `{route}`. Shorten "
            "the prompt or ask for a shorter answer.",
            detail=detail,
        )
    return Failure(
        kind=FailureKind.UPSTREAM_REFUSED,
        stage=Stage.QUEUE,
        message=f"The upstream `{route}` does not take this request"
        + (f" ({code})" if code else "")
        + ". Ask without fields that not every server knows, or for another route.",
        detail=detail,
    )


def _code_in(body: bytes) -> str:
    try:
        answer = msgspec.json.decode(body, type=_ErrorAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return _code_of(answer.error) if isinstance(answer.error, _ErrorBody) else ""


def _code_of(error: _ErrorBody) -> str:
    """The first of code and type that looks like one; free text is never repeated."""
    for said in (error.code, error.type):
        if isinstance(said, str) and _CODE.fullmatch(said):
            return said
    return ""
