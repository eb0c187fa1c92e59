"""The simulator: deterministic, quiet over the protocols as shipped, hostile enough."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from headstream.protocol import append as protocol
from headstream.protocol.append import Appended
from headstream.protocol.head import Known
from headstream.protocol.ops import Gen
from headstream.testing.simulator import World, judge, main, simulate, story

HISTORIES = 3000


def told(seed: int) -> list[str]:
    world = World(seed)
    world.run()
    judge(world)
    return list(story(world))


def test_the_same_seed_gives_the_same_story_in_another_process():
    """Without this, no failing seed could be looked at twice."""
    seed = next(seed for seed in range(100) if len(told(seed)) > 150)
    command = [sys.executable, "-m", "headstream.testing.simulator", "--seed", str(seed), "--trace"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    assert printed == "\n".join(told(seed)) + "\n"


def test_every_promise_holds_in_a_fixed_share_of_histories():
    """No acknowledged append is lost, none is doubled, the feed is the streams, garbage goes and nothing else."""
    outcome = simulate(range(HISTORIES))
    assert outcome.failures == ()
    assert outcome.histories == HISTORIES
    assert outcome.outcomes["acknowledged"] > HISTORIES


def test_every_fault_and_every_deed_happens():
    """The weather is as bad as it claims: each kind of fault is seen, and each kind of outcome."""
    lines: list[str] = []
    outcomes: Counter[str] = Counter()
    for seed in range(400):
        world = World(seed)
        world.run()
        outcomes.update([deed.outcome for deed in world.deeds])
        judge(world)
        lines += story(world)
    text = "\n".join(lines)
    assert outcomes.keys() == {"acknowledged", "nothing", "unknown"}
    for what in (
        "unknown, lost",
        "not applied, lost",
        "the answer was lost",
        "on its way",
        "arrives late: done",
        "arrives late: refused",
        "never arrives",
        "refused, untruly",
        "crashes",
        "fences",
        "and more",
        "PUT index/",
        "PUT checkpoints/",
        "lost the checkpoint",
        "PUT segments/!24feed/",
        "PUT index/!24feed/",
        "DELETE segments/",
        "collects the garbage",
        "gives up",
    ):
        assert what in text, what


def unknown_means_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take an open attempt for committed as soon as the head can be read."""

    def settle(known: Known, still_open: protocol._Open) -> Gen[Appended | None]:
        yield from ()
        return Appended(still_open.ids[0], known.state.version, known) if still_open.ids else None

    monkeypatch.setattr(protocol, "_settle", settle)


def test_the_command_prints_what_it_ran(capsys: pytest.CaptureFixture[str]):
    """Seed and count are in the output, so that a run can be repeated."""
    assert main(["--seed", "5", "--histories", "20"]) == 0
    assert "20 histories from seed 5: every promise held" in capsys.readouterr().out


def test_several_processes_share_the_histories(capsys: pytest.CaptureFixture[str]):
    """They run the same histories as one would."""
    assert main(["--histories", "300", "--jobs", "2"]) == 0
    many = capsys.readouterr().out
    assert main(["--histories", "300"]) == 0
    one = capsys.readouterr().out
    assert many.split(" unknown;")[0] == one.split(" unknown;")[0]


def test_a_broken_promise_fails_the_command_with_its_story(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """The seed, the promise, and who did what to which object are printed."""
    unknown_means_success(monkeypatch)
    assert main(["--histories", "3000"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("seed ")
    assert "PUT heads/" in printed
    assert "appends" in printed or "decides" in printed
    assert printed.splitlines()[-1].startswith("broken: ")


def test_the_story_of_one_seed_fails_if_the_history_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """So a script may ask for a story and for the verdict at once."""
    unknown_means_success(monkeypatch)
    broken = simulate(range(3000)).failures[0].seed
    assert main(["--seed", str(broken), "--trace"]) == 1
    assert "PUT heads/" in capsys.readouterr().out
