"""The cloud backends keep every promise on four servers: Azure, two kinds of S3, Google Cloud Storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from typing import ClassVar
from uuid import uuid4

import pytest

from headstream.backends.base import Backend
from headstream.backends.cloud import AsyncCloudBackend, CloudBackend
from headstream.errors import UnsuitableBackend
from headstream.testing import Blocking
from headstream.testing.conformance import AsyncBackendConformance, BackendConformance
from headstream.testing.conformance.lists import TREE
from headstream.testing.conformance.support import fill, paged
from servers.base import Server

Places = Callable[[str], tuple[Server, str]]


@pytest.fixture(scope="module")
def places(request: pytest.FixtureRequest) -> Places:
    """The server of a name, and a bucket on it that all tests here share: each has a path of its own in it."""

    @cache
    def place(name: str) -> tuple[Server, str]:
        server: Server = request.getfixturevalue(name)
        return server, server.fresh_bucket()

    return place


class OnAServer:
    """A store of its own for each test."""

    server: ClassVar[str]

    @pytest.fixture
    def url(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> str:
        """Of an empty path, with the server in the environment."""
        server, bucket = places(self.server)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        return server.url(f"{bucket}/shop/{uuid4().hex}")


class OnAzurite(OnAServer):
    """Azure's emulator, which takes ten milliseconds to delete what it has been told before to delete."""

    server = "azurite"
    many = 300


class OnMinistack(OnAServer):
    """S3, in memory."""

    server = "ministack"


class OnSeaweedfs(OnAServer):
    """S3, of a real store that keeps segments as file names and sorts folder by folder.

    The losers of a race wait about a second each.
    """

    server = "seaweedfs"
    racers = 3
    increments = 2
    longest_segment = 255

    def test_keys_come_in_the_order_of_their_bytes(self, backend: Backend) -> None:
        """A list of all folders is refused, rather than missing keys."""
        fill(backend, TREE)
        with pytest.raises(UnsuitableBackend, match="order of their bytes"):
            paged(backend)

    @pytest.mark.parametrize("prefix", ["", "h", "heads", "segments/", "segments/order"])
    def test_a_prefix_may_cover_folders(self, backend: Backend, prefix: str) -> None:
        """A list of several folders is refused, rather than missing keys, at every page size."""
        fill(backend, TREE)
        for limit in (1, 2, 1000):
            with pytest.raises(UnsuitableBackend, match="order of their bytes"):
                paged(backend, prefix, limit=limit)

    @pytest.mark.parametrize("prefix", ["segments/", "segments/order"])
    def test_a_list_of_folders_begins_after_a_key(self, backend: Backend, prefix: str) -> None:
        """A page of several folders is refused too when it begins after the last key of the page before."""
        fill(backend, TREE)
        with pytest.raises(UnsuitableBackend, match="order of their bytes"):
            backend.list(prefix, "segments/order/0001-d", 10)


class OnGcs(OnAServer):
    """Google Cloud Storage's protocol, with its generations."""

    server = "gcs"


class Sync(BackendConformance):
    """The whole suite for callers that block."""

    @pytest.fixture
    def backend(self, url: str) -> Iterator[CloudBackend]:
        """One client."""
        with closing(CloudBackend(url)) as backend:
            yield backend

    @pytest.fixture
    def another(self, backend: CloudBackend, url: str) -> Iterator[CloudBackend]:
        """Another client of the same store."""
        with closing(CloudBackend(url)) as another:
            yield another


class Async(AsyncBackendConformance):
    """The whole suite for asyncio."""

    @pytest.fixture
    def aio(self, url: str) -> AsyncCloudBackend:
        """One client."""
        return AsyncCloudBackend(url)

    @pytest.fixture
    def another(self, backend: Blocking, url: str) -> Iterator[Blocking]:
        """Another client of the same store, on an event loop of its own."""
        with closing(Blocking(AsyncCloudBackend(url))) as another:
            yield another


class TestAzurite(OnAzurite, Sync):
    """Azure, blocking."""


class TestAzuriteAsync(OnAzurite, Async):
    """Azure, asyncio."""


class TestMinistack(OnMinistack, Sync):
    """S3, blocking."""


class TestMinistackAsync(OnMinistack, Async):
    """S3, asyncio."""


class TestSeaweedfs(OnSeaweedfs, Sync):
    """A real S3 store, blocking."""


class TestSeaweedfsAsync(OnSeaweedfs, Async):
    """A real S3 store, asyncio."""


class TestGcs(OnGcs, Sync):
    """Google Cloud Storage, blocking."""


class TestGcsAsync(OnGcs, Async):
    """Google Cloud Storage, asyncio."""
