"""From a URL to a store: what URLs mean, what options do, and that nothing is left open."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstream
from headstream import (
    CorruptData,
    Event,
    InvalidInput,
    StoreNotFound,
    Unavailable,
    connect,
    connect_async,
    connecting,
    limits,
)
from headstream.connecting import Location, locate
from headstream.protocol.ops import ABSENT, NotApplied, Put, Unknown
from support import shown
from support.backends import AsyncMemory, Watched

SECRET = "c2VjcmV0"


# --- URLs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("shop.db", Location("sqlite", "shop.db", "shop.db")),
        ("./a b/shop.sqlite", Location("sqlite", "./a b/shop.sqlite", "./a b/shop.sqlite")),
        ("/var/SHOP.SQLITE3", Location("sqlite", "/var/SHOP.SQLITE3", "/var/SHOP.SQLITE3")),
        ("sqlite:///shop.db", Location("sqlite", "sqlite:///shop.db", "shop.db")),
        ("sqlite:////var/a%20b", Location("sqlite", "sqlite:////var/a%20b", "/var/a b")),
        ("file:///var/lib/shop", Location("file", "file:///var/lib/shop", "/var/lib/shop")),
        ("FILE:///var/a%20b", Location("file", "FILE:///var/a%20b", "/var/a b")),
        ("memory://", Location("memory", "memory://")),
        ("az://events/shop", Location("az", "az://events/shop")),
        ("s3://bucket", Location("s3", "s3://bucket")),
        ("gs://bucket/a/b", Location("gs", "gs://bucket/a/b")),
        (Path("shop.db"), Location("sqlite", "shop.db", "shop.db")),
        (Path("/var/a b/SHOP.DB"), Location("sqlite", "/var/a b/SHOP.DB", "/var/a b/SHOP.DB")),
        (Path("100%.sqlite"), Location("sqlite", "100%.sqlite", "100%.sqlite")),
        ("./~/shop.db", Location("sqlite", "./~/shop.db", "./~/shop.db")),
        ("~shop.db", Location("sqlite", "~shop.db", "~shop.db")),
    ],
)
def test_urls(url, location):
    """A file, a folder, memory or a cloud, by its text alone."""
    assert locate(url) == location


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "a store's URL is a string or a path, not NoneType: shop.db, "),
        (b"shop.db", "a store's URL is a string or a path, not bytes: "),
        (Path("shop"), "no store can be there; it can be at"),
        (Path("folder/shop.txt"), "no store can be there; it can be at"),
        (Path("s3://bucket/shop"), "a URL is given as a string"),
        (Path("shop\0.db"), "no store can be there: the path has a NUL"),
        (Path("~/shop.db"), "~ is not replaced by a folder here: give the whole path"),
        ("~/shop.db", "~ is not replaced by a folder here"),
        ("~user/shop.db", "~ is not replaced by a folder here"),
        ("shop\udcff.db", "no store can be there: the path is not UTF-8"),
        ("folder/", "no store can be there; it can be at"),
        ("", "no store can be there; it can be at shop.db, sqlite:///shop.db, "),
        ("shop", "no store can be there; it can be at"),
        ("shop\0.db", "no store can be there: the path has a NUL"),
        ("shop.txt", "no store can be there; it can be at"),
        ("postgres://host/db", "the URL names no place that headstream knows; it knows shop.db, "),
        ("://x", "the URL names no place that headstream knows"),
        ("sqlite://shop.db", "sqlite:// is followed by a slash and a path: sqlite:///folder/name"),
        ("sqlite:///", "sqlite:// is followed by a slash and a path"),
        ("sqlite:///a%00b", "sqlite:// is followed by a slash and a path"),
        ("file://host/folder", "file:// is followed by a slash and a path: file:///folder/name"),
        ("file://", "file:// is followed by a slash and a path"),
        ("s3://[bucket/x", "the URL cannot be read; it looks like shop.db, "),
        ("s3://user@bucket/x", "a s3:// URL has no user, query or fragment: give credentials by the environment or"),
        ("s3://bucket/x?region=eu", "a s3:// URL has no user, query or fragment"),
        ("az://bucket/x#y", "a az:// URL has no user, query or fragment"),
        ("sqlite:///shop.db?mode=ro", "a sqlite:// URL has no user, query or fragment"),
    ],
    ids=shown,
)
def test_urls_that_name_no_store(url, message):
    """The message says what would."""
    with pytest.raises(InvalidInput) as caught:
        locate(url)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET};EndpointSuffix=core.windows.net",
        f"DefaultEndpointsProtocol=http;AccountKey={SECRET};BlobEndpoint=http://127.0.0.1:10000/a",
        f"https://a.blob.core.windows.net/events?sig={SECRET}",
        f"s3://key:{SECRET}@bucket/x",
        f"s3://key:{SECRET}\uff20bucket/x",
        f"postgres://user:{SECRET}@host/db",
        f"s3:key:{SECRET}@bucket",
    ],
)
def test_no_error_repeats_a_secret(url):
    """People paste connection strings."""
    with pytest.raises(InvalidInput) as caught:
        connect(url)
    assert SECRET.lower() not in repr(caught.value).lower()
    with pytest.raises(InvalidInput):
        connect_async(url)


# --- connecting --------------------------------------------------------------------------------------------------


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """What ``memory://`` opens, each time."""
    backend = Watched()
    monkeypatch.setattr(connecting, "MemoryBackend", lambda: backend)
    return backend


