"""The machine's clock, entropy and processes keep what their ports promise."""

import os
import signal
import subprocess
import sys

import pytest

from octant.adapters.system.clock import SystemClock
from octant.adapters.system.entropy import SystemEntropy
from octant.adapters.system.process import SystemLauncher
from octant.core.failure import Failed, FailureKind
from octant.core.units import NS_PER_MS

WAITS = "import time; time.sleep(60)"


async def test_sleep_never_ends_early() -> None:
    clock = SystemClock()
    for duration_ns in (0, 1, NS_PER_MS // 3, 3 * NS_PER_MS):
        began_ns = clock.monotonic_ns()
        await clock.sleep(duration_ns)
        assert clock.monotonic_ns() - began_ns >= duration_ns


def test_entropy_gives_as_much_as_asked_and_never_the_same() -> None:
    entropy = SystemEntropy()
    drawn = {entropy.bytes(16) for _ in range(100)}
    assert len(drawn) == 100
    assert {len(bytes_) for bytes_ in drawn} == {16}


@pytest.mark.parametrize(("code", "status"), [("", 0), ("raise SystemExit(3)", 3)])
async def test_a_child_s_exit_status_is_known(code: str, status: int) -> None:
    child = await SystemLauncher().launch([sys.executable, "-c", code])
    assert await child.wait() == status
    child.terminate()
    child.kill()


async def test_a_child_can_be_ended_politely_and_by_force() -> None:
    for end, status in (("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL)):
        child = await SystemLauncher().launch([sys.executable, "-c", WAITS])
        getattr(child, end)()
        assert await child.wait() == status


async def test_a_stopped_child_can_still_be_killed() -> None:
    child = await SystemLauncher().launch([sys.executable, "-c", WAITS])
    os.kill(child.pid, signal.SIGSTOP)
    child.kill()
    assert await child.wait() == -signal.SIGKILL


async def test_a_child_has_a_session_of_its_own_and_nothing_to_read() -> None:
    code = "import os, sys; sys.exit(os.getsid(0) != os.getpid() or len(sys.stdin.read()))"
    child = await SystemLauncher().launch([sys.executable, "-c", code])
    assert await child.wait() == 0


async def test_what_a_child_prints_stays_out_of_standard_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    child = await SystemLauncher().launch([sys.executable, "-c", "print('a word')"])
    assert await child.wait() == 0
    out, err = capfd.readouterr()
    assert (out, err) == ("", "a word\n")


async def test_a_program_that_is_not_there_is_a_classified_failure() -> None:
    with pytest.raises(Failed) as raised:
        await SystemLauncher().launch(["/no/such/program"])
    assert raised.value.failure.kind is FailureKind.ENGINE_UNAVAILABLE
    assert raised.value.failure.detail["program"] == "/no/such/program"


def test_the_file_limit_is_raised_as_far_as_allowed_and_never_lowered() -> None:
    script = (
        "import resource as r\n"
        "from octant.adapters.system.file_limit import raise_file_limit as up\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, 128))\n"
        "print(up(100), r.getrlimit(r.RLIMIT_NOFILE), up(50), up(500), "
        "r.getrlimit(r.RLIMIT_NOFILE))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert told.stdout.split("\n")[0] == "100 (100, 128) 50 128 (128, 128)"
