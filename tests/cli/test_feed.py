"""``headstream feed`` without waiting; that it follows is in ``test_process.py``."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from rich.cells import cell_len

from headstream import Event, FeedReading, Unavailable, connect
from headstream.cli.ending import Ending
from support.commands import Commands


@pytest.fixture
def busy(shop: str) -> str:
    """A store with six events of three streams, which nobody has read."""
    with connect(shop) as store:
        for stream, kind in (("order-1", "A"), ("cart-1", "B"), ("order-1", "B"), ("order-2", "A")):
            store.append(stream, Event(kind, {"stream": stream}))
        store.append("cart-1", [Event("C"), Event("A")])
    return shop


def positions(rows: list[Any]) -> list[int]:
    """Of lines of JSON."""
    return [row["position"] for row in rows]


def test_events_of_all_streams_are_rows_in_one_order(cli: Commands, shop: str) -> None:
    """With position, time, stream, version, type, data, metadata and id, whole when it is no terminal."""
    name = "customer-0f8fad5b-d9cb-469f-a165-70867728950e"
    with connect(shop) as store:
        store.append("a", [Event("Placed", {"sku": "x" * 100}, {"user": "anna"}, "e-1"), Event("Scanned", b"\xff\0")])
        store.append(name, Event("CustomerShippingAddressChanged"))
        store.append("a", Event("Paid"))
        times = [event.recorded_at.strftime("%Y-%m-%d %H:%M:%S").split() for event in store.feed()]
    title, *rows = cli("feed", shop).stdout.splitlines()
    assert title.split() == ["position", "time", "(UTC)", "stream", "version", "type", "data"]
    assert [row.split() for row in rows] == [
        [
            "1",
            *times[0],
            "a",
            "1",
            "Placed",
            '{"sku":',
            f'"{"x" * 100}"}}',
            "metadata",
            '{"user":',
            '"anna"}',
            "id",
            "e-1",
        ],
        ["2", *times[1], "a", "2", "Scanned", "2", "B:", "ff", "00"],
        ["3", *times[2], name, "1", "CustomerShippingAddressChanged", "–"],
        ["4", *times[3], "a", "3", "Paid", "–"],
    ]


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ((), [1, 2, 3, 4, 5, 6]),
        (("--limit", 2), [1, 2]),
        (("--limit", 0), []),
        (("--after", 4), [5, 6]),
        (("--backwards", "--limit", 2), [6, 5]),
        (("--backwards", "--after", 4), [6, 5]),
        (("--streams", "order-"), [1, 3, 4]),
        (("--streams", "order-2", "--streams", "cart-"), [2, 4, 5, 6]),
        (("--types", "A"), [1, 4, 6]),
        (("--types", "A", "--types", "C", "--streams", "cart-"), [5, 6]),
        (("--types", "A", "--backwards", "--limit", 2), [6, 4]),
        (("--streams", "none"), []),
    ],
)
def test_a_part_can_be_asked_for(cli: Commands, busy: str, args: tuple[object, ...], shown: list[int]) -> None:
    """By position, number, stream and type, in either direction; the same for people and programs."""
    assert positions(cli.json("feed", busy, *args)) == shown
    rows = cli("feed", busy, *args).stdout.splitlines()[1:]
    assert [int(row.split()[0]) for row in rows] == shown


def test_json_is_that_of_read_with_a_position(cli: Commands, busy: str) -> None:
    """So whatever takes the lines of one takes those of the other."""
    lines = cli.json("feed", busy, "--streams", "order-1")
    read = cli.json("read", busy, "order-1")
    assert lines == [line | {"position": position} for line, position in zip(read, (1, 3), strict=True)]


def test_a_whole_store_can_be_copied(cli: Commands, busy: str, tmp_path: Path) -> None:
    """By a pipe from one command to the other: all streams with all that was recorded in them, in the same order."""
    with connect(busy) as store:
        store.append("kinds", [Event("Bytes", b"\xff\0"), Event("Full", {"ü": [1, None]}, {"user": "anna"}, "id-1")])
    copy = str(tmp_path / "copy.db")
    cli("init", copy)
    (told,) = cli.json("append", copy, "--from", "-", stdin=cli("feed", busy, "--json").stdout_bytes)
    assert told["events"] == 8

    def content(url: str) -> list[tuple[object, ...]]:
        with connect(url, create=False) as store:
            return [(e.position, e.stream, e.version, e.type, e.payload, e.metadata_json, e.id) for e in store.feed()]

    assert content(copy) == content(busy)


def test_without_advance_it_shows_what_others_moved(cli: Commands, busy: str) -> None:
    """And writes nothing; with it, all is there."""
    assert cli.json("feed", busy, "--no-advance") == []
    assert len(cli.json("feed", busy)) == 6
    cli("append", busy, "order-1", "A")
    assert len(cli.json("feed", busy, "--no-advance")) == 6


def test_an_empty_feed_is_no_error(cli: Commands, shop: str) -> None:
    """People are told which kind of nothing it is, programs get no line."""
    assert (cli("feed", shop).stdout, cli("feed", shop).stderr) == ("", "the feed has no events\n")
    cli("append", shop, "s", "T")
    assert cli("feed", shop, "--types", "U").stderr == "the feed has no such events\n"
    shown = cli("feed", shop, "--types", "U", "--json")
    assert (shown.stdout, shown.stderr) == ("", "")


def test_a_store_without_a_feed_says_so(cli: Commands, tmp_path: Path) -> None:
    """To whoever asks for it."""
    url = tmp_path / "shop.db"
    cli("init", url, "--no-feed")
    for args in (("feed", url), ("feed", url, "--follow"), ("advance", url)):
        assert "without a feed" in cli.error(*args, code=2)
    assert cli.json("checkpoints", url) == []


def test_rare_events_are_shown_when_they_are_found(cli: Commands, busy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not wait for others, which may be far behind them."""
    following, calls = FeedReading.__iter__, iter(range(100))

    def fail(self: FeedReading) -> Iterator[Any]:
        for event in following(self):
            if next(calls) == 2:
                raise Unavailable("no answer")
            yield event

    monkeypatch.setattr(FeedReading, "__iter__", fail)
    shown = cli("feed", busy, "--types", "A", "--json", code=5)
    assert len(shown.stdout.splitlines()) == 2


