"""Server-sent events: framing, and nothing about what is in them."""

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
PREFIX = b"data: "
END = b"\n\n"


def event(data: bytes) -> bytes:
    """One event of JSON `data`, which holds no line break."""
    return PREFIX + data + END


def typed_event(name: str, data: bytes) -> bytes:
    """One event with a name, for clients that listen by it; `data` holds no line break."""
    return b"event: " + name.encode() + b"\n" + event(data)
