"""A program that forks while it uses a store, in every order of ends, and counts what was acknowledged and what is there.

Run with the URL's scheme (``sqlite`` or ``file``), a folder, a scenario and a number of rounds. It opens no store itself: each
turn has a parent, forked from it, which opens the store and forks the child.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from headstream import ANY, Event, HeadstreamError, InvalidInput, connect, connect_async
from headstream.backends.files import FilesBackend
from headstream.backends.sqlite import SqliteBackend
from headstream.backends.sqlite import _commit as sqlite_commit
from headstream.protocol.ops import ALWAYS, Found, Get, NotApplied, Put, Unknown

SMALL = 10
"""Appends at a time."""


class Turn:
    """One parent, one child, and what they may say to each other."""

    def __init__(self, url):
        self.url = url
        self.acks, self.acknowledge = os.pipe()
        self.words = {name: os.pipe() for name in ("child", "parent", "end", "visit", "visited")}

    def append(self, store, stream, count=SMALL):
        for _ in range(count):
            store.append(stream, Event("Counted"), expected=ANY)
            os.write(self.acknowledge, stream[0].encode())

    def say(self, to):
        os.write(self.words[to][1], b".")

    def wait(self, name):
        assert os.read(self.words[name][0], 1) == b"."

    def forked(self, work):
        """A forked process that does ``work``; its id."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(60)  # a hang is a failure
                work()
                code = 0
            except SystemExit:
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        return child

    def visit(self):
        """Have another process open the store, append and close it."""
        self.say("visit")
        self.wait("visited")

    def visitor(self):
        """That process."""
        while os.read(self.words["visit"][0], 1) == b".":
            with connect(self.url) as store:
                self.append(store, "visitor")
            self.say("visited")


def own(parent, child):
    """A scenario of what the parent and the child do after the fork; each is given the turn, a store and its stream."""

    def scenario(turn):
        def begin():
            store = connect(turn.url)
            turn.append(store, "parent")
            list(store.read("parent"))
            pid = turn.forked(lambda: child(turn, store, "child"))
            parent(turn, store, "parent", pid)

        return begin

    return scenario


def child_goes_on(turn, store, stream):
    """Appends while the parent lives, and when it is gone."""
    turn.append(store, stream)
    turn.say("parent")
    turn.wait("child")
    turn.append(store, stream)
    turn.visit()
    turn.append(store, stream)
    assert len(list(store.read(stream))) == 3 * SMALL
    store.close()
    turn.say("end")


def fresh_child(turn, store, stream):
    """The same by a store that it opens itself."""
    child_goes_on(turn, connect(turn.url), stream)


def child_ends(end):
    def work(turn, store, stream):
        turn.append(store, stream)
        end(store)

    return work


def parent_ends(end):
    """Ends while the child goes on; another process comes between."""

    def work(turn, store, stream, pid):
        turn.append(store, stream)
        turn.wait("parent")
        turn.say("child") if end is kill else None
        end(store)

    return work


def parent_closes(turn, store, stream, pid):
    turn.append(store, stream)
    turn.wait("parent")
    store.close()
    turn.visit()
    turn.say("child")
    assert os.waitpid(pid, 0)[1] == 0


def parent_goes_on(turn, store, stream, pid):
    """The child ends first, however."""
    turn.append(store, stream)
    os.waitpid(pid, 0)
    turn.visit()
    turn.append(store, stream)
    store.close()
    turn.say("end")


def close(store):
    store.close()


def leave(store):
    """An end without a word to the store."""
    os._exit(0)


def kill(store):
    os.kill(os.getpid(), signal.SIGKILL)


def parent_exits(end):
    def work(turn, store, stream, pid):
        turn.append(store, stream)
        turn.wait("parent")
        end(store)

    return work


