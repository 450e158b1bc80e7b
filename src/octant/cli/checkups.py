"""Checkups of the machine: what Octant needs before any of it can run.

Law: a checkup only looks. It returns what it found, with a remedy where something is wrong, and
never raises for a finding. Nothing here imports a package whose absence it might have to report.
"""

import importlib.metadata
import os
import platform
import sys
from typing import Literal, NamedTuple

from octant.cli.machine import cpu_features, memory

State = Literal["ok", "warn", "fail"]

_GIB = 1 << 30
_OLDEST_PYTHON = (3, 11)
_LEAST_FREE_BYTES = _GIB


class Finding(NamedTuple):
    """One checkup: `remedy` says what to do, empty when there is nothing to do."""

    subject: str
    state: State
    found: str
    remedy: str = ""


def of_machine() -> list[Finding]:
    """Python, packages, processor, memory."""
    return [_python(), _packages(), _processor(), _memory()]


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("python", "fail", found, "Install Python 3.11 or later.")
    return Finding("python", "ok", f"{found} at {sys.executable}")


def _packages() -> Finding:
    wanted = importlib.metadata.requires("octant") or []
    required = [text for text in wanted if "extra ==" not in text]
    missing: list[str] = []
    for text in required:
        name = _distribution(text)
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            "packages", "fail", f"missing: {', '.join(missing)}", "pip install --upgrade octant"
        )
    return Finding("packages", "ok", f"{len(required)} required packages are installed")


def _distribution(requirement: str) -> str:
    for position, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:position]
    return requirement


def _processor() -> Finding:
    features = cpu_features()
    cores = f"{os.cpu_count()} cores, {platform.machine()}"
    if platform.machine() not in ("x86_64", "AMD64"):
        return Finding("processor", "ok", cores)
    if "avx2" not in features:
        return Finding(
            "processor",
            "fail",
            f"{cores}, no avx2",
            "The embedded engine needs AVX2. In a virtual machine, pass the host's CPU through.",
        )
    useful = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"]
    return Finding("processor", "ok", f"{cores}, {' '.join(f for f in useful if f in features)}")


def _memory() -> Finding:
    amounts = memory()
    if amounts is None:
        return Finding("memory", "warn", "unknown on this system")
    text = f"{amounts.available / _GIB:.1f} of {amounts.total / _GIB:.1f} GiB free"
    if amounts.available < _LEAST_FREE_BYTES:
        return Finding(
            "memory",
            "warn",
            text,
            "Close other programs, or lower engine.kv_bytes in the configuration.",
        )
    return Finding("memory", "ok", text)
