"""A folder of files: the conformance suite, and what is the file system's own."""

import multiprocessing
import os
import string
import tempfile
import threading
import time
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream.backends.filenames import path_of
from headstream.backends.files import FilesBackend
from headstream.errors import AccessDenied, InvalidInput, StoreNotFound
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    MISSING,
    REFUSED,
    Get,
    Matches,
    Page,
    Put,
    Stored,
)
from headstream.testing.conformance import BackendConformance
from support.embedded import in_child, killed_after, race

NAME = "headstream.backends.files.FilesBackend"
HEAD = Put("heads/a", b"body", ABSENT)


@pytest.fixture
def path(tmp_path):
    """Where the store is."""
    return tmp_path / "store"


@pytest.fixture
def backend(path):
    """An empty store."""
    with closing(FilesBackend(path)) as backend:
        yield backend


class TestFiles(BackendConformance):
    """The whole suite."""

    @pytest.fixture
    def backend(self, path):
        """An empty store."""
        with closing(FilesBackend(path)) as backend:
            yield backend

    @pytest.fixture
    def another(self, backend, path):
        """A second client, with locks of its own."""
        with closing(FilesBackend(path)) as another:
            yield another


# --- what is in the folder ---------------------------------------------------------------------------------------


def test_an_object_is_a_file(backend, path):
    """The body is found, as it is, where the key says."""
    backend.commit([Put("segments/order-1/0001-ab", b"\0segment", ALWAYS)], Put("heads/order-1", b"\xffhead", ABSENT))
    assert (path / "heads" / "order-1").read_bytes() == b"\xffhead"
    assert (path / "segments" / "order-1" / "0001-ab").read_bytes() == b"\0segment"
    assert list((path / ".headstream" / "tmp").iterdir()) == []


def test_a_copied_folder_is_the_same_store(backend, path):
    """A copy without headstream's own folder has the same objects and etags, and takes writes."""
    etag = backend.commit((), HEAD).etag
    copy = path.with_name("copy")
    (copy / "heads").mkdir(parents=True)
    (copy / "heads" / "a").write_bytes((path / "heads" / "a").read_bytes())
    with closing(FilesBackend(copy, create=False)) as copied:
        assert isinstance(copied.commit((), Put("heads/a", b"new", Matches(etag))), Stored)


def test_files_of_others_are_not_objects(backend, path):
    """What people, tools and headstream itself leave in the folder is not listed."""
    backend.commit((), HEAD)
    for name in (".DS_Store", "heads/.a.swp", "heads/Thumbs.db", "heads/a (2)", "heads/%61", ".headstream/tmp/x"):
        (path / name).write_bytes(b"foreign")
    (path / "heads" / "b%").mkdir()
    (path / "lost+found").mkdir()
    (path / "lost+found" / "c").write_bytes(b"foreign")
    assert backend.list("", "", 10) == Page(("heads/a",), more=False)


def test_old_leftovers_are_removed(backend, path):
    """A file that a killed process left is removed after a day; a younger one may be a live process's and stays."""
    (path / ".headstream" / "tmp").mkdir(parents=True)
    old, young = (path / ".headstream" / "tmp" / name for name in ("old", "young"))
    old.write_bytes(b"")
    young.write_bytes(b"")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    os.utime(young, (time.time() - 23 * 3600,) * 2)
    backend.commit((), HEAD)
    assert list((path / ".headstream" / "tmp").iterdir()) == [young]


@pytest.mark.parametrize(
    ("prefix", "visited"),
    [
        ("segments/a/", ["segments/a"]),
        ("segments/a/0", ["segments/a"]),
        ("segments/a", ["segments", "segments/a", "segments/ab"]),
        ("s", ["", "segments", "segments/a", "segments/ab", "segments/b"]),
        ("nothing/", ["nothing"]),
        ("../", []),
        ("/", [""]),
    ],
)
def test_a_list_visits_the_folders_that_can_match(backend, path, monkeypatch, prefix, visited):
    """Folders that hold no key with the prefix are not read."""
    keys = ["heads/a", "segments/a/0", "segments/ab/0", "segments/b/0"]
    backend.commit([Put(key, b"", ALWAYS) for key in keys], Put("heads/b", b"", ABSENT))
    scans, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: (scans.append(folder), scandir(folder))[1])
    backend.list(prefix, "", 100)
    assert sorted(scans) == [path / folder for folder in visited]


