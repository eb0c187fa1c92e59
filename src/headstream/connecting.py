"""From a URL to a store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from uuid import UUID

import msgspec

from headstream import limits
from headstream.aio import AsyncEventStore
from headstream.backends.base import AsyncBackend, Backend, check_timeout
from headstream.backends.beside import beside, future_of
from headstream.backends.memory import MemoryBackend
from headstream.backends.objects import MemoryObjects, Objects
from headstream.backends.objects_folder import FolderObjects
from headstream.client import EventStore
from headstream.drivers import sync
from headstream.drivers.aio import Awaited, Threaded
from headstream.errors import InvalidInput
from headstream.protocol.ops import FAULTS, unavailable
from headstream.protocol.store import open_store
from headstream.session import check_number

CLOUDS: Final = {"az", "s3", "gs"}
_KINDS: Final = {"memory", "sqlite", "file", *CLOUDS}
_SQLITE_SUFFIXES: Final = {".db", ".sqlite", ".sqlite3"}
_FORMS: Final = (
    "shop.db, sqlite:///shop.db, file:///folder, memory://, az://container/path, s3://bucket/path or gs://bucket/path"
)


class Location(msgspec.Struct, frozen=True):
    """What a URL names: ``kind`` is ``sqlite``, ``file``, ``memory``, ``az``, ``s3`` or ``gs``; ``path`` is where, for the first two."""

    kind: str
    url: str
    path: str = ""


def locate(url: str | os.PathLike[str]) -> Location:
    """The place that ``url`` names; :class:`InvalidInput` if it names none. Looks at the text only.

    A path means what its text means. No error repeats the text: it may be a connection string, with a secret in it.
    """
    if isinstance(url, os.PathLike):
        return _located_path(os.fsdecode(url))
    if not isinstance(url, str):
        raise InvalidInput(f"a store's URL is a string or a path, not {type(url).__name__}: {_FORMS}")
    return _located_url(url) if "://" in url else _located_path(url)


def _located_path(path: str) -> Location:
    """The SQLite file that a path names."""
    _check_path(path)
    if Path(path).suffix.lower() in _SQLITE_SUFFIXES:
        return Location("sqlite", path, path)
    kind, separator, _ = path.partition(":/")
    if separator and kind.lower() in _KINDS:
        raise InvalidInput("a URL is given as a string: a path takes one of its slashes away")
    raise InvalidInput(
        f"no store can be there; it can be at {_FORMS}; the name of a SQLite file ends in .db, .sqlite or .sqlite3"
    )


def _check_path(path: str) -> None:
    if "\0" in path:
        raise InvalidInput("no store can be there: the path has a NUL character in it")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidInput("no store can be there: the path is not UTF-8; use another name") from None
    if path.startswith("~") and "/" in path:
        raise InvalidInput(
            "~ is not replaced by a folder here: give the whole path, as Path(…).expanduser() does, or ./~ for that name"
        )


def _located_url(url: str) -> Location:
    kind, _, rest = url.partition("://")
    kind = kind.lower()
    if kind not in _KINDS:
        raise InvalidInput(f"the URL names no place that headstream knows; it knows {_FORMS}")
    if kind == "memory":
        return Location(kind, "memory://")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidInput(f"the URL cannot be read; it looks like {_FORMS}") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidInput(
            f"a {kind}:// URL has no user, query or fragment: give credentials by the environment or as keyword options"
        )
    if kind in {"sqlite", "file"}:
        # As with SQLAlchemy, three slashes begin a relative SQLite path, and four an absolute one.
        path = unquote(rest.removeprefix("/")) if kind == "sqlite" else unquote(parts.path)
        if not path or parts.netloc or "\0" in path:
            raise InvalidInput(f"{kind}:// is followed by a slash and a path: {kind}:///folder/name")
        _check_path(path)
        return Location(kind, url, path)
    return Location(kind, url)


def connect(
    url: str | os.PathLike[str] | Backend,
    *,
    create: bool = True,
    tail_bytes: int | None = None,
    fan_out: int | None = None,
    feed: bool | None = None,
    advance_every: int | None = None,
    grace_seconds: int | None = None,
    cache_bytes: int = limits.HEAD_CACHE,
    object_cache_bytes: int | None = None,
    object_cache: str | Path | None = None,
    timeout: float | None = None,
    **options: Any,
) -> EventStore:
    """Open the store at ``url``; create it if there is none, unless ``create`` is false.

    ==================================================  ====================================================================
    ``shop.db``, ``sqlite:///shop.db``                  one SQLite file, in a folder that exists; its name ends in ``.db``, ``.sqlite`` or
                                                        ``.sqlite3``, unless it is a URL
    ``file:///var/lib/shop``                            a folder of plain files
    ``memory://``                                       this process's memory: a new, empty store each time
    ``az://container/path``, ``s3://…``, ``gs://…``     Azure Blob Storage, S3, Google Cloud Storage: a bucket that exists, and a
                                                        path in it; needs ``headstream[azure]``, ``[s3]`` or ``[gcs]``
    ==================================================  ====================================================================

    ``tail_bytes``, ``fan_out``, ``feed``, ``advance_every`` and ``grace_seconds`` are settings of a new store (see :class:`headstream.Settings`); an existing store keeps
    its own, and asking for others is an error. ``cache_bytes`` bounds the heads that this client remembers.

    ``object_cache_bytes`` bounds the segments, index pages and snapshots, which never change, that this client keeps: in memory, or in the folder ``object_cache``, which several
    clients and processes may share. Without either there are none; in a folder there are a GiB if nothing else is said.

    A ``pathlib.Path``, or another ``os.PathLike``, means what its text means: ``Path("shop.db")`` is a SQLite file. A folder is given by its URL,
    ``folder.absolute().as_uri()``. ``~`` is not replaced: that is what ``Path.expanduser()`` does.

    ``timeout`` bounds one call of the store, in seconds: 120 in a cloud, 60 elsewhere if it is not given. A call that has found no answer by then raises
    :class:`Unavailable`, or :class:`OutcomeUnknown`, with the reason of the last failure. docs/how-to/errors-and-retries.md has what it covers.

    Instead of a URL, a :class:`~headstream.backends.base.Backend` of your own can be given; the store closes it.

    Credentials and endpoints of the clouds come from the environment (``AZURE_STORAGE_ACCOUNT_NAME``, ``AWS_ACCESS_KEY_ID``,
    ``GOOGLE_APPLICATION_CREDENTIALS``, … as obstore reads them), or from ``options``, which are obstore's configuration keys
    (``account_key=…``, ``endpoint=…``, ``client_options={…}``). An option or a variable that is empty or ``None`` is not set.

    Raises :class:`InvalidInput`, :class:`StoreNotFound`, :class:`AccessDenied`, :class:`Unavailable`,
    :class:`UnsuitableBackend`, :class:`UnsupportedFormat`, :class:`CorruptData`.
    """
    seconds = _seconds(url, timeout)
    if isinstance(url, str | os.PathLike):
        location = locate(url)
        backend = blocking_backend(location, create=create, options=options, seconds=seconds)
    else:
        location, backend = _given_place(url, options, awaited=False), url
    try:
        runner = sync.Direct(backend, seconds)
        wanted = _given(tail_bytes, fan_out, feed, advance_every, grace_seconds)
        with _explaining(location, options):
            description = runner.run(open_store(backend.default_tail, wanted, create=create))
        objects = _objects(object_cache, object_cache_bytes, description.store_id)
        if objects is not None:
            runner.keep(objects)
        return EventStore(backend, description, url=location.url, cache_bytes=cache_bytes, runner=runner)
    except BaseException:
        backend.close()
        raise


def connect_async(
    url: str | os.PathLike[str] | AsyncBackend,
    *,
    create: bool = True,
    tail_bytes: int | None = None,
    fan_out: int | None = None,
    feed: bool | None = None,
    advance_every: int | None = None,
    grace_seconds: int | None = None,
    cache_bytes: int = limits.HEAD_CACHE,
    object_cache_bytes: int | None = None,
    object_cache: str | Path | None = None,
    timeout: float | None = None,
    **options: Any,
) -> Connecting:
    """A store for asyncio, opened as :func:`connect` does.

    Use it as ``async with connect_async(url) as store``, or ``store = await connect_async(url)``. The
    clouds are awaited; SQLite, files and memory run in a few threads.
    """
    seconds = _seconds(url, timeout)
    if isinstance(url, str | os.PathLike):
        location = locate(url)
        opening = partial(_open_runner, location, create=create, options=options, seconds=seconds)
    else:
        location, opening = _given_place(url, options, awaited=True), partial(_given_runner, url, seconds)
    wanted = _given(tail_bytes, fan_out, feed, advance_every, grace_seconds)

    async def open_() -> AsyncEventStore:
        runner = await opening()
        try:
            with _explaining(location, options):
                description = await runner.run(open_store(runner.default_tail, wanted, create=create))
            objects = await beside(_objects, object_cache, object_cache_bytes, description.store_id)
            if objects is not None:
                runner.keep(objects)
            return AsyncEventStore(runner, description, url=location.url, cache_bytes=cache_bytes)
        except BaseException:
            await runner.close()
            raise

    return Connecting(open_)


class Connecting:
    """A connection to be made: await it, or enter it with ``async with``."""

    def __init__(self, open_: Callable[[], Coroutine[Any, Any, AsyncEventStore]]) -> None:
        self._open = open_
        self._store: AsyncEventStore | None = None

    def __await__(self) -> Generator[Any, None, AsyncEventStore]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncEventStore:
        self._store = await self._open()
        return self._store

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            await self._store.__aexit__(kind, error, trace)


async def _open_runner(
    location: Location, *, create: bool, options: dict[str, Any], seconds: float
) -> Awaited | Threaded:
    if location.kind in CLOUDS:
        return Awaited(cloud_async_backend(location, options, seconds), seconds)
    opening = future_of(partial(blocking_backend, location, create=create, options=options, seconds=seconds))
    try:
        return Threaded(await asyncio.wrap_future(opening), seconds=seconds)
    except asyncio.CancelledError:
        opening.add_done_callback(_let_go)
        raise


def _let_go(opening: Future[Backend]) -> None:
    """Close a backend that a cancelled caller did not wait for."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def _given_runner(backend: AsyncBackend, seconds: float) -> Awaited | Threaded:
    return Awaited(backend, seconds)


