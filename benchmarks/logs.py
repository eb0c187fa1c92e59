"""The logs of all events that are replayed: what ``feed`` is measured against.

* ``headstream``: the public API on one SQLite file.
* ``eventsourcing``: the notification log of its SQLite recorder, in sections of 1,000: the fastest layer of that library.
* ``PostgreSQL``: the same of its PostgreSQL recorder.
* ``UmaDB``: its server, asked by its own client, on this machine.
* ``Message DB``: its table in the order of the global position, which is what its documentation says to read for that; in sections of 1,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
from eventsourcing.persistence import ApplicationRecorder

from benchmarks.rivals import EventSourcing, Headstream, Store
from benchmarks.served import SECTION, MessageDb, Postgres, Uma

STREAMS = 1_000


class Log(Store, Protocol):
    """What is measured."""

    def one_by_one(self) -> int:
        """Take every event; how many there were."""

    def in_lists(self) -> int:
        """Take every event, in the lists that they come in; how many there were."""

    def decoded(self) -> int:
        """Take every event and decode its JSON; how many there were."""


def fill(log: Log, events: int, each: int) -> None:
    """Append ``events`` to streams in turn, ``each`` at a time, and publish them."""
    for call in range(events // each):
        log.append(f"order-{call % STREAMS}", call // STREAMS * each + 1, each)
    log.publish()


class HeadstreamLog(Headstream):
    """headstream on SQLite."""

    def one_by_one(self) -> int:
        return sum(1 for _ in self.store.feed(advance=False))

    def in_lists(self) -> int:
        with self.store.subscribe(follow=False) as subscription:
            return sum(map(len, subscription.batches(SECTION)))

    def decoded(self) -> int:
        return sum(1 for event in self.store.feed(advance=False) if event.data)


class _Notifications:
    """The notification log of a recorder."""

    _recorder: ApplicationRecorder

    def one_by_one(self) -> int:
        return sum(1 for section in self._sections() for _ in section)

    def in_lists(self) -> int:
        return sum(map(len, self._sections()))

    def decoded(self) -> int:
        return sum(1 for section in self._sections() for event in section if msgspec.json.decode(event.state))

    def _sections(self) -> Iterator[Any]:
        last = 0
        while section := self._recorder.select_notifications(last + 1, SECTION):
            yield section
            last = section[-1].id


class EventSourcingLog(_Notifications, EventSourcing):
    """``eventsourcing`` on SQLite (WAL, synchronous=FULL)."""


class PostgresLog(_Notifications, Postgres):
    """``eventsourcing`` on PostgreSQL, through a socket."""


class UmaLog(Uma):
    """UmaDB: the stream is a tag of each event."""

    def one_by_one(self) -> int:
        return sum(1 for _ in self._client.read())

    def in_lists(self) -> int:
        response, count = self._client.read(), 0
        while section := response.next_batch():
            count += len(section)
        return count

    def decoded(self) -> int:
        return sum(1 for event in self._client.read() if msgspec.json.decode(event.event.data))


class MessageDbLog(MessageDb):
    """Message DB."""

    def one_by_one(self) -> int:
        return sum(1 for section in self._sections() for _ in section)

    def in_lists(self) -> int:
        return sum(map(len, self._sections()))

    def decoded(self) -> int:
        return sum(1 for section in self._sections() for row in section if msgspec.json.decode(row[-1]))

    def _sections(self) -> Iterator[Any]:
        query = b"""SELECT id::varchar, stream_name, type, position, global_position, metadata::varchar, time, data::varchar
            FROM message_store.messages WHERE global_position > %s ORDER BY global_position LIMIT %s"""
        last = 0
        with self._pool.connection() as connection:
            while section := connection.execute(query, (last, SECTION)).fetchall():
                yield section
                last = section[-1][4]


LOGS: dict[str, Callable[[Path], Log]] = {
    "headstream": HeadstreamLog,
    "eventsourcing": EventSourcingLog,
    "PostgreSQL": PostgresLog,
    "UmaDB": UmaLog,
    "Message DB": MessageDbLog,
}
