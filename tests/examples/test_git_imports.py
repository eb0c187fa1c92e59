"""Which file a change belongs to, and imports that are repeated, killed, raced or given another view of the history."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import git_history
from examples.conftest import EXAMPLES, ROOT
from examples.histories import assert_trees, facts, history, record, stories, streams
from examples.repositories import EXECUTABLE, Blob, Commit, Repository, random_history, text
from git_streams import importer, plumbing
from headstream import EventStore, connect

MIB = 1024 * 1024


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_goes_on_under_other_names(repository: Repository, memory: EventStore) -> None:
    """Renames, with and without changes and of case only, and changes of mode are events of the same stream; only new content is stored."""
    one = text(1)
    repository.add(
        *history(
            {b"a": Blob(one)},
            {b"b": Blob(one)},
            {b"B": Blob(one + b"more\n")},
            {b"B": Blob(one + b"more\n", EXECUTABLE)},
        )
    )
    record(repository.path, memory)
    (events,) = (events for stream, events in streams(memory).items() if stream != "commits")
    assert [(event.type, event.metadata["path"], event.data) for event in events] == [
        ("FileAdded", "a", one),
        ("FileRenamed", "b", None),
        ("FileRenamed", "B", one + b"more\n"),
        ("FileModified", "B", None),
    ]
    assert [event.metadata["commit"] for event in events] == repository.ids


def test_swaps_and_chains(repository: Repository, memory: EventStore) -> None:
    """Files that trade their paths in one commit, or move up one by one, each go on in their own streams."""
    a, b, c = (Blob(text(name)) for name in "abc")
    repository.add(*history({b"a": a, b"b": b, b"c": c}, {b"a": b, b"b": a, b"c": c}, {b"b": b, b"c": a, b"d": c}))
    record(repository.path, memory)
    assert_trees(repository, memory)
    assert stories(memory) == [
        [("FileAdded", "a"), ("FileRenamed", "b"), ("FileRenamed", "c")],
        [("FileAdded", "b"), ("FileRenamed", "a"), ("FileRenamed", "b")],
        [("FileAdded", "c"), ("FileRenamed", "d")],
    ]


def test_new_files(repository: Repository, memory: EventStore) -> None:
    """A path that was deleted and comes back is a new file; so is a copy, and an empty file that comes when another one goes."""
    a, b, e, f = ({name: Blob(text(name) if name in b"ab" else b"")} for name in (b"a", b"b", b"e", b"f"))
    copy, edited = {b"copy": a[b"a"]}, {b"a": Blob(text(b"a") + b"more\n")}
    repository.add(*history(a | e, b | f, a | b, edited | copy | b))
    record(repository.path, memory)
    assert_trees(repository, memory)
    assert stories(memory) == [
        [("FileAdded", "a"), ("FileDeleted", "a")],
        [("FileAdded", "a"), ("FileModified", "a")],
        [("FileAdded", "b")],
        [("FileAdded", "copy")],
        [("FileAdded", "e"), ("FileDeleted", "e")],
        [("FileAdded", "f"), ("FileDeleted", "f")],
    ]


def test_a_merge_takes_files_of_the_other_branch(repository: Repository, memory: EventStore) -> None:
    """What a merge takes from its second parent goes on in the streams of that branch, and its content is not stored again."""
    base, mine, theirs = {b"a": Blob(text(1))}, {b"m": Blob(text(2))}, {b"t": Blob(text(3))}
    moved = {b"b": Blob(text(1))}
    repository.add(
        Commit(base), Commit(base | mine, (0,)), Commit(moved | theirs, (0,)), Commit(moved | mine | theirs, (1, 2))
    )
    record(repository.path, memory)
    assert_trees(repository, memory)
    assert stories(memory) == [
        [("FileAdded", "a"), ("FileRenamed", "b"), ("FileRenamed", "b")],
        [("FileAdded", "m")],
        [("FileAdded", "t"), ("FileMerged", "t")],
    ]
    payloads = [event.payload for events in streams(memory).values() for event in events if event.type[:4] == "File"]
    assert sorted(payload for payload in payloads if payload is not None) == sorted([text(1), text(2), text(3)])


def test_a_merge_that_moves_a_file_beyond_recognition(repository: Repository, memory: EventStore) -> None:
    """A file that the other branch renamed and rewrote is the same file after the merge, once."""
    base, there = {b"a": Blob(text(1))}, {b"m": Blob(text(9))}
    renamed, rewritten = {b"b": Blob(text(1) + b"more\n")}, {b"b": Blob(text(2))}
    repository.add(Commit(base), Commit(renamed, (0,)), Commit(rewritten, (1,)))
    repository.add(Commit(base | there, (0,)), Commit(rewritten | there, (3, 2)))
    record(repository.path, memory)
    assert_trees(repository, memory)
    assert stories(memory) == [
        [("FileAdded", "a"), ("FileRenamed", "b"), ("FileModified", "b"), ("FileMerged", "b")],
        [("FileAdded", "m")],
    ]


def test_a_merge_that_keeps_both(repository: Repository, memory: EventStore) -> None:
    """One branch renames a file, the other keeps it, the merge has both: they are two files from then on."""
    base, moved = {b"a": Blob(text(1))}, {b"b": Blob(text(1))}
    repository.add(Commit(base), Commit(moved, (0,)), Commit(base | moved, (0, 1)), Commit(base, (2,)))
    record(repository.path, memory)
    assert_trees(repository, memory)
    assert stories(memory) == [
        [("FileAdded", "a"), ("FileRenamed", "b")],
        [("FileAdded", "b"), ("FileDeleted", "b")],
    ]


def test_commits(repository: Repository, memory: EventStore) -> None:
    """Every commit is an event, empty ones too, with parents before children, author, time and message, in whatever encoding."""
    repository.add(
        Commit({}, (), b"first\n\nbody"), Commit({}, (0,), b"caf\xe9 \xff"), Commit({}), Commit({}, (1, 2), b"")
    )
    record(repository.path, memory)
    assert_trees(repository, memory)
    events = list(memory.read("commits"))
    assert sorted(event.data["commit"] for event in events) == sorted(repository.ids)
    by_commit = {event.data["commit"]: event.data for event in events}
    first, second, _, last = (by_commit[commit] for commit in repository.ids)
    assert first["message"] == "first\n\nbody"
    assert first["author"] == "Some One <one@example.org>"
    assert first["time"] == "1000000000 +0100"
    assert second["message"] == "caf\ufffd \ufffd"
    assert last["parents"] == [repository.ids[1], repository.ids[2]]
    seen: set[str] = set()
    for event in events:
        assert seen.issuperset(event.data["parents"])
        seen.add(event.data["commit"])


def test_a_huge_message(repository: Repository, memory: EventStore) -> None:
    """Messages that together, or alone, are more than an append takes do not stop the import."""
    repository.add(*(Commit({}, (), b"\x01" * size) for size in [20 * MIB, 3 * MIB, 2 * MIB, 1 * MIB]))
    assert record(repository.path, memory, batch=10) == 4


# --- again and again -------------------------------------------------------------------------------------------------


def test_nothing_is_recorded_twice(repository: Repository, store: EventStore) -> None:
    """A second import appends nothing."""
    repository.add(*random_history(1, 20))
    assert record(repository.path, store) > 20
    before = streams(store)
    assert record(repository.path, store) == 0
    assert streams(store) == before


def test_new_commits(repository: Repository, store: EventStore) -> None:
    """Imports of a growing history, with new branches from old commits, give what one import of all of it gives."""
    commits = random_history(2, 40)
    for start in range(0, 40, 8):
        repository.add(*commits[start : start + 8])
        record(repository.path, store, batch=3)
    assert_trees(repository, store)
    with connect("memory://") as whole:
        record(repository.path, whole)
        assert facts(store) == facts(whole)


class Killed(BaseException):
    """The process dies here."""


def killed(path: Path, store: EventStore, after: int, *, acted: bool, batch: int) -> bool:
    """Import, and die at the append after so many, when it has ``acted`` or before; whether it came to that."""
    append, numbers = store.append, iter(range(10**6))

    def dying(*arguments: Any, **options: Any) -> Any:
        number = next(numbers)
        if number < after:
            return append(*arguments, **options)
        if number == after and acted:
            append(*arguments, **options)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "append", dying)
        try:
            record(path, store, batch)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("acted", [False, True])
def test_killed_at_every_append(acted: bool, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever an import dies, before or after an append took effect, the next one finishes it: nothing is lost, nothing doubled."""
    monkeypatch.setattr(importer, "PART", 1500)  # contents have up to two parts
    repository.add(*random_history(7, 12))
    with connect("memory://") as whole:
        record(repository.path, whole)
        expected = facts(whole)
    for deaths in count():
        with connect("memory://") as store:
            if not killed(repository.path, store, deaths, acted=acted, batch=3):
                break
            record(repository.path, store, batch=1 + deaths % 5)
            assert facts(store) == expected
            assert_trees(repository, store)
    assert deaths > 15