def _seconds(url: object, timeout: object) -> float:
    """How long one call may take; :class:`InvalidInput` if that is no time."""
    if timeout is None:
        local = isinstance(url, str | os.PathLike) and locate(url).kind not in CLOUDS
        return limits.LOCAL_TIMEOUT if local else limits.CLOUD_TIMEOUT
    return check_timeout(timeout)


def _objects(folder: str | Path | None, capacity: int | None, store: UUID) -> Objects | None:
    """Where this client keeps copies of immutable objects, if anywhere."""
    if capacity is not None:
        check_number("object_cache_bytes", capacity, 0)
    if folder is not None and not isinstance(folder, str | Path):
        raise InvalidInput(f"object_cache is the path of a folder, not {type(folder).__name__}")
    if folder is not None and capacity != 0:
        return FolderObjects(folder, limits.OBJECT_CACHE if capacity is None else capacity, store)
    return MemoryObjects(capacity) if capacity else None


def blocking_backend(
    location: Location, *, create: bool, options: dict[str, Any], seconds: float | None = None
) -> Backend:
    """The backend of a place, for callers that block. Other backends than the one asked for are not imported."""
    if options and location.kind not in CLOUDS:
        raise InvalidInput(f"a {location.kind} store takes no options: {', '.join(sorted(options))}")
    try:
        return _opened(location, create, options, seconds)
    except FAULTS as fault:
        raise unavailable("the storage cannot be opened: try again later", fault) from fault


