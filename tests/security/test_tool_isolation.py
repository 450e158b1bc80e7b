"""A tool's process can do nothing but compute. Each escape is tried against the kernel alone, and
against the interpreter that refuses."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from octant.adapters.tools.runner import IsolatedToolRunner
from octant.core.tools import ToolStatus
from octant.ports.tool_runner import ToolRun
from tests.support.tools import (
    attempt,
    invocation,
    result,
    tool_runner,
    wait_for_workers,
    wait_until_gone,
    workers,
)

WORKER = Path(__file__).parents[2] / "src/octant/adapters/tools/isolated/worker.py"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")


def _namespaces() -> bool:
    """Whether this kernel lets a process have namespaces of its own."""
    code = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000 | 0x40000000) != 0)"
    return subprocess.run([sys.executable, "-I", "-c", code]).returncode == 0


isolated = pytest.mark.skipif(
    sys.platform != "linux" or not _namespaces(), reason="the kernel grants no namespaces"
)


@pytest.fixture
async def runner() -> AsyncGenerator[IsolatedToolRunner, None]:
    async with tool_runner() as made:
        yield made


@isolated
@pytest.mark.parametrize(
    ("do", "given", "stopped_by"),
    [
        ("read_file", "/etc/passwd", "FileNotFoundError"),
        ("read_file", str(WORKER), "FileNotFoundError"),
        ("read_file", "/proc/self/environ", "FileNotFoundError"),
        ("write_file", None, "OSError"),
        ("start_program", None, "BlockingIOError|FileNotFoundError"),
        ("leave_chroot", None, "PermissionError"),
        ("new_namespace", None, "PermissionError"),
    ],
)
async def test_the_kernel_refuses(
    runner: IsolatedToolRunner, do: str, given: Any, stopped_by: str
) -> None:
    run = await attempt(runner, "hostile", do, given)
    assert run.status is ToolStatus.SUCCEEDED, run.content
    assert result(run).get("stopped_by") in stopped_by.split("|"), run.content


@isolated
async def test_no_address_is_reachable_not_even_this_machine(runner: IsolatedToolRunner) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        run = await attempt(runner, "hostile", "connect", port)
    assert result(run) == {"stopped_by": "OSError"}


@isolated
async def test_the_file_system_is_an_empty_directory(runner: IsolatedToolRunner) -> None:
    assert result(await attempt(runner, "hostile", "list_root")) == {"done": []}


async def test_nothing_is_inherited(
    runner: IsolatedToolRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OCTANT_SECRET", "hunter2")
    with (tmp_path / "open").open("w") as kept:
        assert kept.fileno() >= 3
        assert result(await attempt(runner, "hostile", "descriptors")) == {"done": []}
    environment = result(await attempt(runner, "hostile", "environment"))["done"]
    # Where the C locale is coerced, the interpreter itself sets this one.
    assert set(environment) <= {"LC_CTYPE"}


@pytest.mark.parametrize(
    ("do", "given"),
    [
        ("read_file", "/etc/passwd"),
        ("list_root", None),
        ("write_file", None),
        ("connect", 9),
        ("resolve", None),
        ("start_program", None),
        ("leave_chroot", None),
        ("new_namespace", None),
        ("children", False),
        ("signal", 1),
        ("crash", None),
        ("import", "http.client"),
    ],
)
async def test_the_interpreter_refuses_too(runner: IsolatedToolRunner, do: str, given: Any) -> None:
    run = await attempt(runner, "guarded", do, given)
    assert result(run) == {"stopped_by": "PermissionError"}


@isolated
@pytest.mark.parametrize("leave_group", [False, True])
async def test_children_end_with_their_tool(runner: IsolatedToolRunner, leave_group: bool) -> None:
    """As root the kernel lets a tool fork, and leave its group; nothing of it stays."""
    running = asyncio.create_task(attempt(runner, "hostile", "children", leave_group))
    pids = await asyncio.to_thread(wait_for_workers, 5, running.done)
    running.cancel()
    [ended] = await asyncio.gather(running, return_exceptions=True)
    if isinstance(ended, ToolRun):
        assert result(ended) == {"stopped_by": "BlockingIOError"}
    else:
        assert len(pids) >= 5
    await asyncio.to_thread(wait_until_gone, pids)


async def test_an_answer_does_not_wait_for_children(runner: IsolatedToolRunner) -> None:
    run = await attempt(runner, "hostile", "child_and_answer")
    assert result(run) in ({"done": "answered"}, {"stopped_by": "BlockingIOError"})
    assert not await asyncio.to_thread(workers)


@isolated
async def test_other_processes_do_not_exist_for_it(runner: IsolatedToolRunner) -> None:
    run = await attempt(runner, "hostile", "signal", os.getpid())
    assert result(run) == {"stopped_by": "ProcessLookupError"}


@pytest.mark.parametrize("do", ["spin", "sleep", "ignore_signals"])
async def test_what_does_not_end_is_ended(runner: IsolatedToolRunner, do: str) -> None:
    run = await runner.run(invocation("hostile", timeout_s=1, do=do))
    assert run.status is ToolStatus.TIMED_OUT
    assert result(run) == {"error": "timed out"}
    assert not await asyncio.to_thread(workers)


async def test_memory_is_bounded(runner: IsolatedToolRunner) -> None:
    run = await attempt(runner, "hostile", "eat_memory")
    assert (run.status, result(run)) == (
        ToolStatus.FAILED,
        {"error": "the tool ran out of memory"},
    )


@pytest.mark.parametrize(("do", "given"), [("flood", None), ("long_answer", 9_000)])
async def test_output_is_bounded(runner: IsolatedToolRunner, do: str, given: Any) -> None:
    run = await attempt(runner, "hostile", do, given)
    assert run.status is ToolStatus.AMBIGUOUS
    assert len(run.content) < 100


async def test_what_an_exception_says_stays_inside(runner: IsolatedToolRunner) -> None:
    run = await attempt(runner, "hostile", "say_error", "hunter2")
    assert "hunter2" not in run.content


@LINUX
@pytest.mark.parametrize("do", ["spin", "sleep"])
def test_without_its_server_a_tool_ends_itself(tmp_path: Path, do: str) -> None:
    """No runner here: only what the worker does to itself."""
    ended = _bare_worker(tmp_path, [], "hostile", do, seconds=1)
    assert ended.returncode in (-signal.SIGALRM, -signal.SIGKILL)
    assert ended.stdout == b""


@isolated
def test_where_the_kernel_refuses_the_interpreter_still_does(tmp_path: Path) -> None:
    ended = _bare_worker(tmp_path, _WITHOUT_NAMESPACES, "guarded", "list_root")
    assert ended.stdout == b'ok {"stopped_by": "PermissionError"}\n'
    unguarded = _bare_worker(tmp_path, _WITHOUT_NAMESPACES, "hostile", "list_root")
    assert b"proc" in unguarded.stdout, "the kernel has not refused, so this test shows nothing"


@isolated
def test_required_isolation_that_is_refused_is_an_error(tmp_path: Path) -> None:
    ended = _bare_worker(
        tmp_path, _WITHOUT_NAMESPACES, "hostile", "list_root", require_isolation=True
    )
    assert ended.stdout == (
        b'error {"error": "this machine cannot isolate tools, and the settings require it"}\n'
    )


# Runs what follows where no further namespaces are granted.
_WITHOUT_NAMESPACES = [
    sys.executable,
    "-I",
    "-c",
    "import ctypes, os, sys\n"
    "assert ctypes.CDLL(None).unshare(0x10000000) == 0\n"
    "open('/proc/sys/user/max_user_namespaces', 'w').write('0')\n"
    "os.execv(sys.argv[1], sys.argv[1:])",
]


def _bare_worker(
    directory: Path,
    prefix: list[str],
    tool: str,
    do: str,
    *,
    seconds: int = 20,
    require_isolation: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    request = {
        "program": str(Path(__file__).parents[1] / "support" / f"{tool}_tool.py"),
        "arguments": {"do": do},
        "context": {},
        "seconds": seconds,
        "memory_bytes": 256 << 20,
        "require_isolation": require_isolation,
    }
    return subprocess.run(
        [*prefix, sys.executable, "-I", "-S", str(WORKER)],
        input=json.dumps(request).encode(),
        capture_output=True,
        cwd=directory,
        timeout=60,
    )