CHILD = """
import sys
import git_history
from headstream import EventStore

append, numbers = EventStore.append, iter(range(10**6))

def stopping(self, *arguments, **options):
    if next(numbers) >= 9:
        print("in the middle", flush=True)
        sys.stdin.read()
    return append(self, *arguments, **options)

EventStore.append = stopping
git_history.main(sys.argv[1:])
"""


def test_a_killed_process(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL in the middle of an import, running the command again completes it, and a third run finds nothing to do."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES), str(ROOT / "src")]))
    repository.add(*random_history(8, 30))
    url = str(tmp_path / "store.db")
    arguments = [str(repository.path), url, "--batch", "5"]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"in the middle\n"
        child.kill()
    with connect("memory://") as whole, connect(url) as store:
        record(repository.path, whole)
        assert 0 < len(facts(store)) < len(facts(whole))
        assert git_history.main(arguments) == 0
        assert facts(store) == facts(whole)
        assert_trees(repository, store)
        assert record(repository.path, store) == 0


def test_imports_at_the_same_time(repository: Repository, store: EventStore) -> None:
    """Several imports of one history, in different batches, make together what one makes."""
    repository.add(*random_history(3, 25))
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda batch: record(repository.path, store, batch), [1, 3, 7, 30]))
    with connect("memory://") as whole:
        assert record(repository.path, whole) == sum(counts)
        assert facts(store) == facts(whole)
    assert_trees(repository, store)


