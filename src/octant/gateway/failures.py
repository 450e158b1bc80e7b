"""Failures at the boundary: how they are raised, and how every failure looks on the wire.

Law: status, type, code and `x-should-retry` come from `core.failure.RULES` alone, and the body has
OpenAI's shape for every refusal, also for paths, methods and sizes.
"""

import math
from typing import NoReturn

import msgspec

from octant.core.failure import Failed, Failure, FailureClass, FailureKind, Retry
from octant.core.ids import RequestId
from octant.core.stage import Stage
from octant.core.units import NS_PER_MS, NS_PER_S, ms_from_ns

Header = tuple[bytes, bytes]

_encode = msgspec.json.Encoder().encode
# Trying again can only help where time or another route may change the answer.
_WORTH_RETRYING = (Retry.AFTER_DELAY, Retry.OTHER_ROUTE)


def refuse(kind: FailureKind, message: str, param: str | None = None) -> NoReturn:
    """Raises Failed(kind) at the boundary; `param` is the field in the caller's spelling."""
    raise Failed(Failure(kind=kind, stage=Stage.BOUNDARY, message=message, param=param))


class ErrorRule(msgspec.Struct, frozen=True, kw_only=True):
    """Octant's own part of an error: its class, its stage and its retry rule, as recorded."""

    failure_class: FailureClass = msgspec.field(name="class")
    stage: Stage
    retry: Retry
    request_id: RequestId


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """The value of `error` in every body and event: OpenAI's four fields, and `octant`."""

    message: str
    type: str
    param: str | None
    code: FailureKind
    octant: ErrorRule


def error_object(failure: Failure, request_id: RequestId) -> ErrorObject:
    """The failure as every caller is shown it; its `detail` is for operators only."""
    rule = failure.rule
    return ErrorObject(
        message=failure.message,
        type=rule.error_type,
        param=failure.param,
        code=failure.kind,
        octant=ErrorRule(
            failure_class=rule.failure_class,
            stage=failure.stage,
            retry=rule.retry,
            request_id=request_id,
        ),
    )


def error_body(failure: Failure, request_id: RequestId, **more: object) -> bytes:
    """The JSON body of a refusal; `more` stands beside `error`."""
    return _encode({"error": error_object(failure, request_id), **more})


def error_headers(failure: Failure) -> list[Header]:
    """`x-should-retry`, and `retry-after` with its exact form where the failure has a delay."""
    worth = failure.rule.retry in _WORTH_RETRYING
    headers = [(b"x-should-retry", b"true" if worth else b"false")]
    if worth and failure.retry_after_ns is not None:
        seconds = max(1, math.ceil(failure.retry_after_ns / NS_PER_S))
        milliseconds = max(1, math.ceil(failure.retry_after_ns / NS_PER_MS))
        headers.append((b"retry-after", b"%d" % seconds))
        headers.append((b"retry-after-ms", b"%d" % milliseconds))
    if failure.rule.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def milliseconds(duration_ns: int) -> bytes:
    """Whole milliseconds, for headers."""
    return b"%d" % round(ms_from_ns(duration_ns))
