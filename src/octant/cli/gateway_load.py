"""Gateway load: requests one after the other on each of several connections.

    line in:  {"url", "key", "model", "connections", "seconds", "stream"}
    line out: {"requests", "seconds", "p50_ms", "p99_ms"}, or {"failure": {...}}

Law: a closed loop, so the rate is what the server sustains with so many callers who wait. Nothing
of an answer is parsed but its end.
"""

import asyncio
import json
import sys
from statistics import quantiles
from typing import Any

from octant.cli.http_client import HttpConnection, connect, unavailable
from octant.core.failure import Failed
from octant.core.record import to_builtins

# A request of ordinary length, without anything that a guard would find.
QUESTION = (
    "Summarise in two sentences why a gateway in front of several models should try another one "
    "only as long as nothing of an answer has been passed on."
)
_END = b"data: [DONE]\n\n"


async def _load(asked: dict[str, Any]) -> dict[str, Any]:
    connections = [await connect(asked["url"]) for _ in range(asked["connections"])]
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    until_s = begun_s + asked["seconds"]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_caller(each, asked, until_s)) for each in connections]
    finally:
        for connection in connections:
            connection.close()
    took_s = loop.time() - begun_s
    times = [time_s for task in tasks for time_s in task.result()]
    if len(times) < 2:
        raise unavailable("Fewer than two requests were answered. Measure for longer.")
    cuts = quantiles(times, n=100, method="inclusive")
    return {
        "requests": len(times),
        "seconds": took_s,
        "p50_ms": cuts[49] * 1_000,
        "p99_ms": cuts[98] * 1_000,
    }


async def _caller(connection: HttpConnection, asked: dict[str, Any], until_s: float) -> list[float]:
    loop, times = asyncio.get_running_loop(), list[float]()
    headers = {"authorization": f"Bearer {asked['key']}"}
    body = _body(asked)
    while (begun_s := loop.time()) < until_s:
        await _one(connection, headers, body, stream=asked["stream"])
        times.append(loop.time() - begun_s)
    return times


async def _one(
    connection: HttpConnection, headers: dict[str, str], body: bytes, *, stream: bool
) -> None:
    answer = await connection.exchange("POST", "/v1/chat/completions", headers, body)
    if answer.status != 200 or (stream and not answer.body.endswith(_END)):
        raise unavailable(f"The server answered {answer.status}: {answer.body[-300:]!r}")


def _body(asked: dict[str, Any]) -> bytes:
    message = {"role": "user", "content": QUESTION}
    body = {"model": asked["model"], "messages": [message], "stream": asked["stream"]}
    return json.dumps(body).encode()


def _first(errors: BaseExceptionGroup[Failed]) -> Failed:
    first = errors.exceptions[0]
    return first if isinstance(first, Failed) else _first(first)


async def _serve_questions() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        told: dict[str, Any] = {}
        try:
            told = await _load(json.loads(line))
        except* Failed as errors:
            told = {"failure": to_builtins(_first(errors).failure)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve_questions())