def test_a_list_skips_folders_that_it_has_passed(backend, path, monkeypatch):
    """The next page does not read the folders whose keys all came before it."""
    keys = [f"segments/{folder}/{number}" for folder in "abc" for number in range(2)]
    backend.commit([Put(key, b"", ALWAYS) for key in keys], Put("heads/b", b"", ABSENT))
    scans, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: (scans.append(folder.name), scandir(folder))[1])
    assert backend.list("segments/", "segments/b/0", 100).keys == ("segments/b/1", "segments/c/0", "segments/c/1")
    assert scans == ["segments", "b", "c"]


SEGMENTS = st.one_of(
    st.text("aA.!~0-z", min_size=1, max_size=4),
    st.text("aA", min_size=1, max_size=3).map(lambda end: "x" * 198 + end),
    st.sampled_from(["con", "x" * 200, "x" * 201, "x" * 200 + "!", "x" * 200 + "~"]),
).filter(lambda segment: set(segment) <= set(string.ascii_letters + string.digits + "!-.=_~") and segment.strip("."))
KEYS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


@given(keys=st.sets(KEYS, min_size=1, max_size=12), data=st.data())
def test_lists_are_in_the_order_of_keys(keys, data):
    """Whatever escapes and folders the files are in, pages hold the right keys in the order of their bytes."""
    keys = {key for key in keys if not any(other.startswith(f"{key}/") for other in keys)}
    some = data.draw(st.sampled_from(sorted(keys)))
    prefix = some[: data.draw(st.integers(0, len(some)))]
    after = data.draw(st.sampled_from(["", *sorted(keys), prefix, f"{some[:-1]}"]))
    limit = data.draw(st.integers(1, 5))
    expected = [key for key in sorted(keys, key=str.encode) if key.startswith(prefix) and key > after]
    with tempfile.TemporaryDirectory() as folder, closing(FilesBackend(folder)) as backend:
        for key in keys:
            file = backend._disk.full(path_of(key))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
        assert backend.list(prefix, after, limit) == Page(tuple(expected[:limit]), more=len(expected) > limit)


# --- opening -----------------------------------------------------------------------------------------------------


def test_a_store_is_made_with_its_parents(tmp_path):
    """create=True makes the folder and all above it; create=False makes none."""
    deep = tmp_path / "a" / "b" / "c"
    with pytest.raises(StoreNotFound, match="headstream init"):
        FilesBackend(deep, create=False)
    assert list(tmp_path.iterdir()) == []
    FilesBackend(deep).close()
    FilesBackend(deep, create=False).close()


def test_a_file_is_no_store(path):
    """A path that names a file is refused, and the message says what would do."""
    path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="sqlite://"):
        FilesBackend(path)


def test_a_relative_path_is_kept(tmp_path, monkeypatch):
    """A change of the working folder does not move the store."""
    monkeypatch.chdir(tmp_path)
    with closing(FilesBackend("store")) as backend:
        monkeypatch.chdir("/")
        backend.commit((), HEAD)
    assert (tmp_path / "store" / "heads" / "a").exists()


def test_a_store_that_is_gone_is_not_found(backend, path):
    """When the folder has been removed, nothing is taken for missing or empty, and nothing is written."""
    path.rename(path.with_name("moved"))
    for call in (
        lambda: backend.get(Get("heads/a")),
        lambda: backend.list("", "", 1),
        lambda: backend.commit((), HEAD),
        lambda: backend.delete(["heads/a"]),
    ):
        with pytest.raises(StoreNotFound):
            call()
    assert not path.exists()


def test_a_key_that_is_none_is_refused(backend, path):
    """Keys that could leave the folder are InvalidInput for each operation, before anything is written."""
    for call in (
        lambda: backend.get(Get("../a")),
        lambda: backend.commit([Put("inbox/1", b"", ALWAYS), Put("a/../../b", b"", ALWAYS)], HEAD),
        lambda: backend.commit((), Put("/etc/a", b"", ABSENT)),
        lambda: backend.delete(["heads/a", ".."]),
    ):
        with pytest.raises(InvalidInput, match="no key"):
            call()
    assert list(path.iterdir()) == []


