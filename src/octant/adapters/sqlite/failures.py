"""Where errors of SQLite, SQLAlchemy and the file system become failures of Octant."""

import sqlite3
from typing import Any

from sqlalchemy.exc import DBAPIError

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.core.units import NS_PER_S

_RETRY_NS = NS_PER_S

# Conditions of the whole file: trying the next write at once can only fail the same way.
_FILE_WIDE = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY", "SQLITE_CANTOPEN"})

_REMEDIES = {
    "SQLITE_FULL": "The disk or the quota is full: free space, or move store.path.",
    "SQLITE_IOERR": "The disk reports an input/output error: check it, or move store.path.",
    "SQLITE_READONLY": "The file cannot be written: check its owner and how it is mounted.",
    "SQLITE_BUSY": "Another process has locked the file for too long.",
    "SQLITE_CANTOPEN": "The file cannot be opened: check that its directory is writable.",
    "SQLITE_CORRUPT": "The file is damaged: restore it from a backup.",
    "SQLITE_NOTADB": "The file is not a SQLite database: set store.path to another one.",
}


def not_stored(what: str, error: BaseException | None = None) -> Failed:
    """RECORD_NOT_STORED, with the reason in the operator's words."""
    code = sqlite_code(error)
    remedy = _REMEDIES.get(code) or _REMEDIES.get(_primary(code), "")
    reason = remedy or (f"{type(error).__name__}: {_first_line(error)}" if error else "")
    return Failed(
        Failure(
            kind=FailureKind.RECORD_NOT_STORED,
            stage=Stage.RESPONSE,
            message=" ".join(part for part in (what, reason) if part),
            retry_after_ns=_RETRY_NS,
            detail={"sqlite": code} if code else {},
        )
    )


def refused(
    kind: FailureKind,
    message: str,
    *,
    stage: Stage = Stage.RESPONSE,
    detail: dict[str, Any] | None = None,
) -> Failed:
    """A write that contradicts what is stored."""
    return Failed(Failure(kind=kind, stage=stage, message=message, detail=detail or {}))


def is_file_wide(error: BaseException) -> bool:
    """True when the file, and not the record, is the reason."""
    return _primary(sqlite_code(error)) in _FILE_WIDE


def sqlite_code(error: BaseException | None) -> str:
    """SQLite's extended code, as `SQLITE_CONSTRAINT_UNIQUE`; empty for other errors."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlite_errorname", "") if isinstance(cause, sqlite3.Error) else ""


def _primary(code: str) -> str:
    """`SQLITE_IOERR` of `SQLITE_IOERR_WRITE`."""
    return "_".join(code.split("_")[:2])


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
