"""Asking: a suite's questions put to a server, over as many connections as run at once."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from octant.cli.session import Session, Target
from octant.lifecycle.checks import CalledTool, Reply
from octant.lifecycle.evaluation import Ask, EvalCase, request_body


@asynccontextmanager
async def asking(target: Target, model: str, concurrency: int) -> AsyncGenerator[Ask, None]:
    """How one question is asked; at most `concurrency` of them may be on their way at once."""
    idle = [Session(target) for _ in range(concurrency)]

    async def ask(case: EvalCase) -> Reply:
        session = idle.pop()
        try:
            answer = await session.post("/v1/chat/completions", request_body(case, model))
        finally:
            idle.append(session)
        said = answer.json()["choices"][0]["message"]
        calls = [call["function"] for call in said.get("tool_calls") or ()]
        return Reply(
            said.get("content") or "",
            tuple(CalledTool(call["name"], call["arguments"]) for call in calls),
        )

    async with AsyncExitStack() as stack:
        for session in idle:
            stack.callback(session.close)
        yield ask


def limited(cases: Sequence[EvalCase], limit: int | None) -> list[EvalCase]:
    """At most `limit` cases of each task, the first ones."""
    kept: list[EvalCase] = []
    counts: dict[str, int] = {}
    for case in cases:
        counts[case.task] = counts.get(case.task, 0) + 1
        if limit is None or counts[case.task] <= limit:
            kept.append(case)
    return kept
