"""The order in which files are written and flushed, and what a fault at each step means for a commit."""

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest

from headstream.backends import durable
from headstream.backends.files import FilesBackend
from headstream.errors import AccessDenied
from headstream.protocol.ops import ABSENT, ALWAYS, MISSING, REFUSED, Get, NotApplied, Put, Stored, Unknown

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


def temporary(path):
    """The files that are not yet, or never were, renamed."""
    return list((path / ".headstream" / "tmp").iterdir())


class Journal:
    """Notes every flush and rename, in order, and fails where it is told to."""

    def __init__(self, root, monkeypatch):
        self.root, self.entries, self.failing = root, [], {}
        flush, replace = durable._flush, Path.replace

        def noting_flush(descriptor):
            name = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.note("flush", name)
            flush(descriptor)

        def noting_replace(source, target):
            self.note("rename", target)
            return replace(source, target)

        monkeypatch.setattr(durable, "_flush", noting_flush)
        monkeypatch.setattr(Path, "replace", noting_replace)

    def note(self, act, name):
        within = name.relative_to(self.root).as_posix() if name != self.root.parent else ".."
        entry = f"{act} {'temporary file' if within.startswith('.headstream/tmp/') else within}"
        self.entries.append(entry)
        if entry in self.failing:
            raise OSError(self.failing[entry], os.strerror(self.failing[entry]))


@pytest.fixture
def journal(backend, path, monkeypatch):
    """What the backend does to the disk. It has written before, so its own folders are there."""
    backend.commit([Put("inbox/0", b"", ALWAYS)], Put("heads/0", b"", ABSENT))
    return Journal(path, monkeypatch)


def test_the_prelude_is_durable_before_the_head_is_tried(backend, journal):
    """File, name and folder of each prelude object are flushed first; each folder once; then the head's."""
    backend.commit([Put("inbox/1", b"", ALWAYS), Put("inbox/2", b"", ALWAYS)], HEAD)
    assert journal.entries == [
        "flush temporary file",
        "rename inbox/1",
        "flush temporary file",
        "rename inbox/2",
        "flush inbox",
        "flush temporary file",
        "rename heads/a",
        "flush heads",
    ]


def test_new_folders_are_durable(backend, journal):
    """A new folder is flushed into its parent before a file in it counts; one that is known is not flushed again."""
    backend.commit((), Put("segments/a/1", b"", ABSENT))
    assert journal.entries == [
        "flush temporary file",
        "flush .",
        "flush segments",
        "rename segments/a/1",
        "flush segments/a",
    ]
    journal.entries.clear()
    backend.commit((), Put("segments/a/2", b"", ABSENT))
    assert journal.entries == ["flush temporary file", "rename segments/a/2", "flush segments/a"]


def test_deletes_are_durable(backend, journal, path):
    """The folders of deleted objects are flushed, once each, also when a crashed process had removed the file already."""
    (path / "inbox" / "0").unlink()
    backend.delete(["inbox/0", "inbox/1", "heads/0", "nowhere/1"])
    assert sorted(journal.entries) == ["flush heads", "flush inbox"]


def test_a_refused_commit_writes_nothing(backend, journal):
    """The head's condition is checked before the prelude is written."""
    assert backend.commit([Put("inbox/1", b"", ALWAYS)], Put("heads/0", b"", ABSENT)) == REFUSED
    assert journal.entries == []


@pytest.mark.parametrize(
    ("step", "code", "raised"),
    [
        ("flush temporary file", errno.ENOSPC, NotApplied),
        ("flush temporary file", errno.EIO, NotApplied),
        ("rename inbox/1", errno.ENOSPC, NotApplied),
        ("rename inbox/1", errno.EACCES, AccessDenied),
        ("flush inbox", errno.EIO, NotApplied),
        ("rename heads/a", errno.ENOSPC, NotApplied),
        ("rename heads/a", errno.EROFS, AccessDenied),
        ("rename heads/a", errno.EIO, Unknown),
        ("flush heads", errno.EIO, Unknown),
        ("flush heads", errno.ENOSPC, Unknown),
    ],
)
def test_a_failed_step_tells_what_counts(backend, journal, step, code, raised):
    """A fault before the head is renamed applies nothing; one at that moment or later is unknown. No file is left over."""
    journal.failing[step] = code
    with pytest.raises(raised):
        backend.commit([Put("inbox/1", b"intent", ALWAYS)], HEAD)
    assert temporary(journal.root) == []
    if raised is not Unknown:
        assert backend.get(Get("heads/a")) == MISSING
    journal.failing.clear()
    assert isinstance(backend.commit((), Put("heads/a", b"after", ALWAYS)), Stored)


def test_a_file_system_that_cannot_flush_folders_will_do(backend, journal):
    """Some answer EINVAL to that; there is nothing else to be done on them."""
    journal.failing["flush heads"] = errno.EINVAL
    assert isinstance(backend.commit((), HEAD), Stored)


def test_a_folder_that_was_removed_is_made_again(backend, path):
    """A tool that tidies up empty folders does not make writes fail."""
    backend.commit((), HEAD)
    backend.delete(["heads/a"])
    (path / "heads").rmdir()
    assert isinstance(backend.commit((), HEAD), Stored)


def test_an_existing_object_of_the_prelude_is_kept(backend):
    """A prelude that says "absent" does not overwrite: the commit is not applied."""
    backend.commit((), Put("segments/a/1", b"first", ABSENT))
    with pytest.raises(NotApplied, match="segments/a/1"):
        backend.commit([Put("segments/a/1", b"second", ABSENT)], HEAD)
    assert backend.get_many([Get("segments/a/1"), Get("heads/a")])[1] == MISSING
    assert backend.get(Get("segments/a/1")).body == b"first"


def test_windows_is_asked_again(backend, monkeypatch):
    """A file that a reader has open cannot be replaced on Windows for a moment: that is waited for, not for ever."""
    monkeypatch.setattr(durable, "WINDOWS", True)
    pauses, refusals, replace = [], [5], Path.replace

    def refusing(source, target):
        refusals[0] -= 1
        if refusals[0] >= 0:
            raise PermissionError(errno.EACCES, "sharing violation")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", refusing)
    monkeypatch.setattr(durable.time, "sleep", pauses.append)
    assert isinstance(backend.commit((), HEAD), Stored)
    assert len(pauses) == 5
    refusals[0] = 1000
    with pytest.raises(AccessDenied):
        backend.commit((), Put("heads/b", b"", ABSENT))
    assert sum(pauses[5:]) < 2