def test_a_closed_store_says_so(backend):
    """Every call after close is InvalidInput; closing again is not."""
    backend.commit((), HEAD)
    backend.close()
    backend.close()
    for call in (
        lambda: backend.get(Get("heads/a")),
        lambda: backend.get_many([Get("heads/a")]),
        lambda: backend.list("", "", 1),
        lambda: backend.commit((), HEAD),
        lambda: backend.delete(["heads/a"]),
    ):
        with pytest.raises(InvalidInput, match="closed"):
            call()


def test_repr_names_the_folder(backend, path):
    """A repr says which store it is."""
    assert repr(backend) == f"FilesBackend({str(path)!r})"


@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_a_folder_that_may_not_be_used_is_access_denied(tmp_path, mode):
    """Without permission neither a get nor a commit is taken for something else."""
    folder = tmp_path / "closed"
    folder.mkdir()
    is_root = os.geteuid() == 0
    ours = takewhile(lambda parent: parent != Path(gettempdir()), [tmp_path, *tmp_path.parents])
    for parent in ours if is_root else ():
        parent.chmod(0o711)

    def work():
        if is_root:
            os.setuid(65534)
        with closing(FilesBackend(folder)) as backend, pytest.raises(AccessDenied):
            backend.commit((), HEAD)

    folder.chmod(mode)
    try:
        assert in_child(work) == 0
    finally:
        folder.chmod(0o755)


# --- threads and processes ---------------------------------------------------------------------------------------


def test_a_forked_child_has_locks_of_its_own(backend):
    """Parent and child exclude each other although the child inherited the parent's lock files."""
    etag = backend.commit((), HEAD).etag
    context = multiprocessing.get_context("fork")
    lock = backend._lock_of("heads/a")
    with lock.threads, lock.file() as file:
        lock.take(file, time.monotonic() + 60)
        child = context.Process(target=backend.commit, args=((), Put("heads/a", b"child", Matches(etag))))
        child.start()
        child.join(0.2)
        assert child.exitcode is None
    child.join()
    assert child.exitcode == 0
    assert backend.commit((), Put("heads/a", b"parent", Matches(etag))) == REFUSED


def test_a_delete_waits_for_the_commit_in_progress(backend):
    """An object is not removed between the check of a head's condition and its replacement."""
    backend.commit((), HEAD)
    deleted = threading.Event()
    thread = threading.Thread(target=lambda: (backend.delete(["heads/a"]), deleted.set()))
    lock = backend._lock_of("heads/a")
    with lock.threads, lock.file() as file:
        lock.take(file, time.monotonic() + 60)
        thread.start()
        assert not deleted.wait(0.05)
        assert backend.get(Get("heads/a")) != MISSING
    thread.join()
    assert backend.get(Get("heads/a")) == MISSING


def test_counting_processes_lose_nothing(backend, path):
    """Eight threads in each of three processes add to one counter: it ends at the number of swaps that were stored."""
    backend.commit((), Put("heads/counter", b"0 nobody", ABSENT))
    results = race(NAME, path, processes=3, threads=8, seconds=1)
    assert int(backend.get(Get("heads/counter")).body.split()[0]) == sum(wins for wins, _ in results) > 0


def test_a_killed_process_loses_no_answered_commit(path):
    """Killed wherever it is, a process leaves each answered commit whole, and of the next one no half of an object."""
    for answers in (1, 7, 40, 3, 60, 20):
        last = killed_after(answers, NAME, path)
        with closing(FilesBackend(path)) as backend:
            head = backend.get(Get("heads/h")).body
            number = int(head.split()[0])
            assert last <= number <= last + 1
            assert head == b"%d " % number * 1500
            keys = backend.list("inbox/", "", 1000).keys
            assert keys[:number] == tuple(f"inbox/{n:08}" for n in range(1, number + 1))
            assert len(keys) <= number + 1  # the next one's prelude may be there, and is an orphan
            for n, intent in enumerate(backend.get_many([Get(key) for key in keys]), 1):
                assert intent.body == b"%d " % n * 1500