def test_memory_is_new_each_time():
    """No two tests share one by accident."""
    with connect("memory://") as one, connect("memory://") as other:
        one.append("s", Event("E"))
        assert other.head("s") is None
        assert one.store_id != other.store_id


def test_a_store_is_created_and_found_again(backend):
    """With its id and its settings; the default tail is what the storage favours."""
    with connect("memory://", fan_out=7) as store:
        assert store.settings == headstream.Settings(tail_bytes=backend.default_tail, fan_out=7, feed=True)
        assert (store.url, repr(store)) == ("memory://", "EventStore('memory://')")
        first = store.store_id
    with connect("memory://", create=False) as store:
        assert (store.store_id, store.settings.fan_out) == (first, 7)
    with connect("memory://", tail_bytes=backend.default_tail, fan_out=7, feed=True) as store:
        assert store.store_id == first


def test_settings_of_the_feed(backend):
    """Chosen when the store is created, and found again."""
    with connect("memory://", advance_every=7, grace_seconds=9) as store:
        assert (store.settings.advance_every, store.settings.grace_seconds) == (7, 9)
    with connect("memory://") as store:
        assert (store.settings.advance_every, store.settings.grace_seconds) == (7, 9)
    for other in ({"advance_every": 8}, {"grace_seconds": 8}):
        with pytest.raises(InvalidInput, match="the store exists with other settings"):
            connect("memory://", **other)


def test_opening_costs_one_request(backend):
    """If the store exists."""
    connect("memory://").close()
    backend.take()
    connect("memory://").close()
    assert backend.take() == ["get store.json"]


def test_settings_of_an_existing_store(backend):
    """They cannot be changed, and whoever asks for others is told; the backend is closed."""
    connect("memory://", feed=False).close()
    with pytest.raises(InvalidInput, match="the store exists with other settings"):
        connect("memory://", feed=True)
    assert backend.closed == 2


def test_a_store_that_is_not_there(backend):
    """With ``create=False`` nothing is written."""
    with pytest.raises(StoreNotFound):
        connect("memory://", create=False)
    assert backend.take() == ["get store.json"]
    assert backend.closed == 1


@pytest.mark.parametrize(
    "options",
    [
        {"tail_bytes": -1},
        {"fan_out": 1.5},
        {"feed": "no"},
        {"advance_every": -1},
        {"grace_seconds": 0},
        {"cache_bytes": -1},
        {"cache_bytes": "8M"},
    ],
    ids=shown,
)
def test_impossible_options(backend, options):
    """The backend is closed."""
    with pytest.raises(InvalidInput):
        connect("memory://", **options)
    assert backend.closed == 1


