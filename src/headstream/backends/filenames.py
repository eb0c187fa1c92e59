"""Names of files for keys of objects: legal and distinct on every file system, also where case does not count.

The segments of a key become folders and a file. Nearly every character stands for itself. ``%`` and two lower-case hexadecimal
digits stand for a character where that is needed:

* capital letters: some file systems take ``A`` and ``a`` for one;
* a dot at the start, which hides a file, and at the end, which Windows drops;
* a tilde before a digit: ``longfi~1`` may be Windows' short name of another file;
* the first letter of ``con``, ``nul``, ``com1`` and the like, which are devices on Windows, whatever follows a dot.

A segment of more than 200 such bytes goes on in nested folders: a folder whose name ends in ``%`` is the beginning of the
segments in it.

The escaping is reversible, and a key has one path only: a file at any other path is not an object's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from headstream.errors import InvalidInput

CHUNK: Final = 200
"""Bytes of one name, before a few escapes at its ends. File systems allow 255."""
CONTINUES: Final = "%"

_SEGMENT: Final = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9!\-.=_~]+"
_KEY: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PLAIN: Final = re.compile(r"(?!con|prn|aux|nul|com|lpt)[0-9a-z!=_-]{1,200}")
"""Names that need no escape: most of those that headstream makes."""
_ESCAPED: Final = re.compile(r"[A-Z]|~(?=[0-9])")
_TOKEN: Final = re.compile(r"%..|.")
_DEVICE: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)")
_NAME: Final = re.compile(r"(?!\.)(?:%[0-9a-f]{2}|[0-9a-z!=_.~-])+")


def path_of(key: str) -> str:
    """The path of an object's file in its store's folder, with ``/`` between names.

    Raises :class:`InvalidInput` for a key that :mod:`headstream.backends.base` does not allow.
    """
    if _KEY.fullmatch(key) is None:
        raise InvalidInput(f"{key!r} is no key: it has segments of A-Z a-z 0-9 ! - . = _ ~ joined by slashes")
    return "/".join([_path_of_segment(segment) for segment in key.split("/")])


def key_of(path: str) -> str | None:
    """The key whose object's file is at ``path``; ``None`` if no object's file is."""
    beginnings = [beginning_of(name) for name in path.split("/")]
    if None in beginnings:
        return None
    key = "".join([beginning for beginning in beginnings if beginning]).removesuffix("/")
    return key if _KEY.fullmatch(key) and path_of(key) == path else None


def beginning_of(folder: str) -> str | None:
    """What a folder of this name adds to the beginning of each key in it; ``None`` for a folder that holds no object."""
    name = folder.removesuffix(CONTINUES)
    if _NAME.fullmatch(name) is None:
        return None
    text = re.sub("%(..)", lambda match: chr(int(match[1], 16)), name) if CONTINUES in name else name
    return text if len(name) < len(folder) else text + "/"


@lru_cache(maxsize=4096)
def _path_of_segment(segment: str) -> str:
    if _PLAIN.fullmatch(segment):
        return segment
    names = [""]
    for token in _TOKEN.findall(_ESCAPED.sub(lambda match: _escape(match[0]), segment)):
        if len(names[-1]) + len(token) > CHUNK:
            names.append("")
        names[-1] += token
    return f"{CONTINUES}/".join([_safe(name) for name in names])


def _safe(name: str) -> str:
    if name.endswith("."):
        name = name[:-1] + _escape(".")
    if name.startswith(".") or _DEVICE.match(name):
        name = _escape(name[0]) + name[1:]
    return name


def _escape(char: str) -> str:
    return f"%{ord(char):02x}"