def _opened(location: Location, create: bool, options: dict[str, Any], seconds: float | None) -> Backend:
    if location.kind in CLOUDS:
        from headstream.backends.cloud import CloudBackend  # noqa: PLC0415 - needs an extra

        return CloudBackend(location.url, **_timed(options, seconds))
    if location.kind == "sqlite":
        from headstream.backends.sqlite import SqliteBackend  # noqa: PLC0415 - opens no door that is not used

        return SqliteBackend(location.path, create=create)
    if location.kind == "file":
        from headstream.backends.files import FilesBackend  # noqa: PLC0415

        return FilesBackend(location.path, create=create)
    return MemoryBackend()


def cloud_async_backend(location: Location, options: dict[str, Any], seconds: float | None = None) -> AsyncBackend:
    """The backend of a cloud, for asyncio."""
    from headstream.backends.cloud import AsyncCloudBackend  # noqa: PLC0415 - needs an extra

    return AsyncCloudBackend(location.url, **_timed(options, seconds))


def _timed(options: dict[str, Any], seconds: float | None) -> dict[str, Any]:
    return options if seconds is None else {**options, "timeout": seconds}


@contextmanager
def _explaining(location: Location, options: dict[str, Any]) -> Iterator[None]:
    """Around the first request to a cloud: a failure says what is missing in the options and the environment."""
    try:
        yield
    except BaseException as error:
        if location.kind not in CLOUDS:
            raise
        from headstream.backends.cloud.options import explained  # noqa: PLC0415 - needs an extra

        better = explained(error, location.kind, options)
        if better is None:
            raise
        raise better from None


def _given_place(backend: object, options: dict[str, Any], *, awaited: bool) -> Location:
    """The place of a backend that the caller made; :class:`InvalidInput` if it is none."""
    if not hasattr(backend, "commit"):
        raise InvalidInput(f"a store is opened by a URL or a backend, not by {type(backend).__name__}: {_FORMS}")
    if iscoroutinefunction(backend.commit) != awaited:
        raise InvalidInput("connect takes a backend that blocks, connect_async one that awaits")
    if options:
        raise InvalidInput(f"a backend takes no options here, it has been made: {', '.join(sorted(options))}")
    return Location("backend", repr(backend))


def _given(
    tail_bytes: int | None,
    fan_out: int | None,
    feed: bool | None,
    advance_every: int | None,
    grace_seconds: int | None,
) -> dict[str, int]:
    """The settings that the caller chose."""
    chosen = {
        "tail_bytes": tail_bytes,
        "fan_out": fan_out,
        "feed": feed,
        "advance_every": advance_every,
        "grace_seconds": grace_seconds,
    }
    return {name: value for name, value in chosen.items() if value is not None}
