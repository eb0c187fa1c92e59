"""Every place a store can be, as a test sees it: a URL, and the environment by which it is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headstream import EventStore, connect
from headstream.aio import AsyncEventStore
from headstream.connecting import Connecting, connect_async
from servers.base import Server

EMBEDDED = ("sqlite", "files")
REMOTE = ("azurite", "ministack", "seaweedfs", "gcs")
SHARED = EMBEDDED + REMOTE
"""Places that several processes can open."""
ALL = ("memory", *SHARED)


@dataclass(frozen=True)
class Place:
    """Where a fresh store is."""

    name: str
    url: str
    environment: dict[str, str] = field(default_factory=dict)

    def connect(self, **settings: object) -> EventStore:
        """The store, for callers that block."""
        return connect(self.url, **settings)  # type: ignore[arg-type]

    def connect_async(self, **settings: object) -> Connecting:
        """The store, for asyncio."""
        return connect_async(self.url, **settings)  # type: ignore[arg-type]

    @property
    def process_environment(self) -> dict[str, str]:
        """For a process that opens the store."""
        return os.environ | self.environment


def find(name: str, request: pytest.FixtureRequest, folder: Path, setenv: Callable[[str, str], None]) -> Place:
    """A fresh place of this kind; its credentials are in the environment until the test ends."""
    if name == "memory":
        return Place(name, "memory://")
    if name == "sqlite":
        return Place(name, str(folder / "shop.db"))
    if name == "files":
        return Place(name, (folder / "shop").as_uri())
    server: Server = request.getfixturevalue(name)
    place = Place(name, server.url(f"{server.fresh_bucket()}/shop/eu"), server.environment())
    for variable, value in place.environment.items():
        setenv(variable, value)
    return place


__all__ = ["ALL", "EMBEDDED", "REMOTE", "SHARED", "AsyncEventStore", "Place", "find"]
