"""A tool's process that dies or lies becomes a typed run, and nothing of it stays."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from octant.adapters.tools import child
from octant.adapters.tools.runner import IsolatedToolRunner
from octant.core.tools import ToolStatus
from tests.support.tools import (
    attempt,
    invocation,
    result,
    tool_runner,
    wait_for_workers,
    wait_until_gone,
)


@pytest.fixture
async def runner() -> AsyncGenerator[IsolatedToolRunner, None]:
    async with tool_runner() as made:
        yield made
        made.check_integrity()


async def _started() -> list[int]:
    return await asyncio.to_thread(wait_for_workers, 1)


def _sleeping() -> Any:
    return invocation("hostile", timeout_s=60, do="sleep")


async def test_a_crash_is_an_unknown_end(runner: IsolatedToolRunner) -> None:
    run = await attempt(runner, "hostile", "crash")
    assert run.status is ToolStatus.AMBIGUOUS
    assert result(run) == {"error": "the tool ended without an answer"}


@pytest.mark.parametrize("place", [0, -1])
async def test_killed_from_outside_it_is_an_unknown_end(
    runner: IsolatedToolRunner, place: int
) -> None:
    """Its first process or its last, where the kernel let it have several."""
    running = asyncio.create_task(runner.run(_sleeping()))
    pids = await _started()
    os.kill(pids[place], signal.SIGKILL)
    assert (await running).status is ToolStatus.AMBIGUOUS
    await asyncio.to_thread(wait_until_gone, pids)


@pytest.mark.parametrize(
    "said", ["", "ok", 'ok {"result": 5}', "ok {\n", "hello\n", "\n", "ok \xff\n", "ok NaN{}\n"]
)
async def test_half_an_answer_is_none(runner: IsolatedToolRunner, said: str) -> None:
    run = await attempt(runner, "hostile", "garbage", said)
    assert run.status is ToolStatus.AMBIGUOUS
    assert set(result(run)) == {"error"}


async def test_cancelling_ends_the_process(runner: IsolatedToolRunner) -> None:
    running = asyncio.create_task(runner.run(_sleeping()))
    pids = await _started()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.to_thread(wait_until_gone, pids)


async def test_closing_ends_what_runs_and_what_waits() -> None:
    async with tool_runner(max_concurrent=1) as runner:
        first, second = (asyncio.create_task(runner.run(_sleeping())) for _ in range(2))
        pids = await _started()
        await runner.close()
        assert (await first).status is ToolStatus.AMBIGUOUS
        assert (await second).status is ToolStatus.FAILED
        await asyncio.to_thread(wait_until_gone, pids)
        after = await runner.run(invocation("calculator", expression="1"))
        assert (after.status, result(after)) == (
            ToolStatus.FAILED,
            {"error": "the server is stopping; the tool was not run"},
        )


async def test_places_and_the_queue_are_bounded() -> None:
    async with tool_runner(max_concurrent=1, max_waiting=1) as runner:
        first = asyncio.create_task(runner.run(_sleeping()))
        await _started()
        second = asyncio.create_task(runner.run(_sleeping()))
        await asyncio.sleep(0)
        refused = await runner.run(invocation("calculator", expression="1"))
        assert (refused.status, result(refused)) == (
            ToolStatus.FAILED,
            {"error": "the tool is busy; try again later"},
        )
        runner.check_integrity()
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        again = await runner.run(invocation("calculator", expression="1"))
        assert result(again) == {"result": 1}


async def test_time_that_ends_in_the_queue_says_that_nothing_ran() -> None:
    async with tool_runner(max_concurrent=1) as runner:
        first = asyncio.create_task(runner.run(_sleeping()))
        await _started()
        waiting = await runner.run(invocation("hostile", timeout_s=0, do="sleep"))
        assert waiting.status is ToolStatus.FAILED
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_program_that_cannot_start_is_a_plain_failure(
    runner: IsolatedToolRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_ARGV", ("/nonexistent/python",))
    run = await runner.run(invocation("calculator", expression="1"))
    assert (run.status, result(run)) == (
        ToolStatus.FAILED,
        {"error": "the tool could not be started: No such file or directory"},
    )
