"""What an ``OSError`` of a local file system means for the caller, and whose new files are.

The table :data:`ROWS` decides. What will never succeed, as long as a person changes nothing, is no fault of the moment:
a name that is too long, a loop of links, a folder where a file is expected. Neither is what a store never makes: a FIFO, a socket, a device. To
open one of these could block for ever, so files are opened by :func:`open_file` and :func:`without_wait`.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
from pathlib import Path
from typing import Final

from headstream.errors import AccessDenied, HeadstreamError, RequestRejected, StoreNotFound, UnsuitableBackend
from headstream.protocol.ops import NotApplied, Unknown


class Meaning(enum.Enum):
    """What an error is for the caller."""

    DENIED = "no access"
    FULL = "the disk is full: it may have room later"
    GONE = "a file or folder is not there"
    OTHER = "something that no store has is in the place"
    LONG = "the name or the path is too long"
    UNSUITABLE = "the file system cannot do it"


ROWS: Final = {
    errno.EACCES: Meaning.DENIED,
    errno.EPERM: Meaning.DENIED,
    errno.EROFS: Meaning.DENIED,
    errno.ENOSPC: Meaning.FULL,
    errno.EDQUOT: Meaning.FULL,
    errno.ENOENT: Meaning.GONE,
    errno.EEXIST: Meaning.OTHER,
    errno.EISDIR: Meaning.OTHER,
    errno.ELOOP: Meaning.OTHER,
    errno.ENODEV: Meaning.OTHER,
    errno.ENOTDIR: Meaning.OTHER,
    errno.ENXIO: Meaning.OTHER,
    errno.ENAMETOOLONG: Meaning.LONG,
    errno.ENOSYS: Meaning.UNSUITABLE,
    errno.ENOTSUP: Meaning.UNSUITABLE,
    errno.EOPNOTSUPP: Meaning.UNSUITABLE,
}
"""Errors that mean something. Any other is of the moment, such as too many open files, or an I/O error."""

UNSUPPORTED: Final = {number for number, meaning in ROWS.items() if meaning is Meaning.UNSUITABLE}

_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)


def explain_os(error: OSError, path: Path, *, committing: bool = False) -> HeadstreamError | NotApplied | Unknown:
    """What to raise instead of ``error``, which came from work on the file or folder ``path``, or on one that it names.

    ``committing`` says that the system was asked to make a write visible: then an error does not tell whether it is.
    """
    reason, code = error.strerror or str(error), errno.errorcode.get(error.errno or 0)
    named = error.filename if isinstance(error.filename, str | Path) else path
    if committing:
        return Unknown(f"{path}: {reason}", code=code)
    match ROWS.get(error.errno or 0):
        case Meaning.DENIED:
            return AccessDenied(f"{named} must be readable and writable by this process: {reason}")
        case Meaning.FULL:
            return NotApplied(f"the disk of {path} is full: {reason}", code=code)
        case Meaning.GONE if not path.exists():
            return StoreNotFound(f"{path} does not exist: create it with `headstream init`, or correct the path")
        case Meaning.OTHER:
            return RequestRejected(
                f"{named} is not what a store has there, and headstream did not make it: remove it, or correct the path",
                reason=reason,
                code=code,
            )
        case Meaning.LONG:
            return RequestRejected(
                f"a name below {path.parent} is too long for the file system: use shorter names of streams, or a shorter path to the store",
                reason=reason,
                code=code,
            )
        case Meaning.UNSUITABLE:
            return UnsuitableBackend(
                f"{named} is on a file system that cannot do what a store needs ({reason}): use a local disk"
            )
    return NotApplied(f"{named}: {reason}", code=code)


def without_wait(path: str, flags: int) -> int:
    """An opener that never waits: for the other end of a FIFO, for example."""
    return os.open(path, flags | _NO_WAIT, 0o666)


def open_file(path: str, flags: int) -> int:
    """An opener for a plain file. Raises ``OSError`` (``ENXIO``) if it is something else."""
    descriptor = without_wait(path, flags)
    try:
        check_plain(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_plain(about: os.stat_result, path: str) -> None:
    """Raise ``OSError`` if this is no plain file: ``EISDIR`` for a folder, ``ENXIO`` for anything else."""
    if not stat.S_ISREG(about.st_mode):
        number = errno.EISDIR if stat.S_ISDIR(about.st_mode) else errno.ENXIO
        raise OSError(number, os.strerror(number), path)


def adopt(new: int | Path, like: os.stat_result) -> None:
    """Give a new file or folder, or an open one, the permissions of the store's, and its owner if this process is root's.

    A folder's permissions, without those to search, are those of a file.
    """
    if os.name == "nt":
        return
    about = os.stat(new)  # noqa: PTH116 - it may be a descriptor
    wanted = stat.S_IMODE(like.st_mode) if stat.S_ISDIR(about.st_mode) else stat.S_IMODE(like.st_mode) & 0o666
    if (about.st_uid, about.st_gid) != (like.st_uid, like.st_gid) and os.geteuid() == 0:
        os.chown(new, like.st_uid, like.st_gid)
    if stat.S_IMODE(about.st_mode) != wanted and about.st_uid == os.geteuid():
        os.chmod(new, wanted)  # noqa: PTH101
