"""What both kinds of projection share: what the application says, checked; and how they are closed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final, Protocol, TypeAlias

from headstream import limits
from headstream.errors import CheckpointLost, InvalidInput, ProjectionStopped
from headstream.following import Streams, Wanted
from headstream.model import FeedEvent, check_text, check_writable
from headstream.projections.databases import Source
from headstream.projections.ledger import Tables
from headstream.session import check_number

log: Final = logging.getLogger("headstream.projections")

MAX_TABLES: Final = 50
BATCH: Final = 1000
"""Events in one transaction, if the application does not say."""

_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]{0,47}")
"""A name that needs no quotes, and leaves room for a generation in the 63 bytes of PostgreSQL."""

Handler: TypeAlias = Callable[[Any, Tables, FeedEvent], object]
Creator: TypeAlias = Callable[[Any, Tables], object]


class Closable(Protocol):
    """What can be told to end."""

    def close(self) -> None:
        """End."""


class Definition:
    """A projection: what it is called, what it does with an event, and where. What the arguments mean is said at :class:`Projection`."""

    def __init__(
        self,
        name: str,
        handle: Handler,
        database: Source,
        *,
        tables: Iterable[str] = (),
        create: Creator | None = None,
        version: int = 1,
        streams: Streams | None = None,
        types: str | Iterable[str] | None = None,
        dead_letters: str | None = None,
        batch: int = BATCH,
        driver: ModuleType | None = None,
    ) -> None:
        check_text("a projection's name", name, limits.MAX_CHECKPOINT_NAME)
        check_number("version", version, 1)
        check_number("batch", batch, 1)
        if dead_letters is not None:
            check_writable(dead_letters)
        self.name = name
        self.handle = handle
        self.database = database
        self.tables = _checked(tables)
        self.create = create
        self.version = version
        self.streams: Streams | None = _kept(streams)
        self.types: str | Iterable[str] | None = _kept(types)
        self.dead_letters = dead_letters
        self.batch = batch
        self.driver = driver
        self._closed = False
        self._following: set[Closable] = set()
        Wanted(self.streams, self.types)
        if bool(self.tables) != (create is not None):
            raise InvalidInput(
                "tables and create go together: create makes the tables under the names that it is given"
            )

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """End what runs, after the batch that it is at, and let nothing else begin. From any thread, or a signal handler. Idempotent."""
        self._closed = True
        for subscription in tuple(self._following):
            subscription.close()

    @contextmanager
    def logging_its_end(self) -> Iterator[None]:
        """Log why a run ends that neither was closed nor has caught up."""
        try:
            yield
        except ProjectionStopped as error:
            # Its text may hold data of the event.
            kind = type(error.__cause__).__name__
            log.error("projection %r ends at position %d: %s in its handler", self.name, error.position, kind)  # noqa: TRY400
            raise
        except CheckpointLost as error:
            log.warning("projection %r ends: %s", self.name, error)
            raise

    @contextmanager
    def closing(self, subscription: Closable) -> Iterator[None]:
        """Have :meth:`close` close a subscription, for as long as the block runs."""
        self._following.add(subscription)
        try:
            if self._closed:
                subscription.close()
            yield
        finally:
            self._following.discard(subscription)


def _kept(texts: Any) -> Any:
    """The same, to be looked at more than once."""
    return tuple(texts) if isinstance(texts, Iterator) else texts


def _checked(tables: Iterable[str]) -> tuple[str, ...]:
    names = (tables,) if isinstance(tables, str) else tuple(tables)
    for name in names:
        if not _TABLE.fullmatch(name):
            raise InvalidInput(f"a table's name is 1 to 48 lower-case letters, digits and underscores, not {name!r}")
    if len(set(names)) != len(names) or len(names) > MAX_TABLES:
        raise InvalidInput(f"tables are at most {MAX_TABLES} different names")
    return names
