"""Faults of a real engine process: killed, stopped, spoiled, flooded, orphaned (SV8)."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octant.core.events import EngineStateChanged
from octant.core.failure import Failed, FailureKind
from octant.core.route import DeploymentState
from octant.core.stream import Completed, Started, StreamItem, TextDelta
from octant.core.units import NS_PER_MS
from octant.serving.engine_client import ClientSettings
from tests.support.engine_parts import work
from tests.support.modelled_lm import NAN_MARK, RAISE_MARK, saying
from tests.support.supervised import (
    SETTINGS,
    Supervised,
    check_order,
    failure,
    supervised,
    text,
)

ENDLESS = {"ignore_eos": True, "max_tokens": 240}
LONG = {"ignore_eos": True, "max_tokens": 60}


async def ask_until_text(
    engine: Supervised, *names: str, **sampling: Any
) -> list[asyncio.Task[list[StreamItem]]]:
    """Starts long requests; returns once each has sent text."""
    speaking = [asyncio.Event() for _ in names]

    async def read(name: str, event: asyncio.Event) -> list[StreamItem]:
        items: list[StreamItem] = []
        async with engine.client.generate(
            work(b"endless", name, **(sampling or ENDLESS))
        ) as stream:
            async for item in stream:
                items.append(item)
                if isinstance(item, TextDelta):
                    event.set()
        return items

    tasks = [
        asyncio.create_task(read(name, event)) for name, event in zip(names, speaking, strict=True)
    ]
    for event in speaking:
        await event.wait()
    return tasks


async def test_answers_cross_the_process_border(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        items = await engine.ask(work(saying("hello world"), n=2))
        check_order(items)
        assert isinstance(items[0], Started)
        assert (text(items, 0), text(items, 1)) == ("hello world", "hello world")
        assert isinstance(items[-1], Completed)
        assert items[-1].usage.completion_tokens == 24
        facts = engine.client.facts()
        assert facts is not None and facts.artifact_digest == "sha256:test"
        await engine.idle()


async def test_states_are_passed_in_order(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        pass
    assert [event.state for event in engine.events.of(EngineStateChanged)] == [
        DeploymentState.LOADING,
        DeploymentState.WARMING,
        DeploymentState.PROBING,
        DeploymentState.READY,
        DeploymentState.DRAINING,
        DeploymentState.STOPPED,
    ]


async def test_a_killed_engine_fails_its_requests_at_once_and_serves_again(
    tmp_path: Path,
) -> None:
    async with supervised(tmp_path) as engine:
        tasks = await ask_until_text(engine, "req_1", "req_2", "req_3")
        os.kill(engine.pid, signal.SIGKILL)
        answers = await asyncio.gather(*tasks)
        for items in answers:
            check_order(items)
            assert failure(items).kind is FailureKind.ENGINE_LOST
            assert "SIGKILL" in failure(items).message
        refused = failure(await engine.ask(work(saying("too early"))))
        assert refused.kind is FailureKind.ENGINE_UNAVAILABLE
        assert refused.retry_after_ns
        await engine.ready_again(2)
        assert text(await engine.ask(work(saying("back")))) == "back"
        assert engine.moves(DeploymentState.READY)[-1].restarts == 1
        await engine.idle()


async def test_a_defect_of_the_supervision_costs_one_engine_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with supervised(tmp_path) as engine:
        with monkeypatch.context() as broken:
            broken.setattr(engine.client, "take", lambda progress: 1 // 0)
            await engine.states(DeploymentState.LOADING)
        await engine.ready_again(2)
        assert text(await engine.ask(work(saying("back")))) == "back"
        assert "ZeroDivisionError" in caplog.text
        assert "is loading: The engine was lost: its supervision met a defect" in caplog.text


async def test_a_hanging_engine_is_found_and_replaced(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        (task,) = await ask_until_text(engine, "req_1")
        os.kill(engine.pid, signal.SIGSTOP)
        items = await task
        assert failure(items).kind is FailureKind.ENGINE_STALLED
        await engine.ready_again(2)
        assert text(await engine.ask(work(saying("back")))) == "back"


async def test_an_idle_engine_that_hangs_is_found_too(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        os.kill(engine.pid, signal.SIGSTOP)
        await engine.ready_again(2)
        assert "said nothing" in engine.moves(DeploymentState.LOADING)[-1].reason


async def test_a_pause_shorter_than_the_limit_harms_nothing(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        (task,) = await ask_until_text(engine, "req_1", **LONG)
        os.kill(engine.pid, signal.SIGSTOP)
        await asyncio.sleep(0.3)
        os.kill(engine.pid, signal.SIGCONT)
        assert isinstance((await task)[-1], Completed)


async def test_a_spoiled_sequence_fails_alone(tmp_path: Path) -> None:
    others = [work([65 + i] * 6, f"req_{i}", max_tokens=60, ignore_eos=True) for i in range(3)]
    async with supervised(tmp_path) as engine:
        alone = await asyncio.gather(*map(engine.ask, others))
        spoiled = work([NAN_MARK, 65], "req_bad", n=2, **ENDLESS)
        *beside, bad = await asyncio.gather(*map(engine.ask, [*others, spoiled]))
        assert [text(items) for items in beside] == [text(items) for items in alone]
        check_order(bad)
        assert failure(bad).kind is FailureKind.MODEL_FAILURE
        await engine.idle()
        assert len(engine.moves(DeploymentState.READY)) == 1


async def test_a_step_that_raises_costs_its_works_but_not_the_engine(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        bad = await engine.ask(work([RAISE_MARK, 65], "req_bad", **ENDLESS))
        assert failure(bad).kind is FailureKind.MODEL_FAILURE
        assert text(await engine.ask(work(saying("fine")))) == "fine"
        assert len(engine.moves(DeploymentState.READY)) == 1


async def test_leaving_a_stream_frees_what_it_held(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        async with engine.client.generate(work(b"endless", n=2, **ENDLESS)) as items:
            async for item in items:
                if isinstance(item, TextDelta):
                    break
            assert engine.client.load().running > 0
        await engine.idle()


async def test_a_cancelled_reader_frees_what_it_held(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        (task,) = await ask_until_text(engine, "req_1")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await engine.idle()


async def test_readers_leaving_at_any_moment_leave_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)

    async def leave_after(count: int, name: str) -> None:
        prompt = [65 + count] * chance.randint(1, 40)
        asked = work(prompt, name, n=chance.randint(1, 2), max_tokens=200, ignore_eos=True)
        async with engine.client.generate(asked) as items:
            for _ in range(count):
                await anext(items)

    async with supervised(tmp_path) as engine:
        for wave in range(10):
            async with asyncio.TaskGroup() as group:
                for index in range(20):
                    group.create_task(leave_after(chance.randint(0, 6), f"req_{wave}_{index}"))
        await engine.idle()
        assert text(await engine.ask(work(saying("still right")))) == "still right"
        assert len(engine.moves(DeploymentState.READY)) == 1


async def test_a_deadline_ends_a_stream_with_what_it_used(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        soon_ns = engine.clock.monotonic_ns() + 100 * NS_PER_MS
        items = await engine.ask(work(b"endless", deadline_ns=soon_ns, **ENDLESS))
        check_order(items)
        assert failure(items).kind is FailureKind.DEADLINE_EXCEEDED
        await engine.idle()


async def test_the_same_prompt_again_comes_from_the_cache(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        first, again = [
            await engine.ask(work(b"a prompt of some blocks", f"req_{i}", **LONG)) for i in (1, 2)
        ]
        assert text(first) == text(again)
        assert isinstance(first[-1], Completed) and isinstance(again[-1], Completed)
        assert (first[-1].usage.cached_tokens, again[-1].usage.cached_tokens) == (0, 20)


async def test_a_reader_that_falls_behind_loses_its_request_only(tmp_path: Path) -> None:
    async with supervised(tmp_path, client=ClientSettings(max_buffered_tokens=16)) as engine:
        async with engine.client.generate(work(b"endless", "req_slow", **LONG)) as slow:
            # Meanwhile nobody reads the slow one.
            quick = await engine.ask(work(b"endless", "req_quick", **LONG))
            items = [item async for item in slow]
        assert isinstance(quick[-1], Completed)
        check_order(items)
        assert failure(items).kind is FailureKind.CANCELLED
        await engine.idle()


async def test_more_than_may_be_outstanding_is_refused(tmp_path: Path) -> None:
    async with supervised(tmp_path, client=ClientSettings(max_outstanding=1)) as engine:
        (task,) = await ask_until_text(engine, "req_1")
        refused = failure(await engine.ask(work(saying("x"), "req_2")))
        assert refused.kind is FailureKind.CAPACITY_EXHAUSTED
        task.cancel()


async def test_the_same_attempt_twice_leaves_the_first_alone(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        (task,) = await ask_until_text(engine, "req_1", **LONG)
        again = await engine.ask(work(b"endless", "req_1", **ENDLESS))
        assert failure(again).kind is FailureKind.INTERNAL_ERROR
        assert isinstance((await task)[-1], Completed)


async def test_many_streams_at_once_are_all_right(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        asked = [work(saying(f"answer {i}"), f"req_{i}") for i in range(64)]
        answers = await asyncio.gather(*map(engine.ask, asked))
        assert [text(items) for items in answers] == [f"answer {i}" for i in range(64)]
        await engine.idle()


async def test_draining_lets_the_present_finish_and_takes_nothing_new(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        (task,) = await ask_until_text(engine, "req_1", **LONG)
        draining = asyncio.create_task(engine.supervisor.drain(30 * 10**9))
        await engine.states(DeploymentState.DRAINING)
        assert failure(await engine.ask(work(saying("x")))).kind is FailureKind.DRAINING
        assert isinstance((await task)[-1], Completed)
        await draining


async def test_draining_beyond_the_grace_ends_what_is_left(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        (task,) = await ask_until_text(engine, "req_1")
        await engine.supervisor.drain(0)
        assert failure(await task).kind is FailureKind.DRAINING


async def test_a_hung_engine_cannot_hold_up_the_shutdown(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, stop_grace_ns=100 * NS_PER_MS)
    async with supervised(tmp_path, settings=settings) as engine:
        pid = engine.pid
        os.kill(pid, signal.SIGSTOP)
        await engine.supervisor.drain(0)
        assert not alive(pid)
        assert len(engine.moves(DeploymentState.READY)) == 1


async def test_an_engine_killed_while_draining_is_not_replaced(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        (task,) = await ask_until_text(engine, "req_1")
        draining = asyncio.create_task(engine.supervisor.drain(30 * 10**9))
        await engine.states(DeploymentState.DRAINING)
        os.kill(engine.pid, signal.SIGKILL)
        assert failure(await task).kind is FailureKind.DRAINING
        await draining
        assert len(engine.moves(DeploymentState.READY)) == 1


async def test_a_crash_loop_is_called_failed_and_still_says_why(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        for launch in range(1, 4):
            await engine.ready_again(launch)
            os.kill(engine.pid, signal.SIGKILL)
        await engine.states(DeploymentState.FAILED)
        refused = failure(await engine.ask(work(saying("x"))))
        assert refused.kind is FailureKind.ENGINE_UNAVAILABLE
        assert "SIGKILL" in refused.message
        assert refused.retry_after_ns and refused.retry_after_ns >= SETTINGS.restart.slow_ns


async def test_a_model_that_cannot_be_loaded_fails_with_its_own_reason(tmp_path: Path) -> None:
    engine = Supervised(tmp_path, model="no such")
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.supervisor.run())
        with pytest.raises(Failed) as raised:
            await engine.supervisor.wait_ready()
        assert raised.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
        assert engine.client.load().state is DeploymentState.FAILED
        await engine.supervisor.drain(0)


async def test_an_engine_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, load_timeout_ns=1)
    engine = Supervised(tmp_path, settings=settings)
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.supervisor.run())
        await engine.states(DeploymentState.FAILED)
        assert "not ready" in engine.client.load().reason
        await engine.supervisor.drain(0)


async def test_cancelling_the_supervisor_kills_the_engine(tmp_path: Path) -> None:
    engine = Supervised(tmp_path)
    running = asyncio.create_task(engine.supervisor.run())
    await engine.supervisor.wait_ready()
    (task,) = await ask_until_text(engine, "req_1")
    pid = engine.pid
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert failure(await task).kind is FailureKind.DRAINING
    assert not alive(pid)


async def test_ctrl_c_is_left_to_the_server(tmp_path: Path) -> None:
    async with supervised(tmp_path) as engine:
        os.kill(engine.pid, signal.SIGINT)
        assert text(await engine.ask(work(saying("still here")))) == "still here"
        assert len(engine.moves(DeploymentState.READY)) == 1


def test_an_engine_dies_with_its_server(tmp_path: Path) -> None:
    """A server killed by force cannot end anybody; the kernel does it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.lonely_server", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    with server.stdout:
        engine_pid = int(server.stdout.readline())
        assert alive(engine_pid)
        server.kill()
        server.wait()
    waited = 0
    while alive(engine_pid):
        waited += 1
        assert waited < 500, "the engine outlived its server"
        subprocess.run(["sleep", "0.01"], check=True)


def alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped by init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
