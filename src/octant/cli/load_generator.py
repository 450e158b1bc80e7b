"""Load generator: many streamed requests at once, from a process of its own.

    line in:  {"url", "key", "model", "concurrency", "prompt_tokens", "max_tokens", "seed"}, and
              "min_tokens" where answers must be text, not ends that are ignored
    line out: {"decode_tokens_per_s", "ttft_ms": [...], "itl_ms": [...], "tokens", "wall_s"},
              or {"failure": {...}}

Law: it must cost the machine next to nothing, or it would measure itself. A piece of a stream is
noted with the time and a count of its events and is not parsed; only the last event, which holds
the usage, is.
"""

import asyncio
import json
import sys
from typing import Any, NamedTuple

from octant.cli.http_client import Answer, HttpConnection, connect, unavailable
from octant.core.failure import Failed
from octant.core.record import to_builtins
from octant.core.units import NS_PER_MS, NS_PER_S, ns_from_s

_EVENT = b"data: "
_DONE = b"data: [DONE]"
_TAIL_BYTES = 4096
_FIRST_TOKEN_ID, _TOKEN_IDS = 10, 400


class Arrival(NamedTuple):
    """A piece of a stream: when it came and how many events it held."""

    at_ns: int
    events: int


class StreamTimes(NamedTuple):
    """One finished request. Content events only; `tokens` is the server's own count."""

    sent_ns: int
    arrivals: tuple[Arrival, ...]
    tokens: int


class Load(NamedTuple):
    """What many requests at once measured; milliseconds, and tokens per second of all together."""

    decode_tokens_per_s: float
    ttft_ms: list[float]
    itl_ms: list[float]
    tokens: int
    wall_s: float


def summarise(streams: list[StreamTimes]) -> Load:
    """Decode speed is taken while all requests decode: from the last first token to the first end.

    Within that window a request's tokens are its events there times its tokens per event, because
    one event may carry several tokens and a server need not say how many.
    """
    begun_ns = max(stream.arrivals[0].at_ns for stream in streams)
    ended_ns = min(stream.arrivals[-1].at_ns for stream in streams)
    in_window = sum(_tokens_between(stream, begun_ns, ended_ns) for stream in streams)
    first_sent_ns = min(stream.sent_ns for stream in streams)
    last_ns = max(stream.arrivals[-1].at_ns for stream in streams)
    return Load(
        decode_tokens_per_s=in_window * NS_PER_S / (ended_ns - begun_ns)
        if ended_ns > begun_ns
        else 0.0,
        ttft_ms=[(stream.arrivals[0].at_ns - stream.sent_ns) / NS_PER_MS for stream in streams],
        itl_ms=[gap for stream in streams for gap in _gaps_ms(stream)],
        tokens=sum(stream.tokens for stream in streams),
        wall_s=(last_ns - first_sent_ns) / NS_PER_S,
    )


def _tokens_between(stream: StreamTimes, begun_ns: int, ended_ns: int) -> float:
    events = sum(arrival.events for arrival in stream.arrivals)
    inside = sum(a.events for a in stream.arrivals if begun_ns < a.at_ns <= ended_ns)
    return stream.tokens * inside / events


def _gaps_ms(stream: StreamTimes) -> list[float]:
    """Time from one piece to the next, once for each event that the next one brought."""
    gaps: list[float] = []
    for before, after in zip(stream.arrivals, stream.arrivals[1:], strict=False):
        gaps.extend([(after.at_ns - before.at_ns) / NS_PER_MS / after.events] * after.events)
    return gaps


class _Stream:
    """Notes the pieces of one answer as they arrive."""

    def __init__(self) -> None:
        self._now_s = asyncio.get_running_loop().time
        self._arrivals: list[Arrival] = []
        self._tail = b""
        self.sent_ns = ns_from_s(self._now_s())

    def feed(self, data: bytes) -> None:
        self._arrivals.append(Arrival(ns_from_s(self._now_s()), data.count(_EVENT)))
        self._tail = (self._tail + data)[-_TAIL_BYTES:]

    def finish(self, answer: Answer) -> StreamTimes:
        """Raises Failed when the stream did not end as it should."""
        events = [part.strip() for part in self._tail.split(b"\n\n") if part.strip()]
        if not events or events[-1] != _DONE:
            raise unavailable(f"A stream broke off: {self._tail[-300:]!r} ({answer.status}).")
        content = self._content()
        if not content:
            raise unavailable("An answer held no text at all. Measure with another seed.")
        usage = json.loads(events[-2].removeprefix(_EVENT))["usage"]
        return StreamTimes(self.sent_ns, content, usage["completion_tokens"])

    def _content(self) -> tuple[Arrival, ...]:
        """Without the last three events (finish reason, usage, end), which bring no token."""
        arrivals, spare = list(self._arrivals), 3
        while spare and arrivals:
            last = arrivals.pop()
            kept = last.events - min(spare, last.events)
            spare -= last.events - kept
            if kept:
                arrivals.append(last._replace(events=kept))
        return tuple(arrival for arrival in arrivals if arrival.events)


def completion_body(question: dict[str, Any], number: int) -> bytes:
    """A completion of pseudo-random token ids, so that no prefix is shared or was seen before."""
    state = question["seed"] * 65_537 + number * 257 + 1
    prompt: list[int] = []
    for _ in range(question["prompt_tokens"]):
        # Numerical Recipes' generator: cheap, and random enough for token ids.
        state = (state * 1_664_525 + 1_013_904_223) % 2**32
        prompt.append(_FIRST_TOKEN_ID + (state >> 16) % _TOKEN_IDS)
    body = {
        "model": question["model"],
        "prompt": prompt,
        "max_tokens": question["max_tokens"],
        "min_tokens": question.get("min_tokens", 0),
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(body).encode()


async def _one(connection: HttpConnection, key: str, body: bytes) -> StreamTimes:
    stream = _Stream()
    headers = {"authorization": f"Bearer {key}"}
    answer = await connection.exchange("POST", "/v1/completions", headers, body, stream.feed)
    if answer.status != 200:
        raise unavailable(f"The server answered {answer.status}: {answer.body[:300]!r}")
    return stream.finish(answer)


async def _load(question: dict[str, Any], connections: list[HttpConnection]) -> Load:
    # A server closes connections that rested while the other side was measured.
    connections[:] = [connection for connection in connections if not connection.closed]
    while len(connections) < question["concurrency"]:
        connections.append(await connect(question["url"]))
    bodies = [completion_body(question, number) for number in range(question["concurrency"])]
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(_one(connection, question["key"], body))
            for connection, body in zip(connections, bodies, strict=False)
        ]
    return summarise([task.result() for task in asked])


def _first(errors: BaseExceptionGroup[Failed]) -> Failed:
    first = errors.exceptions[0]
    return first if isinstance(first, Failed) else _first(first)


async def _serve_questions() -> None:
    connections: list[HttpConnection] = []
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        told: dict[str, Any] = {}
        try:
            told = (await _load(json.loads(line), connections))._asdict()
        except* Failed as errors:
            told = {"failure": to_builtins(_first(errors).failure)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    for connection in connections:
        connection.close()


if __name__ == "__main__":
    asyncio.run(_serve_questions())