def test_impossible_settings_leave_no_store(backend):
    """What could not be opened again is not created."""
    with pytest.raises(InvalidInput):
        connect("memory://", tail_bytes=1.5)
    assert backend.take() == []


@pytest.mark.parametrize("url", ["memory://", "shop.db", "file:///tmp/shop"])
def test_options_of_clouds(url):
    """Embedded stores take none; the message names them, not their values."""
    with pytest.raises(InvalidInput, match="takes no options: account_key, endpoint") as caught:
        connect(url, endpoint="http://localhost", account_key=SECRET)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("fault", [NotApplied("locked"), Unknown("time-out")], ids=shown)
def test_storage_that_does_not_answer(backend, fault):
    """Try again later; the backend is closed."""
    backend.faults.append(fault)
    with pytest.raises(Unavailable):
        connect("memory://")
    assert backend.closed == 1


async def test_storage_that_cannot_even_be_opened(monkeypatch):
    """A database that another program keeps locked is unavailable, too."""

    def locked() -> None:
        raise NotApplied("locked")

    monkeypatch.setattr(connecting, "MemoryBackend", locked)
    with pytest.raises(Unavailable) as caught:
        connect("memory://")
    assert isinstance(caught.value.__cause__, NotApplied)
    with pytest.raises(Unavailable):
        await connect_async("memory://")


def test_a_damaged_store(backend):
    """It is not overwritten."""
    backend.commit((), Put("store.json", b"{", ABSENT))
    with pytest.raises(CorruptData):
        connect("memory://")
    assert backend.closed == 1


def test_sqlite(tmp_path):
    """By a path or a URL, the same file; a folder that does not exist is not made."""
    path = tmp_path / "a b.db"
    with connect(str(path)) as store:
        store.append("s", Event("E"))
        assert store.url == str(path)
    with connect(f"sqlite:///{str(path).replace(' ', '%20')}", create=False) as store:
        assert store.head("s") is not None
    with pytest.raises(StoreNotFound):
        connect(str(tmp_path / "none" / "shop.db"))


class Spelled:
    """A path of another kind than pathlib's."""

    def __init__(self, path: str | bytes) -> None:
        self._path = path

    def __fspath__(self) -> str | bytes:
        return self._path


async def test_a_path_is_a_file(tmp_path):
    """What it means is what its text means, whatever is in it; a folder has a URL."""
    for name in ("shop.db", "a b.db", "100%25.db", "quo'te?.db", "hash#.sqlite", "ü日本.db", "new\nline.db"):
        path = tmp_path / name
        with connect(path) as store:
            store.append("s", Event("E"))
            assert store.url == str(path)
        assert path.is_file()
        for place in (path, Spelled(str(path)), Spelled(os.fsencode(path)), str(path)):
            with connect(place, create=False) as store:
                assert store.head("s") is not None
            async with connect_async(place, create=False) as awaited:
                assert await awaited.head("s") is not None
    with pytest.raises(StoreNotFound):
        connect(tmp_path / "none" / "shop.db")


def test_a_folder_of_files(tmp_path):
    """Made if it is not there."""
    with connect((tmp_path / "shop").as_uri()) as store:
        store.append("s", Event("E"))
    with connect((tmp_path / "shop").as_uri(), create=False) as store:
        assert store.head("s") is not None


# --- asyncio -----------------------------------------------------------------------------------------------------


async def test_async_with(backend):
    """Opened and closed."""
    async with connect_async("memory://", fan_out=7, advance_every=8, grace_seconds=9) as store:
        assert (store.settings.fan_out, store.settings.advance_every, store.settings.grace_seconds) == (7, 8, 9)
        assert (store.url, repr(store)) == ("memory://", "AsyncEventStore('memory://')")
        assert backend.closed == 0
    assert backend.closed == 1


