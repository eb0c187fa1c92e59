"""Stores of another owner, and stores that can only be read: what may be done is done, and what may not says so."""

import os
import shutil
import stat
import subprocess
from contextlib import closing, contextmanager
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir

import pytest

from headstream import Event, connect
from headstream.backends.files import FilesBackend
from headstream.backends.sqlite import SqliteBackend
from headstream.errors import AccessDenied
from headstream.protocol.ops import ABSENT, ALWAYS, MISSING, Get, Put, Stored
from support.embedded import COMMIT_FOREVER, in_child, lines, process

NOBODY = 65534
HEAD = Put("heads/a", b"body", ABSENT)
NAME = "headstream.backends.sqlite.SqliteBackend"
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners here")


@pytest.fixture
def folder(tmp_path):
    """A folder that every user can look into."""
    for parent in takewhile(lambda parent: parent != Path(gettempdir()), [tmp_path, *tmp_path.parents]):
        if IS_ROOT:
            parent.chmod(0o755)
    made = tmp_path / "stores"
    made.mkdir()
    return made


def as_a_user(work):
    """Do ``work`` in a process that permissions bind, as they do not bind root."""

    def bound():
        if IS_ROOT:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        work()

    assert in_child(bound) == 0


@contextmanager
def read_only(folder):
    """The same folder, where nothing can be written: a mount if this process may make one, else without permission."""
    mounted = IS_ROOT and (
        subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode == 0
    )
    if mounted:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    else:
        for each in (*folder.rglob("*"), folder):
            each.chmod(0o555 if each.is_dir() else 0o444)
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)
        else:
            for each in (folder, *folder.rglob("*")):
                each.chmod(0o755 if each.is_dir() else 0o644)


def url_of(kind, folder):
    return f"{folder}/store.db" if kind == "sqlite" else f"file://{folder}/store"


@pytest.mark.parametrize("kind", ["sqlite", "file"])
def test_reading_leaves_no_file(folder, kind):
    """Opening a store that is there, reading it in every way, and closing it makes nothing new."""
    url = url_of(kind, folder)
    with connect(url) as store:
        store.append("order-1", Event("Placed"))
    for lock in [*folder.glob("*-lock"), *folder.glob("store/.headstream")]:
        shutil.rmtree(lock) if lock.is_dir() else lock.unlink()
    before = sorted(folder.rglob("*"))
    with connect(url) as store:
        assert store.head("order-1").version == 1
        assert [event.type for event in store.read("order-1")] == ["Placed"]
        assert list(store.streams()) == ["order-1"]
        assert [event.type for event in store.feed(advance=False)] in ([], ["Placed"])
    assert sorted(folder.rglob("*")) == before


@pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")
@pytest.mark.parametrize("opened", [SqliteBackend, FilesBackend])
def test_root_writes_for_the_owner(folder, opened):
    """What root makes in a store of another user has that user's owner and permissions, so that the user's service goes on."""
    path = folder / "store.db"

    def begin():
        with closing(opened(path)) as backend:
            backend.commit((), HEAD)

    os.chown(folder, NOBODY, NOBODY)
    as_a_user(begin)
    for extra in [*folder.glob("*-lock"), *folder.glob("*/.headstream")]:
        shutil.rmtree(extra) if extra.is_dir() else extra.unlink()
    path.chmod(0o2770 if path.is_dir() else 0o660)
    with closing(opened(path)) as backend:
        backend.commit([Put("segments/b/1", b"", ALWAYS)], Put("heads/b", b"body", ABSENT))
        made = [path, *folder.glob("store.db?*"), *path.rglob("*")]
        assert {each.stat().st_uid for each in made} == {NOBODY}
        new = [each for each in made if each.name not in {"a", "heads"}]
        modes = {stat.S_IMODE(each.stat().st_mode) for each in new}
        assert modes == ({0o2770, 0o660} if path.is_dir() else {0o660})

    def go_on():
        with closing(opened(path)) as backend:
            assert backend.get(Get("heads/b")).body == b"body"
            assert isinstance(backend.commit((), Put("heads/b", b"new", ALWAYS)), Stored)

    as_a_user(go_on)


def check_reads(url_or_path, opened):
    with closing(opened(url_or_path, create=False)) as backend:
        assert backend.get(Get("heads/a")).body == b"body"
        assert backend.get_many([Get("heads/a"), Get("heads/b")])[1] == MISSING
        assert backend.list("", "", 9).keys == ("heads/a",)
        with pytest.raises(AccessDenied, match=r"must be .*writable by this process") as caught:
            backend.commit((), Put("heads/b", b"", ABSENT))
        assert str(caught.value).startswith(str(url_or_path.parent))


@pytest.mark.parametrize("opened", [SqliteBackend, FilesBackend])
def test_a_read_only_store_can_be_read(folder, opened):
    """On a read-only mount, or without permission to write, reads work, and a write names what may not be written."""
    path = folder / "store.db"
    with closing(opened(path)) as backend:
        backend.commit((), HEAD)
    with read_only(folder):
        assert in_child(lambda: check_reads(path, opened)) == 0
    if path.is_file():
        path.chmod(0o644)
        folder.chmod(0o755)
        if IS_ROOT:
            as_a_user(lambda: check_reads(path, opened))


@pytest.mark.skipif(not IS_ROOT, reason="only root can be two users")
def test_a_reader_without_permission_sees_what_others_write(folder):
    """A reader that may write nothing reads beside a service that writes, before it begins, during it, and after it ends."""
    path = folder / "store.db"
    with closing(SqliteBackend(path)) as backend:
        backend.commit((), HEAD)
    begun, gone = os.pipe(), os.pipe()

    def read():
        with closing(SqliteBackend(path, create=False)) as backend:
            assert backend.get(Get("heads/b")) == MISSING
            os.write(begun[1], b".")
            os.read(gone[0], 1)
            assert backend.get(Get("heads/b")).body == b"during"
            os.write(begun[1], b".")
            os.read(gone[0], 1)
            assert backend.get(Get("heads/b")).body == b"during"
            assert backend.get(Get("heads/c")).body == b"after"

    child = os.fork()
    if child == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        code = 1
        try:
            read()
            code = 0
        finally:
            os._exit(code)
    os.read(begun[0], 1)
    with closing(SqliteBackend(path)) as backend:
        backend.commit((), Put("heads/b", b"during", ABSENT))
        os.write(gone[1], b".")
        os.read(begun[0], 1)
        backend.commit((), Put("heads/c", b"after", ABSENT))
    os.write(gone[1], b".")
    assert os.waitpid(child, 0)[1] == 0


def test_a_log_that_nobody_merged_is_read_or_said(folder):
    """On a read-only medium with the log of a killed process: all of it is read, or an error says what to do."""
    path = folder / "store.db"
    with process(COMMIT_FOREVER, NAME, path) as running:
        numbers = lines(running)
        printed = [next(numbers) for _ in range(3)]
        running.kill()
        printed.extend(numbers)
    for shared in (True, False):
        if not shared:
            path.with_name("store.db-shm").unlink()

        def work():
            try:
                backend = SqliteBackend(path, create=False)
                found = backend.get(Get("heads/h"))
            except AccessDenied as error:
                told = str(error)
            else:
                told = "" if int(found.body.split()[0]) >= int(printed[-1]) else "something is missing"
            assert not told or "log that is not merged" in told, told
            os._exit(0)

        with read_only(folder):
            assert in_child(work) == 0
