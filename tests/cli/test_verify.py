"""``headstream verify``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from headstream import Event, connect
from headstream.backends.files import FilesBackend
from support.commands import Commands
from support.lab import Lab, Layout

Shop = tuple[str, Lab]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Shop]:
    """A store in a folder, and a way to damage it."""
    lab = Lab.filled(Layout(100, 2, feed=True, advanced="all"), FilesBackend(tmp_path / "shop"))
    with lab.store:
        yield (tmp_path / "shop").as_uri(), lab


def rows_of(cli: Commands, *args: object, code: int = 0) -> list[dict[str, object]]:
    """What is printed for programs."""
    result = cli("verify", *args, "--json", code=code)
    return [msgspec.json.decode(line) for line in result.stdout.splitlines()]


def test_a_clean_store(cli: Commands, folder: Shop) -> None:
    """What was looked at, and the verdict."""
    url, _ = folder
    lines = cli("verify", url).stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "streams",
        "objects",
        "feed",
        "inbox",
        "checkpoints",
        "garbage",
        "verdict",
    ]
    assert lines[0].split(maxsplit=1)[1] == "3  72 events in 36 changesets"
    assert lines[-1].split() == ["verdict", "clean"]


def test_a_clean_store_for_programs(cli: Commands, folder: Shop) -> None:
    """One line, with the numbers."""
    url, lab = folder
    (summary,) = rows_of(cli, url, "--jobs", 2)
    assert (summary["object"], summary["clean"], summary["faults"]) == ("summary", True, 0)
    assert (summary["streams"], summary["events"], summary["positions"]) == (3, 72, 72)
    assert summary["segments"] == len(lab.keys("segments/"))


def test_a_damaged_store(cli: Commands, folder: Shop) -> None:
    """Each fault by its key: what it touches, what is lost, what to do; what --repair would do; exit code 7. Nothing is written."""
    url, lab = folder
    page, segment = lab.keys("index/b/")[0], lab.keys("segments/c/")[0]
    lab.delete(page)
    lab.put(segment, b"?")
    before = lab.snapshot()
    result = cli("verify", url, code=7)
    text = result.stdout
    assert f"missing       {page}\n" in text
    assert f"damaged       {segment}\n" in text
    assert "touches the stream b, versions " in text
    assert "touches the stream c, version 1\n" in text
    assert "lost: 1 event, unless there is a backup\n" in text
    assert "do: --repair writes it again from the segments\n" in text
    assert f"would repair  {page}\n" in text
    assert text.splitlines()[-1].split() == ["verdict", "2", "faults"]
    (line,) = result.stderr.splitlines()
    assert line.startswith("headstream: 2 faults: ")
    assert page in line
    assert segment in line
    assert lab.snapshot() == before


def test_a_damaged_store_for_programs(cli: Commands, folder: Shop) -> None:
    """A line for each fault and for each repair, then the summary."""
    url, lab = folder
    page = lab.keys("index/b/")[0]
    lab.delete(page)
    fault, repair, summary = rows_of(cli, url, code=7)
    assert (fault["object"], fault["kind"], fault["key"], fault["stream"]) == ("fault", "missing", page, "b")
    assert (fault["mend"], fault["grave"]) == ("page", True)
    assert (repair["object"], repair["key"], repair["possible"], repair["done"]) == ("repair", page, True, False)
    assert (summary["faults"], summary["clean"]) == (1, False)


def test_a_repair(cli: Commands, folder: Shop) -> None:
    """It is done, and then verified: clean."""
    url, lab = folder
    contents = lab.contents()
    page, segment = lab.keys("index/b/")[0], lab.keys("segments/c/")[0]
    lab.delete(page)
    lab.put(segment, b"?")
    text = cli("verify", url, "--repair").stdout
    assert f"repaired      {page}\n" in text
    assert f"repaired      {segment}\n" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("verdict")] == ["2", "clean"]
    assert lab.contents() == contents
    assert cli("verify", url).stdout.splitlines()[-1].split() == ["verdict", "clean"]


def test_a_repair_of_the_feed_is_asked_for(cli: Commands, folder: Shop) -> None:
    """It changes positions. Without it, that is said, and without --repair nothing is done."""
    url, lab = folder
    lab.put(lab.keys("segments/!24feed/")[0], b"?")
    assert "not repaired" in cli("verify", url, "--repair", code=7).stdout
    assert "would repair" in cli("verify", url, "--repair-feed", code=7).stdout
    rows = rows_of(cli, url, "--repair", "--repair-feed")
    assert [row["object"] for row in rows] == ["fault", "repair", "summary", "summary"]
    assert "forget the checkpoints 'worker'" in str(rows[1]["text"])


def test_a_loss_has_to_be_accepted(cli: Commands, tmp_path: Path) -> None:
    """A head that may lack events is not rebuilt without a word."""
    url = str(tmp_path / "shop.db")
    with connect(url, tail_bytes=100, feed=False) as store:
        for number in range(6):
            store.append("s", Event("E", number))
        store._backend.delete(["heads/s"])
    assert "--accept-loss" in cli("verify", url, "--repair", code=7).stdout
    assert "are lost" in cli("verify", url, "--repair", "--accept-loss").stdout
    with connect(url) as store:
        assert len(list(store.read("s"))) == 5


def test_information_is_no_fault(cli: Commands, folder: Shop) -> None:
    """It is shown, and the exit code is 0."""
    url, lab = folder
    lab.put("segments/b/what", b"?")
    text = cli("verify", url).stdout
    assert text.startswith("unknown       segments/b/what\n")
    assert text.splitlines()[-1].split() == ["verdict", "clean"]


def test_many_faults_end_in_a_short_line(cli: Commands, folder: Shop) -> None:
    """The first of them are named."""
    url, lab = folder
    for key in lab.keys("segments/")[:12]:
        lab.put(key, b"?")
    (line,) = cli("verify", url, code=7).stderr.splitlines()
    assert "12 faults" in line
    assert line.endswith(", …")


def test_on_a_terminal(cli: Commands, folder: Shop, as_terminal: Callable[[int], None]) -> None:
    """Long lines are wrapped, below their key; a bar shows how far it has come."""
    url, lab = folder
    page = lab.keys("index/b/")[0]
    lab.delete(page)
    as_terminal(60)
    text = cli("verify", url, code=7).stdout
    assert "checked, since only this page" in text.replace("\n", " ").replace("  ", "")
    assert page in text.replace("\n", "")


def test_names_cannot_play_tricks(cli: Commands, tmp_path: Path) -> None:
    """What could move the cursor is shown as an escape."""
    url = str(tmp_path / "shop.db")
    with connect(url) as store:
        for _ in range(2):
            store.append("a\x1b[2Jb", Event("E"))
        store._backend.delete(store._backend.list("heads/a", "", 9).keys)
    assert "a\\x1b[2Jb" in cli("verify", url, code=7).stdout


@pytest.mark.parametrize("args", [("--jobs", 0), ("--jobs", 257), ("--jobs", "x")])
def test_how_many_at_once(cli: Commands, shop: str, args: tuple[object, ...]) -> None:
    """1 to 256."""
    assert "--jobs" in cli("verify", shop, *args, code=2).stderr


def test_there_must_be_a_store(cli: Commands, tmp_path: Path) -> None:
    """A mistyped URL makes no new one."""
    assert "init" in cli.error("verify", tmp_path / "none.db", code=6)


def test_a_description_that_is_damaged(cli: Commands, folder: Shop) -> None:
    """Without it nothing can be checked: its key is named."""
    url, lab = folder
    lab.put("store.json", b"{")
    assert "key='store.json'" in cli.error("verify", url, code=7)


def test_a_repair_ends(cli: Commands, folder: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is left: after so many rounds."""
    url, lab = folder
    lower, upper = lab.keys("index/b/1-")[0], lab.keys("index/b/2-")[0]
    lab.delete(lower, upper)
    monkeypatch.setattr("headstream.cli.verify.ROUNDS", 1)
    assert cli("verify", url, "--repair", code=7).stdout.count("verdict") == 1
