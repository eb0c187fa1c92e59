"""What an ``OSError`` of a local file system means for the caller."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from headstream.errors import AccessDenied, HeadstreamError, StoreNotFound
from headstream.protocol.ops import NotApplied, Unknown

_DENIED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


def explain_os(error: OSError, path: Path, *, committing: bool = False) -> HeadstreamError | NotApplied | Unknown:
    """What to raise instead of ``error``, which came from work on the file or folder ``path``.

    ``committing`` says that the system was asked to make a write visible: then an error does not tell whether it is.
    """
    reason = error.strerror or str(error)
    if committing:
        return Unknown(f"{path}: {reason}")
    if error.errno in _DENIED:
        return AccessDenied(f"{path} must be readable and writable by this process: {reason}")
    if error.errno in _FULL:
        return NotApplied(f"the disk of {path} is full: {reason}")
    if error.errno == errno.ENOENT and not path.exists():
        return StoreNotFound(f"{path} does not exist: create it with `headstream init`, or correct the path")
    return NotApplied(f"{path}: {reason}")
