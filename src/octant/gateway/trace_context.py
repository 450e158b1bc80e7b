"""W3C Trace Context at the edge: a caller's trace is continued, a malformed one is ignored."""

import re
from typing import NamedTuple

from octant.core.ids import SpanId, TraceId

_SHAPE = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


class TraceParent(NamedTuple):
    """The trace a request belongs to, and the caller's span above ours."""

    trace_id: TraceId
    span_id: SpanId


def parse_traceparent(value: bytes | None) -> TraceParent | None:
    """The parent that `traceparent` names; None when absent or invalid, as the standard asks."""
    shape = _SHAPE.fullmatch(value) if value else None
    if shape is None:
        return None
    trace, span = shape.groups()
    if trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return TraceParent(TraceId(trace.decode()), SpanId(span.decode()))
