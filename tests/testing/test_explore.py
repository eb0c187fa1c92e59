"""Exhaustive exploration of small cases."""

from __future__ import annotations

import pytest

from headstream.testing.simulator.command import main
from headstream.testing.simulator.explore import CASES, Broken, Case, append, explore

SMALL = {
    "three writers",
    "three writers, one fault",
    "three writers that raise the fence",
    "two writers that raise the fence, and an advance that fences",
    "a writer and an advance, one fault",
    "two writers and an advance",
    "two writers and an advance that finds a backlog",
    "two writers of segments and an advance",
    "a writer and two advances",
    "two writers and a collection",
    "two writers and an advance that fences",
}
"""Those that are done in seconds; all of them run by ``headstream-sim --explore``."""


@pytest.mark.parametrize("case", [case for case in CASES if case.name in SMALL], ids=lambda case: case.name)
def test_no_schedule_breaks_a_promise(case: Case):
    """Every order of requests, and every placing of the faults."""
    explored = explore(case)
    assert explored.schedules > explored.states > explored.ends > 1


def test_the_number_of_schedules_is_right():
    """Two actors of one atomic step each have two schedules; merging states does not change the count."""
    assert explore(Case("two first appends", (append("a", 0),))).schedules == 1


def test_a_broken_promise_is_told_with_its_schedule(monkeypatch: pytest.MonkeyPatch):
    """The message has who did what in which order."""
    monkeypatch.setattr("headstream.testing.simulator.explore.Play.judge", lambda _self: "a promise")
    with pytest.raises(Broken, match=r"(?s)a promise\n.*actor 0: Put heads/"):
        explore(Case("one writer", (append("a", 0),)))


def test_the_command_prints_the_schedules(capsys: pytest.CaptureFixture[str]):
    """A line for each case: how many schedules, states and ends."""
    assert main(["--explore", "three writers"]) == 0
    assert "three writers: every promise held in 886 schedules (154 states, 20 ends" in capsys.readouterr().out
