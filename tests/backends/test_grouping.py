"""Group commit: who leads, who shares a batch, and that nobody is left behind."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from headstream.backends import grouping
from headstream.backends.grouping import Group
from headstream.protocol.ops import Unknown
from support.embedded import until


class Server:
    """Serves batches: notes them, and calls each job's work with the batch's number."""

    def __init__(self, most=100):
        self.batches = []
        self.threads = []
        self.group = Group(self.serve, most)

    def serve(self, arriving):
        number = len(self.batches)
        self.batches.append([])
        self.threads.append(threading.current_thread())
        for job in arriving:
            self.batches[number].append(job)
            try:
                job.succeed(job.work(number))
            except Exception as error:
                job.fail(error)

    @contextmanager
    def busy(self):
        """A thread leads, and goes on doing so until the block is left."""
        leading, proceed = threading.Event(), threading.Event()
        leader = threading.Thread(target=self.group.run, args=(lambda _: (leading.set(), proceed.wait()),))
        leader.start()
        leading.wait()
        try:
            yield
        finally:
            proceed.set()
            leader.join()

    def queue(self, pool, works):
        """Have each work run by a thread, queued in this order behind the one in progress."""
        futures = []
        for work in works:
            waiting = len(self.group._queue)
            futures.append(pool.submit(self.group.run, work))
            until(lambda expected=waiting + 1: len(self.group._queue) == expected)
        return futures


@pytest.fixture
def pool():
    """Threads enough for all callers of a test."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_a_lone_caller_is_served_in_its_own_thread():
    """Without company there is no switch of threads, and each call is a batch."""
    server = Server()
    assert [server.group.run(lambda number: number) for _ in range(3)] == [0, 1, 2]
    assert server.threads == [threading.current_thread()] * 3


def test_those_who_come_during_a_batch_may_join_it(pool):
    """Work that arrives before the batch has ended is part of it."""
    server = Server()
    with server.busy():
        futures = server.queue(pool, [lambda number: number] * 5)
    assert [future.result() for future in futures] == [0] * 5


def test_those_who_come_too_late_share_the_next_batch(pool):
    """Work that arrives while a batch is being flushed is one batch, led by one of them."""
    server = Server()
    flushing, proceed = threading.Event(), threading.Event()
    plain = server.serve

    def serve(arriving):
        plain(arriving)
        if not flushing.is_set():
            flushing.set()
            proceed.wait()

    server.group._serve = serve
    first = pool.submit(server.group.run, lambda number: number)
    flushing.wait()
    futures = server.queue(pool, [lambda number: number] * 5)
    proceed.set()
    assert [future.result() for future in [first, *futures]] == [0, 1, 1, 1, 1, 1]
    assert len(set(server.threads)) == 2


def test_a_batch_is_bounded(pool):
    """No batch is larger than the limit; those beyond it are served in their order by the next ones."""
    server = Server(most=3)
    with server.busy():
        futures = server.queue(pool, [lambda number: number] * 7)
    assert [future.result() for future in futures] == [0, 0, 1, 1, 1, 2, 2]


def test_an_error_is_its_callers_alone(pool):
    """What one piece of work raises reaches its caller; the others of the batch have their answers."""
    server = Server()
    with server.busy():
        good, bad, other = server.queue(pool, [lambda _: "good", lambda _: 1 // 0, lambda _: "other"])
    assert (good.result(), other.result()) == ("good", "other")
    with pytest.raises(ZeroDivisionError):
        bad.result()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupted_leader_strands_nobody(pool, interrupt):
    """When the leader is torn out of a batch, those in it hear that the outcome is unknown, and the next batch runs."""
    group = None
    batches = []

    def serve(arriving):
        batches.append([])
        for job in arriving:
            batches[-1].append(job)
            if len(batches) == 1 and len(batches[0]) == 1:
                until(lambda: len(group._queue) == 4)
        if len(batches) == 1:
            raise interrupt
        for job in batches[-1]:
            job.succeed("served")

    def lead():
        with pytest.raises(interrupt):
            group.run(lambda _: None)

    group = Group(serve, 100)
    leader = pool.submit(lead)
    until(lambda: len(group._queue) == 1)
    followers = [pool.submit(group.run, lambda _: None) for _ in range(3)]
    leader.result()
    for follower in followers:
        with pytest.raises(Unknown, match="interrupted"):
            follower.result()
    assert group.run(lambda _: None) == "served"


def test_a_server_that_takes_nobody_fails_only_itself(pool):
    """Work that an interrupted leader had not begun is served by the next one."""
    server = Server()
    plain, interrupted, proceed = server.serve, threading.Event(), threading.Event()

    def serve(arriving):
        if not interrupted.is_set():
            interrupted.set()
            proceed.wait()
            raise KeyboardInterrupt
        plain(arriving)

    server.group._serve = serve
    leader = pool.submit(_interrupted, server.group)
    interrupted.wait()
    futures = server.queue(pool, [lambda number: number] * 3)
    proceed.set()
    leader.result()
    assert [future.result() for future in futures] == [0, 0, 0]


def _interrupted(group):
    with pytest.raises(KeyboardInterrupt):
        group.run(lambda _: None)


def test_a_caller_that_is_interrupted_while_it_waits_strands_nobody(pool, monkeypatch):
    """Its work is not begun any more, and those behind it in the queue are served."""
    server = Server()
    begun = []
    interrupting = threading.Event()

    class Wake(grouping.SimpleQueue):
        def get(self, timeout):
            if threading.current_thread().name == "victim":
                interrupting.wait()
                raise KeyboardInterrupt
            super().get(timeout=timeout)

    monkeypatch.setattr(grouping, "SimpleQueue", Wake)

    def victim():
        threading.current_thread().name = "victim"
        with pytest.raises(KeyboardInterrupt):
            server.group.run(begun.append)

    flushing, proceed = threading.Event(), threading.Event()
    plain = server.serve

    def serve(arriving):
        plain(arriving)
        if not flushing.is_set():
            flushing.set()
            proceed.wait()

    server.group._serve = serve
    first = pool.submit(server.group.run, lambda number: number)
    flushing.wait()
    thread = threading.Thread(target=victim)
    thread.start()
    until(lambda: len(server.group._queue) == 2)
    behind = server.queue(pool, [lambda number: number] * 2)
    interrupting.set()
    thread.join()
    later = server.queue(pool, [lambda number: number])
    proceed.set()
    assert [future.result() for future in [first, *behind, *later]] == [0, 1, 1, 1]
    assert begun == []


def test_many_threads_are_all_served(pool):
    """Thousands of calls of many threads: each gets the answer to its own work."""
    server = Server(most=5)

    def work(thread):
        return [server.group.run(lambda _, value=(thread, turn): value) for turn in range(200)]

    for thread, answers in enumerate(pool.map(work, range(16))):
        assert answers == [(thread, turn) for turn in range(200)]
    assert sum(map(len, server.batches)) == 3200
    assert max(map(len, server.batches)) <= 5
