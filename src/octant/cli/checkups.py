"""Checkups: what `octant doctor` looks at, one function per subject.

Law: a checkup only looks. It returns what it found with a remedy where something is wrong; it never
raises for a finding and changes nothing but a probe file that it removes.
"""

import importlib.metadata
import os
import platform
import socket
import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from octant.app.model_source import bundled_directory
from octant.app.settings import LoadedSettings, Settings
from octant.cli import server_file
from octant.cli.http_client import connect
from octant.cli.machine import cpu_features, memory
from octant.core.failure import Failed
from octant.observability.printable import printable
from octant.ports.store import RequestFilter
from octant.preparation.manifest import MANIFEST_FILE, read_artifact

State = Literal["ok", "warn", "fail"]

_GIB = 1 << 30
_OLDEST_PYTHON = (3, 11)
_LEAST_FREE_BYTES = _GIB
_LEAST_DISK_BYTES = _GIB
_HTTP_OK = 200
_STORE_REMEDY = "Restore the file from a backup, or move it away to start with an empty store."


class Finding(NamedTuple):
    """One checkup: `remedy` says what to do, empty when there is nothing to do."""

    subject: str
    state: State
    found: str
    remedy: str = ""


def of_machine() -> list[Finding]:
    """Python, packages, processor, memory."""
    return [_python(), _packages(), _processor(), _memory()]


async def of_installation(loaded: LoadedSettings) -> list[Finding]:
    """Configuration, data directory, store, model, port, server."""
    settings = loaded.settings
    findings = [_configuration(loaded), _data_dir(settings.data_dir)]
    if findings[-1].state != "fail":
        findings.append(await _store(settings))
    findings.append(_model(settings))
    running = server_file.find(settings.data_dir)
    if running is None:
        findings.append(_port(settings))
        findings.append(
            Finding("server", "warn", "not running on this data directory", "octant serve")
        )
    else:
        findings.append(await _server(running))
    return findings


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


def _configuration(loaded: LoadedSettings) -> Finding:
    return Finding("configuration", "ok", str(loaded.file or "defaults (no file)"))


def _data_dir(path: Path) -> Finding:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    remedy = f"Make {existing} writable for {os.getuid()}, or choose another with --data-dir."
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        space = os.statvfs(existing)
    except OSError as error:
        return Finding("data directory", "fail", f"{path}: {error.strerror}", remedy)
    free = space.f_bavail * space.f_frsize
    if free < _LEAST_DISK_BYTES:
        return Finding(
            "data directory",
            "warn",
            f"{path}: only {free / _GIB:.1f} GiB free",
            "Free disk space: settled requests and prepared models are kept there.",
        )
    note = "" if path.exists() else " (will be made at the first start)"
    return Finding("data directory", "ok", f"{path}{note}, {free / _GIB:.1f} GiB free")


async def _store(settings: Settings) -> Finding:
    path = settings.store_path
    if not path.exists():
        return Finding("store", "ok", f"{path} will be made at the first start")
    # Opening it checks the schema and that writing works; then rows of each table are decoded.
    from octant.cli.local_store import open_local

    try:
        async with open_local(settings) as local:
            tenants, keys = await local.store.tenants(), await local.store.keys()
            await local.store.outcomes(RequestFilter(limit=100))
    except Failed as error:
        return Finding("store", "fail", f"{path}: {error.failure.message}", _STORE_REMEDY)
    return Finding("store", "ok", f"{path}: {len(tenants)} tenants, {len(keys)} keys")


def _model(settings: Settings) -> Finding:
    path = settings.model.path
    directory = Path(path).expanduser() if path else bundled_directory()
    if not (directory / MANIFEST_FILE).is_file():
        known = directory.is_dir()
        what = "a checkpoint" if known else "not a directory here"
        return Finding(
            "model",
            "ok" if known else "warn",
            f"{directory} is {what}; `octant serve` prepares it first",
            "" if known else "Check model.path if this was meant to be a directory.",
        )
    try:
        artifact = read_artifact(directory)
    except Failed as error:
        return Finding("model", "fail", error.failure.message, "Prepare or install it again.")
    files = len(artifact.files)
    return Finding("model", "ok", f"{artifact.name}: {files} files match {artifact.digest[:19]}")


def _port(settings: Settings) -> Finding:
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(
                "port",
                "fail",
                f"{host}:{port}: {error.strerror}",
                "Stop what listens there, or choose another port: octant serve --port N.",
            )
    return Finding("port", "ok", f"{host}:{port} is free")


async def _server(running: server_file.RunningServer) -> Finding:
    try:
        connection = await connect(running.url)
        try:
            answer = await connection.exchange("GET", "/health/ready", {})
        finally:
            connection.close()
    except Failed as error:
        return Finding("server", "fail", error.failure.message, f"Restart process {running.pid}.")
    where = f"{running.url} (process {running.pid})"
    if answer.status != _HTTP_OK:
        why = printable(answer.body[:500].decode(errors="replace"))
        return Finding("server", "fail", f"{where} is not ready: {why}", "Look at its log.")
    return Finding("server", "ok", f"{where} is ready")
