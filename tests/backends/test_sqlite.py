"""One SQLite file: the conformance suite, and what is SQLite's own."""

import multiprocessing
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from headstream.backends.sqlite import SqliteBackend
from headstream.errors import CorruptData, InvalidInput, StoreNotFound
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    Found,
    Get,
    Matches,
    NotApplied,
    Put,
    Stored,
    Unknown,
)
from headstream.testing.conformance import BackendConformance
from support.embedded import in_child, killed_after, race, until

NAME = "headstream.backends.sqlite.SqliteBackend"
HEAD = Put("heads/a", b"body", ABSENT)


@pytest.fixture
def path(tmp_path):
    """Where the store is."""
    return tmp_path / "store.db"


@pytest.fixture
def backend(path):
    """An empty store."""
    with closing(SqliteBackend(path)) as backend:
        yield backend


class TestSqlite(BackendConformance):
    """The whole suite."""

    @pytest.fixture
    def backend(self, path):
        """An empty store."""
        with closing(SqliteBackend(path)) as backend:
            yield backend

    @pytest.fixture
    def another(self, backend, path):
        """A second client, with locks and connections of its own."""
        with closing(SqliteBackend(path)) as another:
            yield another


def database(path):
    """The file as a foreign program opens it."""
    return closing(sqlite3.connect(path, isolation_level=None))


class Tampered:
    """A connection on which something happens before one statement."""

    def __init__(self, connection, statement, act):
        self.connection, self.statement, self.act = connection, statement, act

    @property
    def in_transaction(self):
        return self.connection.in_transaction

    def execute(self, statement, *args):
        if statement == self.statement:
            self.act()
        return self.connection.execute(statement, *args)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if self.in_transaction:
                self.execute("COMMIT" if kind is None else "ROLLBACK")
        except sqlite3.Error:
            if kind is None and self.in_transaction:
                self.execute("ROLLBACK")
            raise

    def rollback(self):
        self.execute("ROLLBACK")

    def close(self):
        self.connection.close()


def failing(connection, statement, code, name):
    """A connection on which one statement fails with an error of SQLite, as on a broken disk."""

    def fail():
        error = sqlite3.OperationalError("it failed")
        error.sqlite_errorcode, error.sqlite_errorname = code, name
        raise error

    return Tampered(connection, statement, fail)


def commit_together(backend, puts):
    """Commit from one thread each, so that the writes share a transaction; what each returned or raised."""

    def commit(put):
        try:
            return backend.commit((), put)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(puts)) as threads:
        with backend._lock.threads, backend._lock.file() as file:
            backend._lock.take(file, time.monotonic() + 60)
            futures = [threads.submit(commit, put) for put in puts]
            until(lambda: len(backend._group._queue) == len(puts))
        return [future.result() for future in futures]


# --- faults ------------------------------------------------------------------------------------------------------


def test_another_program_delays_a_write_for_a_bounded_time(path):
    """A write that SQLite's own lock keeps out is not applied; reads go on; afterwards writes do too."""
    with closing(SqliteBackend(path, timeout=0.2)) as backend, database(path) as foreign:
        etag = backend.commit((), HEAD).etag
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotApplied, match="locked by another program"):
            backend.commit((), Put("heads/a", b"late", Matches(etag)))
        with pytest.raises(NotApplied):
            backend.delete(["heads/a"])
        assert backend.get(Get("heads/a")) == Found(b"body", etag)
        foreign.execute("ROLLBACK")
        assert isinstance(backend.commit((), Put("heads/a", b"later", Matches(etag))), Stored)


def test_a_full_disk_applies_nothing(backend):
    """A commit that does not fit leaves neither head nor prelude, and a smaller one goes through."""
    backend.commit((), HEAD)
    backend._pool.writer.connection.execute("PRAGMA max_page_count = 10")
    large = Put("segments/a/1", b"x" * 100_000, ALWAYS)
    with pytest.raises(NotApplied, match="full"):
        backend.commit([large], Put("heads/b", b"", ABSENT))
    assert backend.get_many([Get("heads/b"), Get("segments/a/1")]) == (MISSING, MISSING)
    assert isinstance(backend.commit((), Put("heads/b", b"", ABSENT)), Stored)


def test_a_full_disk_spares_those_who_fit(backend):
    """Writes that share a transaction with one that does not fit are stored all the same."""
    backend.commit((), HEAD)
    backend._pool.writer.connection.execute("PRAGMA max_page_count = 10")
    bodies = [b"x", b"x" * 100_000, b"x"]
    small, large, other = commit_together(
        backend, [Put(f"heads/{len(body)}-{n}", body, ABSENT) for n, body in enumerate(bodies)]
    )
    assert isinstance(small, Stored)
    assert isinstance(large, NotApplied)
    assert isinstance(other, Stored)