# --- checkpoints -------------------------------------------------------------------------------------------------------


def test_with_a_checkpoint_it_goes_on_where_it_stopped(cli: Commands, busy: str) -> None:
    """Until there is nothing more; what it was not asked for is passed too."""
    args = ("feed", busy, "--checkpoint", "w", "--streams", "order-")
    assert positions(cli.json(*args)) == [1, 3, 4]
    assert cli.json("checkpoints", busy)[0]["position"] == 6
    shown = cli(*args)
    assert (shown.stdout, shown.stderr) == ("", "nothing new after position 6\n")
    cli("append", busy, "order-1", "A")
    assert positions(cli.json(*args)) == [7]


def test_a_limit_moves_the_checkpoint_no_further(cli: Commands, busy: str) -> None:
    """So a worker can take the events in portions."""
    args = ("feed", busy, "--checkpoint", "w", "--types", "A", "--limit", 2)
    assert [positions(cli.json(*args)) for _ in range(3)] == [[1, 4], [6], []]


def test_portions_can_be_larger_than_what_is_written_at_once(cli: Commands, long_stream: str) -> None:
    """A limit holds exactly."""
    with connect(long_stream) as store:
        store.append("s", [Event("T") for _ in range(300)])
    args = ("feed", long_stream, "--checkpoint", "w", "--limit", 130)
    assert [len(cli.json(*args)) for _ in range(3)] == [130, 130, 70]


def test_after_counts_the_first_time(cli: Commands, busy: str) -> None:
    """Then the checkpoint does."""
    args = ("feed", busy, "--checkpoint", "w", "--after", 4, "--limit", 1)
    assert [positions(cli.json(*args)) for _ in range(2)] == [[5], [6]]


