"""Races: conditions are atomic against every other writer, and clients may be shared by threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import uuid4

from headstream.backends.base import Backend
from headstream.protocol.ops import ABSENT, ALWAYS, Condition, Matches, Put, Refused, Stored
from headstream.testing.conformance.support import Checks, found, paged, store

T = TypeVar("T")
PATIENCE = 120.0
"""Seconds that a racer waits for the others before the test fails."""
ROUNDS = 3


def race(racers: int, run: Callable[[int], T]) -> list[T]:
    """What ``run(0)``, ``run(1)`` … return, begun at the same moment on a thread each."""
    start = threading.Barrier(racers)

    def begin(number: int) -> T:
        start.wait(PATIENCE)
        return run(number)

    with ThreadPoolExecutor(racers) as pool:
        return list(pool.map(begin, range(racers), timeout=PATIENCE))


class RaceChecks(Checks):
    """Many clients at once: threads of one client, and another client."""

    def race_for(self, clients: Sequence[Backend], key: str, when: Condition) -> tuple[bytes, str]:
        """Let all racers write ``key`` under one condition; body and etag of the only one that may be stored.

        No body repeats one of an earlier round: heads never do, and an etag may be a hash of the content.
        """
        bodies = [f"racer {number}, {when}, {uuid4()}".encode() for number in range(self.racers)]

        def commit(number: int) -> Stored | Refused:
            prelude = [Put(f"inbox/{key}/{number}", b"intent", ALWAYS)]
            return clients[number % len(clients)].commit(prelude, Put(key, bodies[number], when))

        answers = race(self.racers, commit)
        winners = [
            (body, answer.etag) for body, answer in zip(bodies, answers, strict=True) if isinstance(answer, Stored)
        ]
        assert len(winners) == 1, f"{len(winners)} of {self.racers} racers were stored"
        return winners[0]

    def test_one_create_of_many_wins(self, backend: Backend, another: Backend) -> None:
        """Clients that create the same key: exactly one is stored, and its body and etag are what everybody reads."""
        for number in range(ROUNDS):
            body, etag = self.race_for((backend, another), f"heads/race-{number}", ABSENT)
            for client in (backend, another):
                answer = found(client, f"heads/race-{number}")
                assert (answer.body, answer.etag) == (body, etag)

    def test_one_swap_of_many_wins(self, backend: Backend, another: Backend) -> None:
        """Clients that swap the same etag: exactly one is stored, round after round from the winner's etag."""
        etag = store(backend, "heads/race", b"first")
        for _ in range(ROUNDS):
            body, etag = self.race_for((backend, another), "heads/race", Matches(etag))
            answer = found(another, "heads/race")
            assert (answer.body, answer.etag) == (body, etag)

    def test_a_counter_loses_nothing(self, backend: Backend, another: Backend) -> None:
        """Threads that add one by read and swap, and repeat when refused, end at the exact sum."""
        threads = min(self.racers, 4)
        clients = (backend, another)
        store(backend, "heads/counter", b"0 nobody")

        def increment(number: int) -> int:
            client, done = clients[number % 2], 0
            while done < self.increments:
                seen = found(client, "heads/counter")
                body = b"%d by %d" % (int(seen.body.split()[0]) + 1, number)
                answer = client.commit((), Put("heads/counter", body, Matches(seen.etag)))
                done += isinstance(answer, Stored)
            return done

        assert sum(race(threads, increment)) == threads * self.increments
        assert int(found(another, "heads/counter").body.split()[0]) == threads * self.increments

    def test_threads_share_a_client(self, backend: Backend) -> None:
        """Threads that write, read, list and delete keys of their own through one client do not disturb each other."""
        threads = min(self.racers, 8)

        def work(number: int) -> list[str]:
            keys = [f"inbox/{number}/{item}" for item in range(5)]
            for key in keys:
                store(backend, key, key.encode())
                assert found(backend, key).body == key.encode()
            backend.delete(keys[:2])
            return paged(backend, f"inbox/{number}/", limit=2)

        remaining = race(threads, work)
        assert remaining == [[f"inbox/{number}/{item}" for item in range(2, 5)] for number in range(threads)]

    def test_a_reader_sees_whole_writes(self, backend: Backend, another: Backend) -> None:
        """While one client swaps, others read bodies that were written, each with its own etag, and never go back."""
        size = 50_000
        bodies = [b"%07d" % number * (size // 7) for number in range(12)]
        etags = [store(backend, "heads/a", bodies[0])]
        over = threading.Event()

        def work(number: int) -> list[tuple[bytes, str]]:
            if number == 0:
                try:
                    for body in bodies[1:]:
                        etags.append(store(backend, "heads/a", body, Matches(etags[-1])))
                finally:
                    over.set()
            seen = []
            while not over.is_set():
                answer = found((backend, another)[number % 2], "heads/a")
                seen.append((answer.body, answer.etag))
            return seen

        for seen in race(3, work):
            versions = [bodies.index(body) for body, _ in seen]
            assert versions == sorted(versions)
            assert [etag for _, etag in seen] == [etags[version] for version in versions]