@pytest.mark.parametrize(
    ("statement", "code", "name", "raised"),
    [
        ("BEGIN IMMEDIATE", sqlite3.SQLITE_IOERR, "SQLITE_IOERR", NotApplied),
        ("COMMIT", sqlite3.SQLITE_IOERR, "SQLITE_IOERR", Unknown),
        ("COMMIT", sqlite3.SQLITE_FULL, "SQLITE_FULL", NotApplied),
        ("COMMIT", sqlite3.SQLITE_BUSY, "SQLITE_BUSY", NotApplied),
        ("BEGIN IMMEDIATE", sqlite3.SQLITE_READONLY, "SQLITE_READONLY", NotApplied),
        ("COMMIT", sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT", Unknown),
    ],
)
def test_every_caller_of_a_failed_transaction_hears_of_it(backend, statement, code, name, raised):
    """Each gets an error of its own that says whether its write may count, and the next transaction works."""
    backend.commit((), HEAD)
    working = backend._pool.writer.connection
    backend._pool.writer.connection = failing(working, statement, code, name)
    errors = commit_together(backend, [Put(f"heads/{number}", b"", ABSENT) for number in range(3)])
    assert [type(error) for error in errors] == [raised] * 3
    assert len({id(error) for error in errors}) == 3
    if backend._pool.writer.connection is not None:  # else a new one takes its place
        backend._pool.writer.connection = working
    assert isinstance(backend.commit((), Put("heads/0", b"", ABSENT)), Stored)


def test_a_connection_that_cannot_roll_back_is_replaced(backend):
    """When SQLite cannot even undo, the connection is given up: the next write has a new one."""
    backend.commit((), HEAD)
    backend._pool.writer.connection = failing(
        backend._pool.writer.connection, "ROLLBACK", sqlite3.SQLITE_IOERR, "SQLITE_IOERR"
    )
    with pytest.raises(NotApplied, match="prelude"):
        backend.commit([Put("heads/a", b"again", ABSENT)], Put("heads/b", b"", ABSENT))
    assert isinstance(backend.commit((), Put("heads/b", b"", ABSENT)), Stored)


def test_a_damaged_file_is_named(backend, path):
    """Garbage in the file is CorruptData with the file's name and, for a read, the key."""
    backend.commit([Put(f"inbox/{number}", b"x" * 3000, ALWAYS) for number in range(50)], HEAD)
    backend.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    with closing(SqliteBackend(path)) as damaged:
        with pytest.raises(CorruptData, match=r"store\.db is damaged") as caught:
            damaged.get(Get("heads/a"))
        assert caught.value.key == "heads/a"
        with pytest.raises(CorruptData):
            damaged.list("", "", 10)
        with pytest.raises(CorruptData):
            damaged.commit((), Put("heads/b", b"", ABSENT))


def test_a_file_that_is_gone_is_said_to_be(backend, path):
    """A store that somebody removed is StoreNotFound, also for who has it open."""
    path.unlink()
    with pytest.raises(StoreNotFound, match="was deleted while it was open"):
        backend.get(Get("heads/a"))


# --- threads and processes ---------------------------------------------------------------------------------------


def test_writes_of_several_threads_share_a_flush(backend):
    """Commits that wait at the same time are one transaction; each has its own answer."""
    etag = backend.commit((), HEAD).etag
    statements = []
    backend._pool.writer.connection.set_trace_callback(statements.append)
    puts = [Put(f"heads/{number}", b"", ABSENT) for number in range(6)]
    answers = commit_together(backend, [*puts, HEAD, Put("heads/a", b"new", Matches(etag))])
    assert statements.count("COMMIT") <= 2  # whoever led before the others were there had one of its own
    assert [isinstance(answer, Stored) for answer in answers] == [True] * 6 + [False, True]
    assert answers[6] == REFUSED


def test_one_bad_write_spoils_no_other(backend):
    """A member of a group that fails in a way nobody foresaw gets its error alone; the others are stored."""
    puts = [Put("heads/0", b"", ABSENT), Put("heads/1", object(), ABSENT), Put("heads/2", b"", ABSENT)]
    first, bad, last = commit_together(backend, puts)
    assert isinstance(first, Stored)
    assert isinstance(bad, sqlite3.Error)
    assert isinstance(last, Stored)
    assert backend.list("", "", 9).keys == ("heads/0", "heads/2")


def test_an_object_of_the_prelude_that_exists_undoes_the_commit(backend):
    """A prelude whose condition fails is not applied, with the head."""
    backend.commit((), HEAD)
    with pytest.raises(NotApplied, match="heads/a"):
        backend.commit([Put("inbox/1", b"", ALWAYS), HEAD], Put("heads/b", b"", ABSENT))
    assert backend.list("", "", 9).keys == ("heads/a",)


def test_a_body_is_not_read_when_it_is_not_modified(backend, path):
    """An etag that matches is answered from the object's first page: the others may be unreadable."""
    etag = backend.commit((), Put("heads/a", b"x" * 100_000, ABSENT)).etag
    backend.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: 4 * 4096] + b"\xa5" * (len(whole) - 4 * 4096))
    with closing(SqliteBackend(path)) as damaged:
        assert damaged.get(Get("heads/a", if_none_match=etag)) == NOT_MODIFIED
        with pytest.raises(CorruptData):
            damaged.get(Get("heads/a"))


