"""What git is asked: plumbing commands, answers separated by NUL, paths as bytes."""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Final, NamedTuple, Self

SUBMODULE: Final = "160000"
"""The mode of an entry that names a commit of another repository."""
ELSEWHERE: Final = {"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"}
"""Variables that name another repository than the one asked for: set inside a git hook."""
DIFF: Final = ("-r", "-z", "--no-abbrev", "--ignore-submodules=none", "-M", "-l1000", "--no-rename-empty")
"""Spelled out, so that no configuration changes the answer. ``-M`` pairs files that are gone with files that are new; not empty ones,
which are all alike. (``-B`` would find more, but what it says does not always add up to the tree, and it can crash git.)"""


class Change(NamedTuple):
    """What a commit does to a file."""

    kind: str
    """git's letter: A (it is new), D (it is gone), M, T (it is changed) or R (it is renamed, and may be changed)."""
    source: bytes | None
    """The path before; ``None`` if there was none."""
    path: bytes
    """The path after; that before, if there is none."""
    mode: str
    blob: str


class Entry(NamedTuple):
    """One file of a tree, as ``git ls-tree -r`` lists it."""

    path: bytes
    mode: str
    blob: str


class Git:
    """A repository, to be read. A command that fails raises ``subprocess.CalledProcessError`` with git's message in ``stderr``."""

    def __init__(self, repository: str) -> None:
        # An object that stands in for another has not the content that its id says.
        self._command = ("git", "--no-replace-objects", "-C", repository)
        self._environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
        self._run("rev-parse", "--git-dir")
        self._cat = subprocess.Popen(  # noqa: S603 - a fixed command; the repository is an argument, not a word of a shell
            [*self._command, "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
        )
        self._turn = Lock()

    def commits(self, *tips: str) -> dict[str, list[str]]:
        """All commits that a ref, HEAD or a tip reaches, each with its parents, which come before it.

        In a shallow clone, the commits at its boundary have no parents.
        """
        lines = self._run("rev-list", "--topo-order", "--reverse", "--parents", "--all", *tips).decode().splitlines()
        return {commit: parents for commit, *parents in map(str.split, lines)}

    def resolve(self, revision: str) -> str:
        """The id of the commit that ``revision`` names."""
        return self._run("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()

    def changes(self, commits: Mapping[str, str | None]) -> Mapping[str, list[Change]]:
        """How the tree of each commit differs from that of the commit that is given for it, or from an empty one."""
        found: defaultdict[str, list[Change]] = defaultdict(list)
        pairs = "".join(f"{commit} {base}\n" if base else f"{commit}\n" for commit, base in commits.items())
        tokens = iter(self._run("diff-tree", "--stdin", "--root", *DIFF, stdin=pairs.encode()).split(b"\0")[:-1])
        commit = ""
        for token in tokens:
            if not token.startswith(b":"):
                commit = token.decode()
                continue
            _, mode, _, blob, status = token.decode().split()
            kind, source = status[0], next(tokens)
            path = next(tokens) if kind == "R" else source
            found[commit].append(Change(kind, None if kind == "A" else source, path, mode, blob))
        return found

    def tree(self, commit: str) -> Iterator[Entry]:
        """The tree of a commit."""
        for line in self._run("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, blob = about.decode().split()
            yield Entry(path, mode, blob)

    def content(self, name: str) -> bytes:
        """The content of the blob or commit with this id. Safe to use from several threads.

        Raises ``FileNotFoundError`` if the repository does not have it.
        """
        requests, answers = self._cat.stdin, self._cat.stdout
        assert requests is not None
        assert answers is not None
        with self._turn:
            requests.write(f"{name}\n".encode())
            requests.flush()
            header = answers.readline().decode().split()
            if len(header) != 3:
                raise FileNotFoundError(f"the repository does not have object {name}: try git fsck")
            return answers.read(int(header[2]) + 1)[:-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._cat:  # closes its input, which ends it, and waits
            pass

    def _run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        command = [*self._command, *arguments]
        return subprocess.run(  # noqa: S603 - as above
            command, input=stdin, capture_output=True, check=True, env=self._environment
        ).stdout
