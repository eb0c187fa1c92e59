"""Who waits for whom: what a client remembers of others that write the same streams."""

from __future__ import annotations

from headstream import limits
from headstream.protocol.rivals import Races, Rivals, after_fault, after_race


def wins(rivals: Rivals, stream: str, count: int) -> None:
    for _ in range(count):
        assert not rivals.is_due(stream)
        rivals.won(stream)


def test_a_client_that_is_alone_never_gives_way():
    """It has no sign of others, and remembers nothing."""
    wins(Rivals(), "s", 10 * limits.SIGNS)


def test_a_client_that_met_others_gives_way_now_and_then():
    """Once after so many wins, then after as many more."""
    rivals = Rivals()
    rivals.met("s")
    for _ in range(3):
        wins(rivals, "s", limits.WINS)
        assert rivals.is_due("s")


def test_a_lost_race_begins_the_count_again():
    """It has just waited for the others."""
    rivals = Rivals()
    rivals.met("s")
    wins(rivals, "s", limits.WINS)
    rivals.met("s")
    wins(rivals, "s", limits.WINS)
    assert rivals.is_due("s")


def test_signs_grow_old():
    """After so many appends without another one it is alone."""
    rivals = Rivals()
    rivals.met("s")
    due = 0
    for _ in range(limits.SIGNS):
        due += rivals.is_due("s")
        rivals.won("s")
    assert due == limits.SIGNS // limits.WINS - 1
    wins(rivals, "s", 10 * limits.SIGNS)


def test_streams_are_apart():
    """Others in one stream say nothing of another."""
    rivals = Rivals()
    rivals.met("s")
    wins(rivals, "t", 10 * limits.SIGNS)


def test_what_is_remembered_is_bounded(monkeypatch):
    """The stream whose others were met first is forgotten."""
    monkeypatch.setattr(limits, "RIVALS", 2)
    rivals = Rivals()
    for stream in "abcb":
        rivals.met(stream)
    wins(rivals, "a", 10 * limits.WINS)
    for stream in "bc":
        wins(rivals, stream, limits.WINS)
        assert rivals.is_due(stream)


def test_pauses():
    """Those after a race are told in round trips, too, and these do not grow; those after a fault are not."""
    assert (after_race().trips, after_race().at_most) == (1, 0.002)
    assert [after_fault(count).trips for count in (1, 100)] == [0, 0]
    assert [after_fault(count).at_most for count in (1, 2, 100)] == [0.05, 0.1, 2.0]


def test_a_fence_is_raised_once_for_so_many_races():
    """And not while that of another is newer."""
    races = Races()
    raised: list[int] = []
    for number in range(1, 4 * limits.KNOCK):
        races.lose()
        if races.knocks(fence=number > 3 * limits.KNOCK - 2):
            raised.append(number)
    assert raised == [limits.KNOCK + 1, 2 * limits.KNOCK + 1, 4 * limits.KNOCK - 1]
