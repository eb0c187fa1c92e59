"""A store in a file, and a way to run commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headstream import Event, connect
from headstream.cli.output import Terminal
from support.commands import Commands


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns and no terminal, whatever the tests run in."""
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cli() -> Commands:
    """Runs commands."""
    return Commands()


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """An empty store."""
    url = str(tmp_path / "shop.db")
    connect(url, tail_bytes=256, fan_out=2).close()
    return url


@pytest.fixture
def long_stream(shop: str) -> str:
    """A store with a stream ``orders`` of 30 events, each in a changeset that fills the tail."""
    with connect(shop) as store:
        for number in range(1, 31):
            store.append("orders", Event("Placed", {"number": number, "note": "x" * 100}))
    return shop


@pytest.fixture
def as_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the commands believe that they write to a terminal of so many columns."""

    def pretend(width: int) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(Terminal, "is_terminal", True)

    return pretend
