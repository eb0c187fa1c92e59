"""What the tests of the examples share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.repositories import Repository
from headstream import EventStore, connect

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
sys.path.insert(0, str(EXAMPLES))  # where Python looks for the modules of a script that is run


@pytest.fixture(autouse=True)
def plain_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """git without the configuration of the machine, except that it may read repositories of any owner."""
    config = tmp_path / "gitconfig"
    config.write_text(
        '[safe]\n\tdirectory = *\n[user]\n\tname = A\n\temail = a@example.org\n[protocol "file"]\n\tallow = always\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository."""
    return Repository(tmp_path / "repository")


@pytest.fixture(params=["memory://", "store.db"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventStore]:
    """An empty store."""
    monkeypatch.chdir(tmp_path)
    with connect(request.param) as opened:
        yield opened


@pytest.fixture
def memory() -> Iterator[EventStore]:
    """An empty store, where the backend is beside the point."""
    with connect("memory://") as opened:
        yield opened
