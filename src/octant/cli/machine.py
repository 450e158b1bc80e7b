"""Machine: facts about the computer and the installation that records carry.

Law: facts are read from the system when asked, and absent ones are None; nothing is guessed.
"""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

_KIB = 1024
_VERSIONS = ("octant", "openvino", "numpy", "tokenizers", "uvicorn", "starlette")


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int


def cpu_features() -> frozenset[str]:
    """Flags of the first processor; empty where the system does not tell."""
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory() -> Memory | None:
    """Memory of the machine, None where the system does not tell."""
    found = {
        name: int(rest.split()[0]) * _KIB
        for name, _, rest in (line.partition(":") for line in _lines(Path("/proc/meminfo")))
        if name in ("MemTotal", "MemAvailable")
    }
    return Memory(found["MemTotal"], found["MemAvailable"]) if len(found) == 2 else None


def tree_rss_bytes(pid: int) -> int | None:
    """Resident memory of a process and all below it; shared pages count once for each process."""
    if not Path(f"/proc/{pid}").exists():
        return None
    return sum(_rss_bytes(member) for member in _tree(pid))


def tree_cpu_s(pid: int) -> float | None:
    """Processor time that a process and all below it have used; None where it is not told."""
    ticks = os.sysconf("SC_CLK_TCK")
    times = [_cpu_ticks(member) for member in _tree(pid)] if Path(f"/proc/{pid}").exists() else []
    return sum(times) / ticks if times else None


def facts() -> dict[str, Any]:
    """The machine, for a record of a measurement."""
    amounts = memory()
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "memory_bytes": amounts.total if amounts else None,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str | None]:
    """Versions of what a measurement depends on."""
    found: dict[str, str | None] = {}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def commit() -> str | None:
    """The commit of the checkout this package runs from, `+changes` when it was edited."""
    here = Path(__file__).parent
    head = _git(here, "rev-parse", "HEAD")
    if head is None:
        return None
    return f"{head}+changes" if _git(here, "status", "--porcelain", "--", ".") else head


def file_digest(path: Path) -> str:
    """`sha256:` and 64 hexadecimal digits over the file's bytes."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            status = _lines(entry / "stat")
            if status:
                parent = int(status[0].rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    members = [root]
    for member in members:
        members.extend(children.get(member, ()))
    return members


def _rss_bytes(pid: int) -> int:
    for line in _lines(Path(f"/proc/{pid}/status")):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _KIB
    return 0


def _cpu_ticks(pid: int) -> int:
    status = _lines(Path(f"/proc/{pid}/stat"))
    # After the name in brackets: state, then twelve figures on to user and system time.
    return sum(map(int, status[0].rpartition(")")[2].split()[11:13])) if status else 0


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
