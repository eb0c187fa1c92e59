"""What an ``OSError`` of a local file system means for the caller, and whose new files are."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from headstream.errors import AccessDenied, HeadstreamError, StoreNotFound
from headstream.protocol.ops import NotApplied, Unknown

_DENIED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


def explain_os(error: OSError, path: Path, *, committing: bool = False) -> HeadstreamError | NotApplied | Unknown:
    """What to raise instead of ``error``, which came from work on the file or folder ``path``, or on one that it names.

    ``committing`` says that the system was asked to make a write visible: then an error does not tell whether it is.
    """
    reason = error.strerror or str(error)
    if committing:
        return Unknown(f"{path}: {reason}")
    if error.errno in _DENIED:
        named = error.filename if isinstance(error.filename, str | Path) else path
        return AccessDenied(f"{named} must be readable and writable by this process: {reason}")
    if error.errno in _FULL:
        return NotApplied(f"the disk of {path} is full: {reason}")
    if error.errno == errno.ENOENT and not path.exists():
        return StoreNotFound(f"{path} does not exist: create it with `headstream init`, or correct the path")
    return NotApplied(f"{path}: {reason}")


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
