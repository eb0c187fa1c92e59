"""``place`` and ``proxied``: a fresh place for a store; a test names the kinds, by
``@pytest.mark.parametrize("place", SHARED, indirect=True)``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.places import Place, find
from servers.base import Server
from servers.proxy import Proxy


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """One place of the kind that the test asks for."""
    return find(request.param, request, tmp_path, monkeypatch.setenv)


@pytest.fixture(scope="module")
def proxies() -> Iterator[dict[str, Proxy]]:
    """One proxy before each server."""
    running: dict[str, Proxy] = {}
    yield running
    for proxy in running.values():
        proxy.__exit__(None, None, None)


@pytest.fixture
def proxied(
    request: pytest.FixtureRequest, proxies: dict[str, Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Place, Proxy]]:
    """One place on a server, whose requests go through a proxy."""
    name = request.param
    place = find(name, request, tmp_path, monkeypatch.setenv)
    server: Server = request.getfixturevalue(name)
    if name not in proxies:
        proxies[name] = Proxy(server.address).__enter__()
    for variable, value in server.environment(proxies[name].address).items():
        monkeypatch.setenv(variable, value)
    yield place, proxies[name]
    proxies[name].heal()