def test_following_can_have_a_limit(cli: Commands, busy: str) -> None:
    """It ends when so many have come."""
    assert positions(cli.json("feed", busy, "--follow", "--limit", 4)) == [1, 2, 3, 4]
    assert cli("feed", busy, "--follow", "--limit", 0).output == ""


@pytest.mark.parametrize("option", [("--follow",), ("--checkpoint", "w")])
def test_backwards_there_is_nothing_to_follow(cli: Commands, busy: str, option: tuple[str, ...]) -> None:
    """A usage error that names the options."""
    assert f"--backwards cannot go with {option[0]}" in cli("feed", busy, "--backwards", *option, code=2).stderr


@pytest.mark.parametrize("args", [("--checkpoint", ""), ("--streams", ""), ("--types", ""), ("--types", "x" * 300)])
def test_names_that_cannot_be_are_refused(cli: Commands, busy: str, args: tuple[str, ...]) -> None:
    """Rather than matched with nothing. An empty prefix is that of all streams."""
    if args == ("--streams", ""):
        assert len(cli.json("feed", busy, *args)) == 6
    else:
        assert cli.error("feed", busy, *args, code=2)


def test_the_first_signal_closes_and_the_second_acts(shop: str) -> None:
    """So nobody has to wait for a storage that hangs; afterwards signals do what they did."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with connect(shop) as store, store.subscribe() as subscription, Ending(subscription) as ending:
        signal.raise_signal(signal.SIGINT)
        assert list(subscription) == []
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (ending.signal, ending.unread) == (signal.SIGINT, False)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# --- on a terminal -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_is_never_overrun(cli: Commands, shop: str, as_terminal: Callable[[int], None], width: int) -> None:
    """Rows are cut to its width, and long names in their middle, so that something of the data is seen."""
    as_terminal(width)
    with connect(shop) as store:
        store.append(f"stream-{'x' * 200}-1", [Event("T" * 200, "x"), Event("日本" * 20, "日本" * 200)])
        store.append("s", Event("B", b"x" * 500))
    title, *rows = unstyle(cli("feed", shop).stdout).splitlines()
    assert len(rows) == 3
    assert all(cell_len(row) <= width for row in rows)
    if width >= 80:
        assert rows[0].split()[3].startswith("stream")
        assert rows[0].split()[3].endswith("x-1")
        assert [rows[0][title.index("data") :], rows[2].split()[-1]] == ['"x"', rows[2].split()[-1]]


def test_nothing_in_an_event_controls_the_terminal(cli: Commands, shop: str) -> None:
    """Control characters and markup are shown, not obeyed."""
    with connect(shop) as store:
        store.append("[b]\x1b[31m", Event("[red]\x1b[31m", {"a": "\x1b"}, {"\x1b": 1}, "\x1b"))
    shown = cli("feed", shop).stdout
    assert "\x1b" not in shown
    assert r"[b]\x1b[31m" in shown
    assert r"[red]\x1b[31m" in shown


def test_columns_stay_aligned(cli: Commands, long_stream: str) -> None:
    """Numbers to the right, the rest below its title."""
    title, *rows = cli("feed", long_stream).stdout.splitlines()
    assert {row.index('{"number"') for row in rows} == {title.index("data")}
    assert {row.index("orders") for row in rows} == {title.index("stream")}


def test_one_stream_by_its_whole_name(cli: Commands, tmp_path: Path) -> None:
    """Not those whose names begin like it; beside others that are chosen by how they begin."""
    url = str(tmp_path / "shop.db")
    with connect(url) as store:
        for name in ("order-1", "order-10", "cart-1"):
            store.append(name, Event("E"))
    assert positions(cli.json("feed", url, "--streams", "order-1")) == [1, 2]
    assert positions(cli.json("feed", url, "--exactly", "order-1")) == [1]
    assert positions(cli.json("feed", url, "--exactly", "order-1", "--streams", "cart")) == [1, 3]
