"""``headstream advance``."""

from __future__ import annotations

from collections.abc import Callable

from headstream import Event, connect
from headstream.protocol import keys
from headstream.protocol.ops import List
from support.commands import Commands


def test_it_says_how_many_events_it_moved(cli: Commands, shop: str) -> None:
    """And where the feed ends; a second time there is nothing to move."""
    with connect(shop) as store:
        store.append("a", [Event("T"), Event("T")])
        store.append("b", Event("T"))
    assert cli("advance", shop).stdout == "3 events moved into the feed, which ends at position 3\n"
    assert cli.json("advance", shop) == [{"events": 0, "position": 3}]
    cli("append", shop, "a", "T")
    assert cli("advance", shop).stdout == "1 event moved into the feed, which ends at position 4\n"


def test_the_inbox_is_empty_afterwards(cli: Commands, shop: str) -> None:
    """Which is what it is for."""
    cli("append", shop, "a", "T")
    with connect(shop) as store:
        assert store._run(List(keys.INBOX).__iter__()).keys
        cli("advance", shop)
        assert store._run(List(keys.INBOX).__iter__()).keys == ()
        assert [event.position for event in store.feed(advance=False)] == [1]


def test_an_empty_store_has_nothing_to_move(cli: Commands, shop: str) -> None:
    """That is no error."""
    assert cli.json("advance", shop) == [{"events": 0, "position": 0}]


def test_a_terminal_shows_the_progress_on_stderr(cli: Commands, shop: str, as_terminal: Callable[[int], None]) -> None:
    """In events; stdout has the result alone."""
    with connect(shop) as store:
        store.append("a", [Event("T") for _ in range(1234)])
    as_terminal(100)
    shown = cli("advance", shop, "--json")
    assert shown.stdout == '{"events":1234,"position":1234}\n'
    assert "1,234 events moved" in shown.stderr