def test_a_closed_store_says_so(backend):
    """Every call after close is InvalidInput; closing again is not."""
    backend.commit((), HEAD)
    busy = backend._pool.take()
    backend.close()
    backend.close()
    backend._pool.give(busy)
    for call in (
        lambda: backend.get(Get("heads/a")),
        lambda: backend.get_many([Get("heads/a")]),
        lambda: backend.list("", "", 1),
        lambda: backend.commit((), HEAD),
        lambda: backend.delete(["heads/a"]),
    ):
        with pytest.raises(InvalidInput, match="closed"):
            call()


def test_closing_waits_for_the_write_in_progress(backend):
    """A commit that has begun ends well, and only then is the file closed."""
    backend.commit((), HEAD)
    begun, proceed = threading.Event(), threading.Event()
    backend._pool.writer.connection = Tampered(
        backend._pool.writer.connection, "COMMIT", lambda: (begun.set(), proceed.wait())
    )
    with ThreadPoolExecutor(2) as threads:
        commit = threads.submit(backend.commit, (), Put("heads/b", b"", ABSENT))
        begun.wait()
        close = threads.submit(backend.close)
        until(lambda: backend._pool._closed)
        assert not close.done()
        proceed.set()
        assert isinstance(commit.result(), Stored)
        close.result()


def test_a_forked_child_has_connections_of_its_own(backend):
    """Parent and child go on with the same object: both write, both see it."""
    etag = backend.commit((), HEAD).etag
    backend.get(Get("heads/a"))

    def work():
        assert backend._pool.writer.connection is None
        assert backend.get(Get("heads/a")).body == b"body"
        assert isinstance(backend.commit((), Put("heads/a", b"child", Matches(etag))), Stored)
        assert isinstance(backend.commit((), Put("heads/child", b"", ABSENT)), Stored)
        backend.close()

    assert in_child(work) == 0
    assert backend.commit((), Put("heads/a", b"parent", Matches(etag))) == REFUSED
    assert backend.get(Get("heads/a")).body == b"child"
    assert isinstance(backend.commit((), Put("heads/parent", b"", ABSENT)), Stored)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_amid_a_write_harms_neither(backend):
    """A child forked while another thread holds all locks can write as soon as that thread is done."""
    backend.commit((), HEAD)
    child = multiprocessing.get_context("fork").Process(
        target=backend.commit, args=((), Put("heads/child", b"", ABSENT))
    )
    held, release = threading.Event(), threading.Event()

    def hold():
        with backend._lock.threads, backend._lock.file() as file:
            backend._lock.take(file, time.monotonic() + 60)
            held.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child.start()
    release.set()
    holder.join()
    child.join()
    assert child.exitcode == 0
    assert backend.list("heads/child", "", 1).keys == ("heads/child",)


def test_counting_processes_lose_nothing(backend, path):
    """Eight threads in each of three processes add to one counter: it ends at the number of swaps that were stored."""
    backend.commit((), Put("heads/counter", b"0 nobody", ABSENT))
    results = race(NAME, path, processes=3, threads=8, seconds=1)
    assert int(backend.get(Get("heads/counter")).body.split()[0]) == sum(wins for wins, _ in results) > 0


def test_no_process_is_starved(backend, path):
    """Four processes at one key for two seconds: each gets a share, and nobody waits for half of the time."""
    backend.commit((), Put("heads/counter", b"0 nobody", ABSENT))
    results = race(NAME, path, processes=4, threads=1, seconds=2)
    total = sum(wins for wins, _ in results)
    assert all(wins > total / 100 for wins, _ in results), results
    assert max(wait for _, wait in results) < 1, results


def test_a_killed_process_loses_no_answered_commit(path):
    """Killed wherever it is, a process leaves each answered commit whole, and of the next one all or nothing."""
    for answers in (1, 7, 40, 3, 120, 60):
        last = killed_after(answers, NAME, path)
        with closing(SqliteBackend(path)) as backend:
            found = backend.get(Get("heads/h"))
            number = int(found.body.split()[0])
            assert last <= number <= last + 1
            assert found.body == b"%d " % number * 1500
            keys = backend.list("inbox/", "", 1000).keys
            assert keys == tuple(f"inbox/{n:08}" for n in range(1, number + 1))
            for n, intent in enumerate(backend.get_many([Get(key) for key in keys]), 1):
                assert intent.body == b"%d " % n * 1500


def test_repr_names_the_file(backend, path):
    """A repr says which store it is."""
    assert repr(backend) == f"SqliteBackend({str(path)!r})"
