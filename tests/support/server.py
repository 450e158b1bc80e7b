"""A real `octant serve`: its own process, data directory and port."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from openai import AsyncOpenAI, OpenAI

OCTANT = Path(sys.executable).parent / "octant"
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 60


class RunningServer(NamedTuple):
    """A server that answers."""

    process: subprocess.Popen[str]
    address: str
    key: str
    model: str
    data_dir: Path

    def client(self, **options: Any) -> OpenAI:
        """The official client; it retries nothing unless told to."""
        given = {"max_retries": 0, "timeout": 60.0} | options
        return OpenAI(base_url=f"{self.address}/v1", api_key=self.key, **given)

    def async_client(self, **options: Any) -> AsyncOpenAI:
        """The official asynchronous client."""
        given = {"max_retries": 0, "timeout": 60.0} | options
        return AsyncOpenAI(base_url=f"{self.address}/v1", api_key=self.key, **given)

    def http(self, **options: Any) -> httpx2.Client:
        """A plain HTTP client with the key."""
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx2.Client(base_url=self.address, headers=headers, timeout=60.0, **options)

    def octant(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `octant` on this server's data directory."""
        return octant(*arguments, "--data-dir", str(self.data_dir))

    def metric(self, name: str) -> float:
        """The sum over all series of one metric."""
        page = httpx2.get(f"{self.address}/metrics").text
        family = name.removesuffix("_count").removesuffix("_sum")
        assert f"# TYPE {family} " in page, f"no metric {name}"
        series = (f"{name} ", f"{name}{{")
        return sum(
            float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(series)
        )

    def wait_idle(self) -> None:
        """Returns once nothing runs, waits or holds a block in the engine."""
        names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
        eventually(
            lambda: all(self.metric(f"vllm:{name}") == 0 for name in names), "everything freed"
        )

    def engine_pid(self) -> int:
        """The process id of the engine that was started first."""
        pids = self.engine_pids()
        assert pids, f"server {self.process.pid} has no engine"
        return pids[0]

    def engine_pids(self) -> list[int]:
        """The server's children that run the engine module."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [
            int(child)
            for child in children.split()
            if b"octant.app.engine_process" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]


def eventually(holds: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Polls until `holds`."""
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def octant(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command; standard streams are captured as text."""
    return subprocess.run(
        [OCTANT, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {})},
    )


@contextmanager
def running_server(
    data_dir: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Iterator[RunningServer]:
    """Starts a server and stops it with SIGTERM; `key` is needed when the directory has one."""
    log = (data_dir.parent / f"{data_dir.name}.log").open("a")
    process = subprocess.Popen(
        [OCTANT, "serve", "--port", "0", "--data-dir", str(data_dir), "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        info = _first_line(process, Path(log.name))
        usable = info["first_key"] or key
        assert usable, "the data directory has a key already: pass it"
        yield RunningServer(process, info["address"], usable, info["model"], data_dir)
    finally:
        stop(process)
        assert process.stdout is not None
        process.stdout.close()
        log.close()


def stop(process: subprocess.Popen[str]) -> int:
    """SIGTERM, and the exit status; a server that does not leave in time is killed and fails."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _first_line(process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(f"octant serve ended with {process.wait()}:\n{log.read_text()}")
    return json.loads(line)