def test_a_history_that_was_recorded_meanwhile(
    repository: Repository, memory: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import that begins, and is overtaken by a whole other import at its first append, appends nothing and succeeds."""
    repository.add(*random_history(6, 20))
    append = memory.append

    def overtaken(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(memory, "append", append)
        assert record(repository.path, memory, batch=3) > 0
        return append(*arguments, **options)

    monkeypatch.setattr(memory, "append", overtaken)
    assert record(repository.path, memory) == 0
    assert_trees(repository, memory)


def test_two_repositories_in_one_store(tmp_path: Path, memory: EventStore) -> None:
    """A fork recorded in the store of its origin adds what is its own, and both have all their trees."""
    commits = random_history(4, 20)
    one, two = Repository(tmp_path / "one"), Repository(tmp_path / "two")
    one.add(*commits[:15])
    two.add(*commits[:10], Commit({**commits[3].tree, b"own": Blob(text(1))}, (3,)))
    record(one.path, memory)
    assert record(two.path, memory) == 2
    assert_trees(one, memory)
    assert_trees(two, memory)


def line_of_commits(repository: Repository, number: int) -> None:
    """Commits one after the other, on one branch: one file stays, one changes, one moves on, and there are more and more."""
    stays = {b"stays": Blob(text("stays"))}
    trees = [
        {**stays, b"changes": Blob(text(n // 2)), b"moves%d" % n: Blob(text("moves"))}
        | {b"more%d" % old: Blob(text(old)) for old in range(n)}
        for n in range(number)
    ]
    repository.add(*history(*trees))
    for branch in range(number - 1):
        repository.git("update-ref", "-d", f"refs/heads/c{branch}")


def shallow(repository: Repository, path: Path) -> Repository:
    """A clone with the newest four commits."""
    subprocess.run(["git", "clone", "--quiet", "--bare", "--depth=4", repository.path.as_uri(), str(path)], check=True)
    clone = Repository(path)
    clone.ids = repository.ids
    return clone


def test_a_shallow_clone(repository: Repository, tmp_path: Path, memory: EventStore) -> None:
    """A shallow clone is recorded as far as it goes, from the whole tree at its boundary; when it is deepened, the rest is."""
    line_of_commits(repository, 12)
    clone = shallow(repository, tmp_path / "clone")
    record(clone.path, memory)
    assert len(list(memory.read("commits"))) == 4
    assert_trees(clone, memory, clone.ids[-4:])
    clone.git("fetch", "--quiet", "--unshallow")
    record(clone.path, memory)
    assert len(list(memory.read("commits"))) == 12
    assert_trees(clone, memory)


@pytest.mark.parametrize("batch", [2, 4])
def test_what_a_dead_import_saw_otherwise(batch: int, repository: Repository, tmp_path: Path) -> None:
    """An import of a shallow clone that died leaves events that the import of the deepened clone does not take for its own."""
    line_of_commits(repository, 8)
    for deaths in count():
        clone = shallow(repository, tmp_path / f"clone{deaths}")
        with connect("memory://") as store:
            if not killed(clone.path, store, deaths, acted=True, batch=batch):
                break
            clone.git("fetch", "--quiet", "--unshallow")
            record(clone.path, store)
            assert_trees(clone, store)
    assert deaths > 4


def test_what_a_dead_import_guessed_otherwise(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """When git sees renames that it did not see for an import that died, the leftovers of that one are of no harm."""
    texts = [Blob(text(1) + b"%d\n" % number) for number in range(4)]
    moves = [b"x", b"y", b"y", b"z"]
    repository.add(*history(*({b"a": blob, path: Blob(text(2))} for blob, path in zip(texts, moves, strict=True))))
    renames = plumbing.DIFF
    for deaths in count():
        with connect("memory://") as store:
            monkeypatch.setattr(plumbing, "DIFF", (*renames, "--no-renames"))
            if not killed(repository.path, store, deaths, acted=True, batch=4):
                break
            monkeypatch.setattr(plumbing, "DIFF", renames)
            record(repository.path, store)
            assert_trees(repository, store)
    assert deaths > 3
