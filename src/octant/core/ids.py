"""Names of things: typed strings with a public prefix.

Ids are minted from entropy handed in, never drawn here, so a run on a virtual clock with a seeded
source gives the same ids twice. Trace and span ids have the W3C Trace Context shape.
"""

from typing import NewType

RequestId = NewType("RequestId", str)
TraceId = NewType("TraceId", str)
SpanId = NewType("SpanId", str)
TenantId = NewType("TenantId", str)
ActorId = NewType("ActorId", str)
KeyId = NewType("KeyId", str)
SessionId = NewType("SessionId", str)
RouteId = NewType("RouteId", str)
ReleaseId = NewType("ReleaseId", str)
SequenceId = NewType("SequenceId", int)

ID_ENTROPY_BYTES = 16
SPAN_ENTROPY_BYTES = 8


def request_id(entropy: bytes) -> RequestId:
    """`req_` and 32 hexadecimal digits. Raises ValueError unless 16 bytes are given."""
    return RequestId("req_" + _hex(entropy, ID_ENTROPY_BYTES))


def session_id(entropy: bytes) -> SessionId:
    """`ses_` and 32 hexadecimal digits. Raises ValueError unless 16 bytes are given."""
    return SessionId("ses_" + _hex(entropy, ID_ENTROPY_BYTES))


def trace_id(entropy: bytes) -> TraceId:
    """32 hexadecimal digits. Raises ValueError unless 16 bytes are given."""
    return TraceId(_hex(entropy, ID_ENTROPY_BYTES))


def span_id(entropy: bytes) -> SpanId:
    """16 hexadecimal digits. Raises ValueError unless 8 bytes are given."""
    return SpanId(_hex(entropy, SPAN_ENTROPY_BYTES))


def _hex(entropy: bytes, size_bytes: int) -> str:
    if len(entropy) != size_bytes:
        raise ValueError(f"an id of this kind takes {size_bytes} bytes, got {len(entropy)}")
    return entropy.hex()