async def test_await(backend):
    """Opened; closing is the caller's."""
    store = await connect_async("memory://")
    first = store.store_id
    await store.close()
    async with await connect_async("memory://", create=False) as store:
        assert store.store_id == first
    assert backend.closed == 2


@pytest.mark.parametrize("options", [{"fan_out": 1}, {"cache_bytes": -1}, {"create": False}], ids=shown)
async def test_a_failure_closes_the_backend(backend, options):
    """Also before there is a store."""
    with pytest.raises((InvalidInput, StoreNotFound)):
        await connect_async("memory://", **options)
    with pytest.raises((InvalidInput, StoreNotFound)):
        async with connect_async("memory://", **options):
            raise AssertionError("there is no store")
    assert backend.closed == 2


async def test_a_backend_of_ones_own():
    """Instead of a URL; the store closes it, and is called by its representation."""
    backend = Watched()
    with connect(backend, fan_out=7) as store:
        store.append("s", Event("E"))
        assert (store.url, repr(store)) == ("Watched()", "EventStore('Watched()')")
    async with connect_async(AsyncMemory(backend), create=False) as awaited:
        assert (awaited.settings.fan_out, awaited.store_id) == (7, store.store_id)
        assert await awaited.head("s") == store.head("s")
    assert backend.closed == 2


@pytest.mark.parametrize("place", [None, 7, b"shop.db", ["shop.db"]], ids=shown)
def test_what_is_neither_a_url_nor_a_backend(place):
    """Refused at once."""
    both: tuple[Callable[[Any], Any], ...] = (connect, connect_async)
    for opened in both:
        with pytest.raises(InvalidInput, match=f"by a URL or a backend, not by {type(place).__name__}"):
            opened(place)


def test_options_for_a_backend_that_has_been_made():
    """They would come too late."""
    both: list[tuple[Callable[..., Any], Any]] = [(connect, Watched()), (connect_async, AsyncMemory(Watched()))]
    for opened, backend in both:
        with pytest.raises(InvalidInput, match="it has been made: account_key, endpoint") as caught:
            opened(backend, endpoint="http://localhost", account_key=SECRET)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["az://events/shop", "s3://bucket/shop", "gs://bucket"])
def test_clouds_for_callers_that_block(monkeypatch, url):
    """Their backend gets the URL and all options that headstream does not know."""
    given = []
    backend = Watched()

    def opened(where, **options):
        given.append((where, options))
        return backend

    monkeypatch.setattr("headstream.backends.cloud.CloudBackend", opened)
    with connect(url, account_key=SECRET, feed=False) as store:
        assert store.url == url
        assert SECRET not in repr(store)
    assert given == [(url, {"account_key": SECRET, "timeout": limits.CLOUD_TIMEOUT})]
    assert backend.closed == 1


async def test_clouds_are_awaited(monkeypatch):
    """Their backend gets the URL and all options that headstream does not know; no thread is used."""
    given = []
    inner = Watched()

    def opened(where, **options):
        given.append((where, options))
        return AsyncMemory(inner)

    monkeypatch.setattr("headstream.backends.cloud.AsyncCloudBackend", opened)
    async with connect_async("az://events/shop", account_key=SECRET, feed=False) as store:
        head = await store.append("s", Event("E"))
        assert await store.head("s") == head
        assert store.settings.tail_bytes == inner.default_tail
        assert SECRET not in repr(store)
    assert given == [("az://events/shop", {"account_key": SECRET, "timeout": limits.CLOUD_TIMEOUT})]
    assert inner.closed == 1


def test_the_public_names():
    """All are there, in order, and the package says its version."""
    assert sorted(headstream.__all__) == sorted(set(headstream.__all__))
    assert all(hasattr(headstream, name) for name in headstream.__all__)
    assert headstream.__version__
    assert limits.HEAD_CACHE == 8 * limits.MIB
