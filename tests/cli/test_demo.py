"""``headstream demo``: that it tells what happened."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import gettempdir

import pytest

from headstream import EventStore, connect
from headstream.cli import narrator, story
from support.commands import Commands


def test_the_story_is_what_is_in_the_store_afterwards(cli: Commands, tmp_path: Path) -> None:
    """Versions, events, ids, sizes: each is looked up again."""
    file = tmp_path / "demo.db"
    shown = cli("demo", "--keep", file).stdout
    with connect(str(file), create=False) as store:
        order = list(store.read("order-1"))
        sensor = store.layout("sensor-7")
        assert sensor is not None
        assert list(store.streams()) == ["order-1", "parcel-3", "sensor-7"]
    types = ["OrderPlaced", "OrderPaid", "AddressChanged", "Shipped", "InvoiceSent", "Closed"]
    assert [event.type for event in order] == types
    assert order[3].data == {"to": "Lisbon"}
    assert shown.count(f"version 5  changeset {order[4].changeset_id}") == 2
    assert f"{sensor.version:,} events, durable at" in shown
    assert "version 2 expected, 3 found" in shown
    assert sensor.etag in shown
    assert str(sensor.changeset_id) in shown
    assert f"{file.name}  {file.stat().st_size / 1024:.1f} KiB" in shown


def test_the_reads_show_what_they_read(cli: Commands, tmp_path: Path) -> None:
    """Each row is an event of the store."""
    file = tmp_path / "demo.db"
    shown = cli("demo", "--keep", file).stdout
    rows = re.findall(r'^ +([\d,]+)  \S+ \S+  Measured  \{"celsius": ([\d.]+)\}$', shown, flags=re.MULTILINE)
    with connect(str(file), create=False) as store:
        events = {event.version: event for event in store.read("sensor-7")}
    middle, end = len(events) // 2, len(events)
    numbers = [int(number.replace(",", "")) for number, _ in rows]
    assert numbers == [end, end - 1, end - 2, middle + 1, middle + 2, middle + 3]
    assert [float(celsius) for _, celsius in rows] == [events[number].data["celsius"] for number in numbers]


def test_the_feed_is_that_of_the_store(cli: Commands, tmp_path: Path) -> None:
    """Each row is an event at its position, and the worker is where the store says."""
    file = tmp_path / "demo.db"
    shown = cli("demo", "--keep", file).stdout
    rows = re.findall(r"^ +([\d,]+)  \S+ \S+  (\S+) +(\d+)  (\S+) +\S", shown, flags=re.MULTILINE)
    with connect(str(file), create=False) as store:
        events = list(store.feed(streams=("order", "parcel"), after=1445))
        (checkpoint,) = store.checkpoints()
    assert [event.type for event in events] == ["Packed", "Closed", "Sent", "Delivered"]
    assert rows == [(f"{event.position:,}", event.stream, str(event.version), event.type) for event in events[:3]]
    assert "today     3 events, 1,446–1,448" in shown
    assert "tomorrow  1 event, 1,449" in shown
    assert f"mailer is at position {checkpoint.position:,}" in shown
    assert (checkpoint.name, checkpoint.position) == ("mailer", 1449)


def test_the_code_that_is_shown_is_the_code_that_runs(cli: Commands) -> None:
    """Every line of every chapter."""
    shown = cli("demo").stdout
    chapters = [chapter for chapter in vars(story).values() if getattr(chapter, "__module__", "") == story.__name__]
    assert len(chapters) == 7
    for chapter in chapters:
        body = narrator._body(chapter)
        assert "return" in body
        for line in body.splitlines():
            assert f"   {line}".rstrip() in shown.splitlines()


def test_it_fits_a_terminal_of_80_columns(cli: Commands) -> None:
    """And is plain text in a pipe."""
    shown = cli("demo").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    assert all(line == line.rstrip() for line in shown.splitlines())


def test_without_keep_nothing_is_left(cli: Commands) -> None:
    """The temporary folder goes, and how to keep it is said."""
    shown = cli("demo").stdout
    (path,) = re.findall(r"this store: (\S+)", shown)
    assert Path(path).is_relative_to(gettempdir())
    assert not Path(path).parent.exists()
    assert "headstream demo --keep" in shown


def test_an_existing_file_is_not_touched(cli: Commands, tmp_path: Path) -> None:
    """The story needs a fresh store."""
    (tmp_path / "mine.db").write_bytes(b"mine")
    assert "--url" in cli.error("demo", "--keep", tmp_path / "mine.db", code=2)
    assert (tmp_path / "mine.db").read_bytes() == b"mine"


def test_it_can_be_told_again_in_any_store(cli: Commands, shop: str) -> None:
    """On streams of its own; the commands that it ends with work."""
    for count in (3, 6):
        shown = cli("demo", "--url", shop).stdout
        with connect(shop, create=False) as store:
            assert len(list(store.streams())) == count
    commands = re.findall(r"^ {3}headstream (.+)$", shown, flags=re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        assert cli(*command.split()).stdout


def test_options_that_do_not_fit_are_explained(cli: Commands, tmp_path: Path) -> None:
    """As usage errors."""
    assert "give one of them" in cli("demo", "--keep", tmp_path / "x.db", "--url", "y.db", code=2).stderr
    assert "--option is for" in cli("demo", "--option", "a=b", code=2).stderr
    assert "memory" in cli.error("demo", "--url", "memory://", code=2)


def test_a_conflict_that_does_not_come_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The story fails rather than lie."""
    monkeypatch.setattr(EventStore, "append", lambda self, stream, *_args, **_kwargs: self.read(stream).head())
    with connect("memory://") as store, pytest.raises(AssertionError, match="two writers"):
        story.ship_order(store, store, "order-1")
