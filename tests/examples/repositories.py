"""Git repositories made to order: any tree, any parents, any names."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

FILE, EXECUTABLE, SYMLINK, SUBMODULE = "100644", "100755", "120000", "160000"


class Blob(NamedTuple):
    """A file of a tree; the content of a submodule is the id of its commit."""

    content: bytes
    mode: str = FILE


Tree = Mapping[bytes, Blob]


class Commit(NamedTuple):
    """A commit to make: its whole tree, and its parents by their numbers in the repository."""

    tree: Tree
    parents: tuple[int, ...] = ()
    message: bytes = b"a commit"


class Repository:
    """A bare repository. Every commit is a branch, ``c0``, ``c1`` …; HEAD is the newest."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.ids: list[str] = []
        subprocess.run(["git", "init", "--quiet", "--bare", *options, str(path)], check=True)

    def git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run git; its answer."""
        command = ["git", "-C", str(self.path), *arguments]
        return subprocess.run(command, input=stdin, check=True, stdout=subprocess.PIPE).stdout

    def add(self, *commits: Commit) -> None:
        """Make commits, one after the other."""
        first = len(self.ids)
        script = b"".join(self._script(number, commit) for number, commit in enumerate(commits, first))
        self.git("fast-import", "--quiet", "--force", stdin=script)
        names = [f"refs/heads/c{number}" for number in range(first, first + len(commits))]
        self.ids += self.git("rev-parse", *names).decode().split()
        self.git("symbolic-ref", "HEAD", names[-1])

    def ls_tree(self, commit: str) -> list[tuple[bytes, str, str]]:
        """What git says is in the tree of a commit: path, mode, id."""
        lines = self.git("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]
        return sorted((line[line.index(b"\t") + 1 :], line[:6].decode(), line.split()[2].decode()) for line in lines)

    def _script(self, number: int, commit: Commit) -> bytes:
        lines = [f"commit refs/heads/c{number}\ncommitter Some One <one@example.org> {10**9 + number} +0100\n".encode()]
        lines.append(b"data %d\n%s\n" % (len(commit.message), commit.message))
        words = [b"from", *[b"merge"] * len(commit.parents)]
        for word, parent in zip(words, commit.parents, strict=False):
            name = self.ids[parent] if parent < len(self.ids) else f"refs/heads/c{parent}"
            lines.append(b"%s %s\n" % (word, name.encode()))
        lines.append(b"deleteall\n")
        for path, blob in commit.tree.items():
            quoted = b"".join(b"\\%03o" % byte for byte in path)
            if blob.mode == SUBMODULE:
                lines.append(b'M 160000 %s "%s"\n' % (blob.content, quoted))
            else:
                lines.append(b'M %s inline "%s"\ndata %d\n' % (blob.mode.encode(), quoted, len(blob.content)))
                lines.append(blob.content + b"\n")
        return b"".join(lines)


def text(seed: object, lines: int = 40) -> bytes:
    """A text that resembles no other, long enough for git to follow it through renames and swaps."""
    chance = Random(str(seed))
    return b"".join(b"line %d of %s: %d\n" % (n, str(seed).encode(), chance.randrange(10**12)) for n in range(lines))


def random_history(seed: int, commits: int) -> list[Commit]:
    """A history with branches, merges (clean or not, of up to three parents), roots, renames, swaps, and all kinds of entries."""
    chance = Random(seed)
    history: list[Commit] = []
    for number in range(commits):
        if not history or chance.random() < 0.05:
            tree: dict[bytes, Blob] = {}
            parents: tuple[int, ...] = ()
        else:
            recent = range(max(0, number - 6), number)
            parents = tuple(chance.sample(recent, min(len(recent), chance.choice([1, 1, 1, 1, 2, 2, 3]))))
            tree = _merged(chance, [history[parent].tree for parent in parents])
        for _ in range(chance.choice([0, 1, 1, 2, 3, 5])):
            _mutate(chance, tree)
        history.append(Commit(tree, parents))
    return history


def _merged(chance: Random, trees: list[Tree]) -> dict[bytes, Blob]:
    """Each path as one of the parents has it, which may be not at all."""
    merged: dict[bytes, Blob] = {}
    for path in sorted(set().union(*trees)):
        blob = chance.choice(trees).get(path)
        if blob is not None and _is_free(path, merged):
            merged[path] = blob
    return merged


def _mutate(chance: Random, tree: dict[bytes, Blob]) -> None:
    change = chance.choice([_add, _add, _edit, _edit, _rename, _rename, _rotate, _remove, _retype])
    if tree or change is _add:
        change(chance, tree)


def _add(chance: Random, tree: dict[bytes, Blob]) -> None:
    path = _path(chance)
    if _is_free(path, tree):
        tree[path] = Blob(text(chance.randrange(30)) if chance.random() < 0.9 else b"")


def _edit(chance: Random, tree: dict[bytes, Blob]) -> None:
    path = chance.choice(list(tree))
    if tree[path].mode != SUBMODULE:
        lines = tree[path].content.splitlines(keepends=True)[chance.randrange(3) :]
        tree[path] = tree[path]._replace(content=b"".join(lines) + b"edit %d\n" % chance.randrange(10**6))


def _rename(chance: Random, tree: dict[bytes, Blob]) -> None:
    blob, path = tree.pop(chance.choice(list(tree))), _path(chance)
    if chance.random() < 0.5 and blob.mode != SUBMODULE:
        blob = blob._replace(content=blob.content + b"renamed\n")
    if path in tree or _is_free(path, tree):
        tree[path] = blob


def _rotate(chance: Random, tree: dict[bytes, Blob]) -> None:
    paths = chance.sample(list(tree), min(len(tree), chance.choice([2, 3])))
    blobs = [tree[path] for path in paths]
    tree.update(zip(paths, blobs[1:] + blobs[:1], strict=True))


def _remove(chance: Random, tree: dict[bytes, Blob]) -> None:
    del tree[chance.choice(list(tree))]


def _retype(chance: Random, tree: dict[bytes, Blob]) -> None:
    path = chance.choice(list(tree))
    kinds = [Blob(b"target", SYMLINK), Blob(b"%040x" % chance.randrange(1, 99), SUBMODULE), Blob(text(7), EXECUTABLE)]
    tree[path] = chance.choice(kinds)


def _path(chance: Random) -> bytes:
    return b"/".join(
        chance.choice([b"a", b"b", b"C", b"c", b"\xff", b"\n "]) for _ in range(chance.choice([1, 1, 2, 3]))
    )


def _is_free(path: bytes, tree: Tree) -> bool:
    """Whether a tree can have a file at this path: nothing is there, and none of its folders is a file."""
    return not any((one + b"/").startswith(two + b"/") for other in tree for one, two in ((path, other), (other, path)))
