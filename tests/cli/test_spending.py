"""``headstream --stats``: what a command asked of its storage, on stderr."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from headstream import Event, Stats, connect
from headstream.cli import common, spending
from headstream.cli.output import Terminal
from headstream.cli.spending import Spending
from support.commands import Commands

COMMANDS = {
    "init": ("init", "{url}"),
    "append": ("append", "{url}", "s", "T"),
    "read": ("read", "{url}", "s"),
    "streams": ("streams", "{url}"),
    "head": ("head", "{url}", "orders"),
    "feed": ("feed", "{url}"),
    "checkpoints": ("checkpoints", "{url}"),
    "advance": ("advance", "{url}"),
    "verify": ("verify", "{url}"),
    "gc": ("gc", "{url}"),
}


def lines(text: str) -> dict[str, str]:
    """The rows by their names."""
    return {line[:10].rstrip(): line[10:] for line in text.splitlines()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_opens_a_store_has_them(cli: Commands, long_stream: str, name: str) -> None:
    """For people as rows, for programs as one object; its output is the same as without."""
    args = [arg.format(url=long_stream) for arg in COMMANDS[name]]
    shown = lines(cli("--stats", *args).stderr)
    assert int(shown["gets"].partition(",")[0]) >= 1
    assert "read" in shown["bytes"]
    result = cli("--stats", *args, "--json")
    counted = msgspec.json.decode(result.stderr, type=Stats)
    assert counted.gets >= 1
    assert "bytes_read" not in result.stdout
    assert cli(*args, "--json").stderr == ""


def test_a_demo_has_them_too(cli: Commands) -> None:
    """Those of both its clients, together."""
    assert "written" in lines(cli("--stats", "demo").stderr)["commits"]


def test_rows(cli: Commands, shop: str) -> None:
    """What there was nothing of is left out."""
    with connect(shop) as store:
        store.append("s", Event("T"))
    shown = lines(cli("--stats", "append", shop, "s", "T").stderr)
    assert (shown["gets"], shown["commits"], shown["preludes"]) == ("2", "1 written", "1")
    assert shown["heads"] == "1 not remembered"
    assert set(shown) == {"gets", "commits", "preludes", "bytes", "heads"}


def test_all_rows() -> None:
    """Each counter is somewhere."""
    names = Stats.__struct_fields__
    for name in names:
        assert list(spending._rows(Stats(**{name: 1}))) or name.startswith("bytes"), name
    assert dict(spending._rows(Stats(*range(1, len(names) + 1))))["gets"] == "1, 3 not modified, 4 missing, 2 together"


def test_a_command_that_fails_has_them_too(cli: Commands, shop: str) -> None:
    """Below the error."""
    error, *rows = cli("--stats", "append", shop, "s", "T", "--expected", "5", code=3).stderr.splitlines()
    assert error.startswith("headstream: the stream is not at the expected version")
    assert lines("\n".join(rows))["conflicts"] == "1"


def test_without_a_store_there_are_none(cli: Commands, tmp_path: Path) -> None:
    """Only the error, or the help."""
    assert len(cli("--stats", "read", tmp_path / "none.db", "s", code=6).stderr.splitlines()) == 1
    assert cli("--stats", "read", "--help").stderr == ""


def test_nobody_reads_stderr(monkeypatch: pytest.MonkeyPatch, shop: str) -> None:
    """The command is done all the same."""

    def broken(*_args: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Terminal, "show", broken)
    with connect(shop) as store:
        told = Spending()
        told.watch(store, as_json=False)
        told.show()


def test_a_store_opened_outside_of_a_command(shop: str) -> None:
    """As a function that tools call."""
    with common.open_store(shop, ()) as store:
        assert store.stats().gets == 1
