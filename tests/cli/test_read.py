"""``headstream read``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click import unstyle
from rich.cells import cell_len

from headstream import Event, connect
from support.commands import Commands


def test_events_are_rows(cli: Commands, shop: str) -> None:
    """With version, time, type, data, metadata and id, whole when it is no terminal."""
    with connect(shop) as store:
        store.append("s", Event("Placed", {"sku": "x" * 100}, {"user": "anna"}, "e-1"))
        store.append("s", [Event("Paid"), Event("Scanned", b"\xff\0")])
        time = next(store.read("s")).recorded_at
    title, *rows = cli("read", shop, "s").stdout.splitlines()
    assert title.split() == ["version", "time", "(UTC)", "type", "data"]
    data = f'{{"sku": "{"x" * 100}"}}'
    metadata = '{"user": "anna"}'
    row = f"1 {time:%Y-%m-%d %H:%M:%S} Placed {data} metadata {metadata} id e-1"
    assert rows[0].split() == row.split()
    assert [row.split()[3:] for row in rows[1:]] == [["Paid", "–"], ["Scanned", "2", "B:", "ff", "00"]]


@pytest.mark.parametrize(
    ("args", "versions"),
    [
        ((), list(range(1, 31))),
        (("--limit", 3), [1, 2, 3]),
        (("--limit", 0), []),
        (("--after", 27), [28, 29, 30]),
        (("--after", 10, "--before", 13), [11, 12]),
        (("--backwards", "--limit", 3), [30, 29, 28]),
        (("--backwards", "--before", 3), [2, 1]),
        (("--after", 30), []),
    ],
)
def test_a_part_can_be_read(cli: Commands, long_stream: str, args: tuple[object, ...], versions: list[int]) -> None:
    """By versions, by number, in either direction; the same for people and programs."""
    assert [event["version"] for event in cli.json("read", long_stream, "orders", *args)] == versions
    rows = cli("read", long_stream, "orders", *args).stdout.splitlines()[1:]
    assert [int(row.split()[0]) for row in rows] == versions


def test_json_has_all_that_was_recorded(cli: Commands, shop: str) -> None:
    """And nothing that was not given."""
    with connect(shop) as store:
        store.append("s", [Event("Placed", {"n": None}, {"user": "anna"}, "e-1"), Event("Scanned", b"\xff")])
        first, second = store.read("s")
    common = {
        "stream": "s",
        "recorded_at": first.recorded_at.isoformat().replace("+00:00", "Z"),
        "changeset_id": str(first.changeset_id),
    }
    placed = {"version": 1, "type": "Placed", "data": {"n": None}, "metadata": {"user": "anna"}, "id": "e-1"}
    scanned = {"version": 2, "type": "Scanned", "data_base64": "/w=="}
    assert second.changeset == first.changeset
    assert cli.json("read", shop, "s") == [placed | common, scanned | common]


def test_a_stream_without_events_is_no_error(cli: Commands, shop: str) -> None:
    """People are told, programs get no line."""
    shown = cli("read", shop, "nothing")
    assert (shown.stdout, shown.stderr) == ("", "the stream 'nothing' has no events\n")
    shown = cli("read", shop, "nothing", "--json")
    assert (shown.stdout, shown.stderr) == ("", "")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_is_never_overrun(cli: Commands, shop: str, as_terminal: Callable[[int], None], width: int) -> None:
    """Rows are cut to its width, whatever they hold."""
    as_terminal(width)
    with connect(shop) as store:
        store.append("s", [Event("T" * 200, "x"), Event("日本" * 20, "日本" * 200), Event("B", b"x" * 500)])
    rows = unstyle(cli("read", shop, "s").stdout).splitlines()
    assert len(rows) == 4
    assert all(cell_len(row) <= width for row in rows)
    assert all(row.endswith("…") for row in rows[1:])


def test_nothing_in_an_event_controls_the_terminal(cli: Commands, shop: str) -> None:
    """Control characters and markup are shown, not obeyed."""
    with connect(shop) as store:
        store.append("s", Event("[red]\x1b[31m", {"a": "\x1b\x9b\u202e[b]"}, {"\x1b": 1}, "\x1b"))
    shown = cli("read", shop, "s").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert r"[red]\x1b[31m" in shown
    assert r'{"a": "\u001b\x9b\u202e[b]"}' in shown


def test_columns_stay_aligned(cli: Commands, long_stream: str) -> None:
    """Numbers to the right, the rest below its title."""
    rows = cli("read", long_stream, "orders").stdout.splitlines()
    assert len({row.index('{"number"') for row in rows[1:]}) == 1
    assert {row.index('{"number"') for row in rows[1:]} == {rows[0].index("data")}
