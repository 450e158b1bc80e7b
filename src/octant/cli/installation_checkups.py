"""Checkups of the installation: configuration, data directory, store, model, port, server.

Law: as in `checkups`, a checkup only looks; all it writes is a nameless probe file. These import
what they look at, so they run only where the machine's checkups found every package.
"""

import os
import socket
import tempfile
from pathlib import Path

from octant.app.model_source import bundled_directory
from octant.app.settings import LoadedSettings, Settings
from octant.cli import server_file
from octant.cli.checkups import Finding
from octant.cli.hints import hint
from octant.cli.http_client import connect
from octant.cli.local_store import open_local
from octant.core.failure import Failed
from octant.observability.printable import printable
from octant.ports.store import RequestFilter
from octant.preparation.manifest import MANIFEST_FILE, read_artifact

_GIB = 1 << 30
_LEAST_DISK_BYTES = _GIB
_HTTP_OK = 200
_STORE_REMEDY = "Restore the file from a backup, or move it away to start with an empty store."


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
            Finding(
                "server",
                "warn",
                "not running on this data directory",
                hint("serve", settings.data_dir),
            )
        )
    else:
        findings.append(await _server(running))
    return findings


def _configuration(loaded: LoadedSettings) -> Finding:
    return Finding("configuration", "ok", str(loaded.file or "defaults (no file)"))


def _data_dir(path: Path) -> Finding:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    remedy = f"Make {existing} writable for user {os.getuid()}, or choose another with --data-dir."
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
