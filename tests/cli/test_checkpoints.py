"""``headstream checkpoints``."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest
from click import unstyle

from headstream import Checkpoint, CheckpointLost, Event, connect
from support.commands import Commands

OWNER = f"{socket.gethostname()}:{os.getpid()}"


def work(url: str, name: str, count: int) -> None:
    """Let a worker handle so many events."""
    with connect(url) as store, store.subscribe(checkpoint=name, follow=False) as subscription:
        assert len(next(subscription.batches(count))) == count
        subscription.save()


@pytest.fixture
def watched(shop: str) -> str:
    """A store with 1,500 events in its feed and two workers on them, and one event that is not there yet."""
    with connect(shop) as store:
        store.append("s", [Event("T") for _ in range(1500)])
    work(shop, "slow", 3)
    work(shop, "fast\n", 1500)
    with connect(shop) as store:
        store.append("s", Event("T"))
    return shop


def saved(url: str) -> list[Checkpoint]:
    """The checkpoints, by name."""
    with connect(url, create=False) as store:
        return list(store.checkpoints())


def test_each_is_a_row_with_its_lag(cli: Commands, watched: str) -> None:
    """By name; what is not in the feed yet is nobody's lag."""
    times = [f"{checkpoint.saved_at:%Y-%m-%d %H:%M:%S}".split() for checkpoint in saved(watched)]
    title, *rows = cli("checkpoints", watched).stdout.splitlines()
    assert title.split() == ["name", "position", "lag", "saved", "(UTC)", "owner"]
    assert [row.split() for row in rows] == [
        [r"fast\n", "1,500", "0", *times[0], OWNER],
        ["slow", "3", "1,497", *times[1], OWNER],
    ]
    assert {row.index(OWNER) for row in rows} == {title.index("owner")}


def test_json_has_what_the_store_keeps(cli: Commands, watched: str) -> None:
    """Names as they are."""
    rows = cli.json("checkpoints", watched)
    assert [(row["name"], row["position"], row["lag"], row["owner"]) for row in rows] == [
        ("fast\n", 1500, 0, OWNER),
        ("slow", 3, 1497, OWNER),
    ]
    times = [checkpoint.saved_at.isoformat().replace("+00:00", "Z") for checkpoint in saved(watched)]
    assert [row["saved_at"] for row in rows] == times


def test_looking_changes_nothing(cli: Commands, watched: str) -> None:
    """Neither the feed nor a checkpoint."""
    before = saved(watched)
    cli("checkpoints", watched)
    assert saved(watched) == before
    with connect(watched) as store:
        assert store.feed(advance=False).position() == 1500


def test_no_checkpoint_is_no_error(cli: Commands, shop: str) -> None:
    """People are told, programs get no line."""
    shown = cli("checkpoints", shop)
    assert (shown.stdout, shown.stderr) == ("", "the store has no checkpoints\n")
    assert cli("checkpoints", shop, "--json").output == ""


def test_one_can_be_forgotten(cli: Commands, watched: str) -> None:
    """Then its worker begins anew, and one that runs is told."""
    with connect(watched) as store:
        running = store.subscribe(checkpoint="slow")
        next(running)
        assert cli("checkpoints", watched, "--forget", "slow").stdout == "slow is forgotten; it was at position 3\n"
        with pytest.raises(CheckpointLost):
            running.save()
        running.close()
    assert [checkpoint.name for checkpoint in saved(watched)] == ["fast\n"]
    assert cli.json("feed", watched, "--checkpoint", "slow", "--limit", 1)[0]["position"] == 1


def test_forgetting_tells_programs_where_it_was(cli: Commands, watched: str) -> None:
    """So that it can be undone."""
    assert cli.json("checkpoints", watched, "--forget", "slow") == [{"name": "slow", "position": 3, "forgotten": True}]


def test_a_mistyped_name_is_told(cli: Commands, watched: str) -> None:
    """And nothing is removed."""
    assert "no checkpoint 'slwo'" in cli.error("checkpoints", watched, "--forget", "slwo", code=6)
    assert len(saved(watched)) == 2


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_is_never_overrun(
    cli: Commands, watched: str, as_terminal: Callable[[int], None], width: int
) -> None:
    """Long names lose their middle."""
    work(watched, f"mailer-{'x' * 200}-1", 1)
    as_terminal(width)
    rows = unstyle(cli("checkpoints", watched).stdout).splitlines()
    assert len(rows) == 4
    assert all(len(row) <= width for row in rows)
    assert rows[2].startswith("mailer-")
    assert rows[2].split()[0].endswith("x-1")
