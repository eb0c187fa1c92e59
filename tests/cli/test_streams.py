"""``headstream streams``."""

from __future__ import annotations

import pytest

from headstream import Event, connect
from support.commands import Commands


@pytest.fixture
def full(shop: str) -> str:
    """A store with some streams."""
    with connect(shop) as store:
        for name in ("order-2", "order-1", "cart", "a\nb"):
            store.append(name, [Event("A"), Event("B")])
    return shop


def test_names_come_in_order_one_a_line(cli: Commands, full: str) -> None:
    """Nothing but names, for people and for pipes; a name is always one line."""
    assert cli("streams", full).stdout == "a\\nb\ncart\norder-1\norder-2\n"


def test_json_has_the_names_as_they_are(cli: Commands, full: str) -> None:
    """One object a line."""
    assert [row["stream"] for row in cli.json("streams", full)] == ["a\nb", "cart", "order-1", "order-2"]


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (("--prefix", "order-"), ["order-1", "order-2"]),
        (("--prefix", "order-", "--limit", 1), ["order-1"]),
        (("--limit", 0), []),
        (("--prefix", "none"), []),
    ],
)
def test_some_of_them(cli: Commands, full: str, args: tuple[object, ...], names: list[str]) -> None:
    """By prefix, and no more than asked for."""
    assert [row["stream"] for row in cli.json("streams", full, *args)] == names


def test_a_long_list_has_versions_and_times(cli: Commands, full: str) -> None:
    """The time is that of the newest changeset, to the millisecond."""
    with connect(full) as store:
        (event,) = store.read("cart", backwards=True, limit=1)
    title, row = cli("streams", full, "--long", "--prefix", "cart").stdout.splitlines()
    assert title.split() == ["version", "newest", "(UTC)", "stream"]
    assert row.split() == ["2", *f"{event.recorded_at:%Y-%m-%d %H:%M:%S}".split(), "cart"]
    (facts,) = cli.json("streams", full, "-l", "--prefix", "cart")
    assert (facts["stream"], facts["version"]) == ("cart", 2)
    assert facts["recorded_at"][:23].rstrip("Z") == event.recorded_at.isoformat()[:23]