def busy_threads(turn):
    """Threads read and append while the process forks, again and again."""

    def begin():
        store = connect(turn.url)
        turn.append(store, "parent")
        stop = threading.Event()

        def work(number):
            while not stop.is_set():
                turn.append(store, f"parent-{number}", 1)
                list(store.read("parent"))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for number in range(4):

            def child(number=number):
                turn.append(store, f"child-{number}")
                turn.append(connect(turn.url), f"child-{number}")

            assert os.waitpid(turn.forked(child), 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        store.close()
        turn.say("end")

    return begin


def forking_threads(turn):
    """Threads fork at the same time, while others append: no child keeps a lock that was being taken or given back."""

    def begin():
        store = connect(turn.url)
        turn.append(store, "parent")
        stop = threading.Event()

        def work(number):
            while not stop.is_set():
                turn.append(store, f"parent-{number}", 1)

        def fork(number):
            for attempt in range(SMALL):
                child = turn.forked(lambda attempt=attempt: turn.append(store, f"child-{number}-{attempt}", 1))
                codes.append(os.waitpid(child, 0)[1])

        codes = []
        busy = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        forking = [threading.Thread(target=fork, args=(number,)) for number in range(3)]
        for thread in busy + forking:
            thread.start()
        for thread in forking:
            thread.join()
        stop.set()
        for thread in busy:
            thread.join()
        assert codes == [0] * 3 * SMALL, codes
        store.close()
        turn.say("end")

    return begin


def multiprocessed(turn):
    """A pool of the fork context, made while the store is open."""

    def begin():
        global _store, _round
        _store, _round = connect(turn.url), turn
        turn.append(_store, "parent")
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(_work, range(4))
        turn.append(_store, "parent")
        _store.close()
        turn.say("end")

    return begin


def _work(number):
    _round.append(_store, f"child-{number}")


def daemonised(turn):
    """A process that goes into the background with an open store, by two forks."""

    def begin():
        store = connect(turn.url)
        turn.append(store, "parent")

        def middle():
            os.setsid()
            turn.forked(lambda: (turn.append(store, "child"), store.close(), turn.say("end")))

        os.waitpid(turn.forked(middle), 0)
        os._exit(0)

    return begin


def awaited(turn):
    """A store for asyncio, used before the fork and on both sides of it."""

    async def append(store, stream):
        for _ in range(SMALL):
            await store.append(stream, Event("Counted"), expected=ANY)
            os.write(turn.acknowledge, stream[0].encode())
        assert [event.version async for event in store.read(stream)][-1] >= SMALL

    def begin():
        with asyncio.Runner() as runner:

            async def opened():
                return await connect_async(turn.url)

            store = runner.run(opened())
            runner.run(append(store, "parent"))

            def child():
                with asyncio.Runner() as another:
                    another.run(append(store, "child"))
                    another.run(store.close())

            pid = turn.forked(child)
            runner.run(append(store, "parent"))
            assert os.waitpid(pid, 0)[1] == 0
            runner.run(append(store, "parent"))
            runner.run(store.close())
        turn.say("end")

    return begin


def amid_a_call(turn):
    """Something, say a signal handler, forks in the middle of a commit: the child of SQLite is refused, and the parent goes on."""

    def begin():
        kind, _, path = turn.url.partition("://")
        opened = SqliteBackend if kind == "sqlite" else FilesBackend
        connect(turn.url).close()
        backend = opened(path)
        forked = []

        def handle():
            if not forked:
                forked.append(os.fork())

        def child():
            for use in (lambda: backend.get(Get("heads/a")), lambda: opened(path), lambda: connect(turn.url)):
                with pytest.raises(InvalidInput, match="forked") if kind == "sqlite" else nullcontext():
                    use()
            os._exit(0)

        put = Put("heads/a", b"amid", ALWAYS)
        try:
            if kind == "sqlite":
                backend._group.run(lambda connection: (handle(), sqlite_commit((), put, connection)))
            else:
                stage = backend._disk.stage
                backend._disk.stage = lambda body: (handle(), stage(body))[1]
                backend.commit((), put)
        except (HeadstreamError, NotApplied, Unknown):
            assert forked == [0], forked
        else:
            assert forked != [0], "the call went on in the child"
        if forked == [0]:
            child()
        assert os.waitpid(forked[0], 0)[1] == 0
        etag = backend.commit((), Put("heads/a", b"parent", ALWAYS)).etag
        assert backend.get(Get("heads/a")) == Found(b"parent", etag)
        backend.close()
        turn.say("end")

    return begin


def with_a_connection_of_its_own(turn):
    """The application has the database open by SQLite itself when it forks: the child is refused, and the parent goes on."""

    def begin():
        path = turn.url.removeprefix("sqlite:///")
        store = connect(turn.url)
        turn.append(store, "parent")
        with closing(sqlite3.connect(path)) if path != turn.url else nullcontext() as own:
            if own is not None:
                own.execute("SELECT count(*) FROM objects").fetchall()

            def child():
                refused = pytest.raises(InvalidInput, match="forked")
                for use in (lambda: turn.append(store, "child"), lambda: connect(turn.url)):
                    with refused if own is not None else nullcontext():
                        use()

            assert os.waitpid(turn.forked(child), 0)[1] == 0
            turn.append(store, "parent")
        store.close()
        turn.say("end")

    return begin


SCENARIOS = {
    "the parent closes first": own(parent_closes, child_goes_on),
    "the parent closes first, the child has a store of its own": own(parent_closes, fresh_child),
    "the child closes first": own(parent_goes_on, child_ends(close)),
    "the child exits first": own(parent_goes_on, child_ends(lambda store: sys.exit())),
    "the child leaves first": own(parent_goes_on, child_ends(leave)),
    "the child is killed first": own(parent_goes_on, child_ends(kill)),
    "the parent leaves first": own(parent_exits(leave), child_goes_on),
    "the parent exits first": own(parent_exits(lambda store: sys.exit()), child_goes_on),
    "the parent is killed first": own(parent_exits(kill), child_goes_on),
    "threads are busy": busy_threads,
    "threads fork at the same time": forking_threads,
    "multiprocessing": multiprocessed,
    "into the background": daemonised,
    "asyncio": awaited,
    "amid a call": amid_a_call,
    "with a connection of its own": with_a_connection_of_its_own,
}


def run(kind, folder, name):
    """One turn; raises if anything that was acknowledged is not there."""
    path = Path(folder) / f"{time.time_ns()}"
    url = f"sqlite:////{path}.db" if kind == "sqlite" else f"file://{path}"
    turn = Turn(url)
    visitor = turn.forked(turn.visitor)
    parent = turn.forked(SCENARIOS[name](turn))
    _, status = os.waitpid(parent, 0)
    assert status in {0, signal.SIGKILL}, status
    if name in {"the parent leaves first", "the parent exits first", "the parent is killed first"}:
        turn.visit()
        turn.say("child")
    turn.wait("end")
    os.write(turn.words["visit"][1], b"!")
    assert os.waitpid(visitor, 0)[1] == 0
    os.close(turn.acknowledge)
    acknowledged = b""
    while chunk := os.read(turn.acks, 10_000):  # until the last of them has ended
        acknowledged += chunk

    def check():
        with connect(url, create=False) as store:
            for stream in ("parent", "child", "visitor"):
                there = sum(len(list(store.read(one))) for one in store.streams(stream))
                known = acknowledged.count(stream[0].encode())
                assert there == known, (name, stream, there, known)
            assert sum(1 for _ in store.feed()) == len(acknowledged)
        if kind == "sqlite":
            with closing(sqlite3.connect(f"{path}.db")) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    assert os.waitpid(turn.forked(check), 0)[1] == 0
    for descriptor in (turn.acks, *[end for pair in turn.words.values() for end in pair]):
        os.close(descriptor)


if __name__ == "__main__":
    for _ in range(int(sys.argv[4])):
        run(sys.argv[1], sys.argv[2], sys.argv[3])
    print("ok")
