"""Which file is it? A change names paths; this finds the streams."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias
from urllib.parse import quote_from_bytes

from git_streams import FILES
from git_streams.plumbing import SUBMODULE, Change


class File(NamedTuple):
    """A file in a tree: its stream and the id of its content."""

    stream: str
    blob: str


class Draft(NamedTuple):
    """An event to be: what a commit does to a file."""

    stream: str
    type: str
    path: str
    mode: str = ""
    blob: str = ""
    has_content: bool = False


Files: TypeAlias = dict[bytes, File]
"""The files of a tree by their paths. No two have the same stream."""


def follow(commit: str, changes: list[Change], files: Files, others: list[Files]) -> Iterator[Draft]:
    """Apply a commit to ``files``, those of its first parent, and say what it does to which stream: one thing at most.

    ``others`` are the files of its other parents.
    """
    # First all that leave their paths, then all that come to theirs: renames in one commit may form chains and rings.
    left = {change.source: files.pop(change.source) for change in changes if change.source is not None}
    moves = _moves(changes, left)
    new: list[Change] = []
    for change in changes:
        if change.kind == "D":
            continue
        source = moves.get(change.path, change.source)
        if source is None or source not in left:
            new.append(change)
            continue
        old = left.pop(source)
        kind = "FileModified" if source == change.path else "FileRenamed"
        yield _placed(kind, change, old.stream, files, [old, *_same_path(change, others)])
    lost = {file.stream: path for path, file in left.items()}
    taken = {file.stream for file in files.values()} if others else set()
    for change in new:
        known = _same_path(change, others)
        stream = next((file.stream for file in known if file.stream not in taken), None)
        kind = "FileAdded" if stream is None else "FileMerged"
        stream = stream or _birth(commit, change)
        taken.add(stream)
        lost.pop(stream, None)  # lost from one path and found at another: the merge has moved it
        yield _placed(kind, change, stream, files, known)
    for stream, path in lost.items():
        yield Draft(stream, "FileDeleted", quote_from_bytes(path))


def _moves(changes: list[Change], left: Files) -> dict[bytes, bytes]:
    """Where files were before that are renamed: what git says, and those that take the path of another file, of which it says nothing.

    A path was taken by the file whose content it now has, if that file's own path was taken too, or is free now.
    """
    renamed = {change.path: change.source for change in changes if change.kind == "R" and change.source is not None}
    free = {change.path for change in changes if change.kind == "D"}
    homes = {file.blob: path for path, file in left.items()}
    taken = {change.path: homes[change.blob] for change in changes if change.kind in "AMT" and change.blob in homes}
    taken = {path: home for path, home in taken.items() if path != home}
    # A new path and a free one are git's to pair: it did not, if they are still here.
    return renamed | {path: home for path, home in taken.items() if home in taken or (home in free and path in left)}


def _same_path(change: Change, others: list[Files]) -> list[File]:
    return [other[change.path] for other in others if change.path in other]


def _birth(commit: str, change: Change) -> str:
    return FILES + hashlib.sha256(commit.encode() + change.path).hexdigest()[:32]


def _placed(kind: str, change: Change, stream: str, files: Files, known: list[File]) -> Draft:
    """Put a file at its path. It needs content, unless it is one of ``known``: those of parents."""
    file = files[change.path] = File(stream, change.blob)
    has_content = file not in known and change.mode != SUBMODULE
    return Draft(stream, kind, quote_from_bytes(change.path), change.mode, change.blob, has_content)
