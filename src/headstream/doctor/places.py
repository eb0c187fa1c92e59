"""From what the caller names to connections that can race."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from headstream.backends.base import Backend
from headstream.backends.memory import MemoryBackend
from headstream.backends.osfaults import explain_os
from headstream.connecting import CLOUDS, Location, blocking_backend, locate
from headstream.errors import InvalidInput, StoreNotFound
from headstream.protocol.ops import FAULTS, unavailable

Modified: TypeAlias = Callable[[str], datetime | None]
"""When the object with this key was written, by the server's clock; ``None`` if it does not say."""


class Place(NamedTuple):
    """Where an examination takes place."""

    name: str
    connect: Callable[[], Backend]
    """Opens another connection."""
    modified: Modified | None
    """The server's clock, if it has one of its own and tells."""


@contextmanager
def opened(place: str | os.PathLike[str] | Callable[[], Backend], options: Mapping[str, Any]) -> Iterator[Place]:
    """The place that a URL or a factory names.

    A folder or a SQLite file is not touched: what can fail there is the file system, so a store of its own is made in a
    temporary folder on the same one, and removed.
    """
    if not isinstance(place, str | os.PathLike):
        if options:
            raise InvalidInput(f"a factory takes no options here: {', '.join(sorted(options))}")
        yield Place(_name(place), place, None)
        return
    location = locate(place)
    if location.kind in CLOUDS:
        connect = partial(blocking_backend, location, create=False, options=dict(options))
        yield Place(location.url, connect, _cloud_clock(location, options))
    elif location.kind == "memory":
        memory = MemoryBackend()
        yield Place(location.url, lambda: memory, None)
    else:
        with _temporary_folder(_disk(location)) as folder:
            target = Location(location.kind, location.url, str(folder / Path(location.path).name))
            yield Place(location.url, partial(blocking_backend, target, create=True, options=dict(options)), None)


def _name(factory: Callable[[], Backend]) -> str:
    return getattr(factory, "__qualname__", type(factory).__qualname__)


def _disk(location: Location) -> Path:
    """A folder that exists, on the file system of a local store: in its folder, or beside its file."""
    path = Path(location.path).resolve()
    if location.kind == "sqlite":
        path = path.parent
        if not path.is_dir():
            raise StoreNotFound(f"the folder {path} does not exist: create it, or correct the path")
    while not path.is_dir():
        path = path.parent
    return path


@contextmanager
def _temporary_folder(disk: Path) -> Iterator[Path]:
    """A folder whose name no store takes for its own; gone afterwards."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=".headstream-doctor-", dir=disk)
    except OSError as error:
        fault = explain_os(error, disk)
        if isinstance(fault, FAULTS):
            raise unavailable("the storage cannot be opened: try again later", fault) from error
        raise fault from error
    with folder as path:
        yield Path(path)


def _cloud_clock(location: Location, options: Mapping[str, Any]) -> Modified:
    """Asks when an object was written: no operation of a backend says that, for no protocol may depend on it."""
    from headstream.backends.cloud.faults import ERRORS  # noqa: PLC0415 - needs an extra
    from headstream.backends.cloud.service import Address, open_clients  # noqa: PLC0415

    given = dict(options)
    http, retries = given.pop("client_options", None), given.pop("retry_config", None)
    client = open_clients(Address.parse(location.url), http, retries, given).reads

    def modified(key: str) -> datetime | None:
        try:
            return client.head(key)["last_modified"]
        except ERRORS:
            return None

    return modified
