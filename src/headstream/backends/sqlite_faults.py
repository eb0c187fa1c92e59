"""What an error of SQLite means for the caller.

Only two codes say that the data is damaged. All others are of the disk, the system or the moment, and are told as such, with
the name of the code. Even those two can come of a read that failed; so the callers of :func:`explain` try once more on a new
connection before they believe them.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from headstream.backends.osfaults import explain_os
from headstream.errors import AccessDenied, CorruptData, StoreNotFound
from headstream.protocol.ops import NotApplied, Unknown

_LOCKED: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DENIED: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_CANTOPEN}
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file is damaged."""
    return _code(error) & 0xFF in _DAMAGED


def explain(
    error: Exception, path: Path, *, key: str = "", committing: bool = False, creating: bool = False
) -> Exception:
    """What to raise instead of ``error``, which came from SQLite or the system; others come back as they are.

    ``committing`` says that COMMIT was asked for: then an error does not tell whether the transaction counts,
    unless SQLite says that it wrote nothing. ``creating`` says that the file need not be there.
    """
    if isinstance(error, OSError):
        return explain_os(error, path, committing=committing)
    if not isinstance(error, sqlite3.Error) or not _code(error):
        return error
    code = _code(error) & 0xFF
    reason = f"{error} ({error.sqlite_errorname})"
    if code in _LOCKED:
        return NotApplied(f"{path} is locked by another program: {reason}")
    if code == sqlite3.SQLITE_FULL:
        return NotApplied(f"the disk of {path} is full: {reason}")
    if committing:
        return Unknown(f"{path}: {reason}")
    if code in _DAMAGED:
        return CorruptData(f"{path} is damaged: {reason}: restore it from a backup", key=key)
    if code in _DENIED and (barred := _barred(path)):
        return AccessDenied(f"{barred} must be readable and writable by this process: {reason}")
    if code == sqlite3.SQLITE_CANTOPEN and not creating and not path.exists():
        return StoreNotFound(f"{path} does not exist: create it with `headstream init`, or correct the path")
    return NotApplied(f"{path}: {reason}")


def _code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0)


def beside(path: Path, suffix: str) -> Path:
    """A file that belongs to the database: ``-wal``, ``-shm``, ``-lock``."""
    return path.with_name(path.name + suffix)


def _barred(path: Path) -> Path | None:
    """The first of the files that SQLite needs which this process may not use."""
    if not os.access(path.parent, os.R_OK | os.W_OK | os.X_OK):
        return path.parent
    for file in (path, beside(path, "-wal"), beside(path, "-shm")):
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            return file
    return None
