"""A process that writes to a store, advances its feed, or follows it: the other half of the tests of the feed.

``feed_worker.py ORDER``, where the order is JSON: the fields of :class:`Order`. What it did it says by lines of JSON on the pipe that
the order names; each is one short write, so that no kill leaves half a line. It stops when its input ends.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headstream import ANY, Event, EventStore, FeedEvent, Head, Subscription, WrongExpectedVersion, connect
from headstream.backends.cloud import CloudBackend
from headstream.protocol.ops import Put, Refused, Stored

HOT = 20
"""Streams that get a quarter of the appends, so that writers meet."""


class Order(msgspec.Struct):
    """What a process is to do."""

    role: str
    """``write``, ``advance`` or ``follow``."""
    name: str
    """Of the worker; its checkpoint has it, too."""
    session: int
    """How often it was started before."""
    url: str
    report: int
    """The file descriptor of the pipe."""
    log: str
    """A file in which a follower notes what it saw."""
    streams: int
    appends: int = 0
    """After which a writer ends."""
    doom: float = 0.0
    """The chance that a writer dies between the prelude and the head of a commit."""
    advance: bool = True
    """Whether a follower advances the feed."""


class Doomed(CloudBackend):
    """Kills its process, when it is told to, at the worst moment of a commit: all is there but the head."""

    def __init__(self, url: str, last_words: Callable[[list[str]], None]) -> None:
        super().__init__(url)
        self.doom = False
        self._last_words = last_words

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """A commit, or a part of one."""
        if self.doom and head.key.startswith("heads/s-") and prelude:
            super().commit(prelude[:-1], prelude[-1])
            self._last_words([put.key for put in prelude])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().commit(prelude, head)


class Worker:
    """Does what its order says."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.stopped = threading.Event()
        self._backend = Doomed(order.url, lambda keys: self.report(doomed=keys)) if order.doom else None
        self._random = random.Random(f"{order.name} {order.session}")

    def report(self, **news: Any) -> None:
        """Tell what happened."""
        line = json.dumps({"by": self.order.name, "session": self.order.session} | news) + "\n"
        assert len(line) < 4096, "longer ones could be torn"
        os.write(self.order.report, line.encode())

    def run(self) -> None:
        """Work until the order is done, or the input ends."""
        with connect(self._backend or self.order.url) as store:
            self.report(ready=True)
            work: dict[str, Callable[[EventStore], None]] = {
                "write": self._write,
                "advance": self._advance,
                "follow": self._follow,
            }
            work[self.order.role](store)
        self.report(done=True)

    def when_stopped(self, call: Callable[[], None]) -> None:
        """Call it as soon as the input ends, in a thread."""

        def wait() -> None:
            os.read(0, 1)
            self.stopped.set()
            call()

        threading.Thread(target=wait, daemon=True).start()

    # --- writers ---------------------------------------------------------------------------------------------------

    def _write(self, store: EventStore) -> None:
        self.when_stopped(lambda: None)
        heads: dict[str, Head] = {}
        for number in range(self.order.appends):
            if self.stopped.is_set():
                return
            hot = self._random.random() < 0.25
            stream = f"s-{self._random.randrange(HOT if hot else self.order.streams)}"
            payloads = [
                f"{self.order.name}.{self.order.session}-{number}.{i}" for i in range(self._random.randint(1, 3))
            ]
            if self._backend is not None:
                self._backend.doom = self._random.random() < self.order.doom
            heads[stream] = head = self._append(store, stream, payloads, heads.get(stream))
            positions = head.positions and [head.positions.start, head.positions.stop]
            self.report(stream=stream, version=head.version, payloads=payloads, positions=positions)

    def _append(self, store: EventStore, stream: str, payloads: list[str], head: Head | None) -> Head:
        """After the head that it knows, or after whatever is there; now and then until it is in the feed."""
        publish = self._random.random() < 0.02
        known = head is not None and self._random.random() < 0.5
        while True:
            try:
                events = [Event("E", payload) for payload in payloads]
                return store.append(stream, events, expected=(head or 0) if known else ANY, publish=publish)
            except WrongExpectedVersion:
                head = store.head(stream)

    # --- advancers and followers -----------------------------------------------------------------------------------

    def _advance(self, store: EventStore) -> None:
        self.when_stopped(lambda: None)
        while not self.stopped.wait(self._random.uniform(0, 0.5)):
            if published := store.advance():
                self.report(published=published)

    def _follow(self, store: EventStore) -> None:
        order = self.order
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        subscription: Subscription
        with store.subscribe(checkpoint=order.name, advance=order.advance, poll=(0.05, 0.5)) as subscription:
            self.when_stopped(subscription.close)
            for batch in subscription.batches(100):
                os.write(log, "".join(map(noted, batch)).encode())
                os.fsync(log)
                self.report(seen=batch[-1].position)
                if self._random.random() < 0.3:
                    subscription.save()
                    self.report(saved=batch[-1].position)


def noted(event: FeedEvent) -> str:
    """An event as a follower writes it down."""
    return f"{event.position} {event.stream} {event.version} {event.changeset.hex()} {event.data}\n"


if __name__ == "__main__":
    Worker(msgspec.json.decode(sys.argv[1], type=Order)).run()
