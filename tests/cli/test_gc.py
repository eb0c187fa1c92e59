"""``headstream gc``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headstream import Event, connect
from headstream.cli.failures import ExitCode
from headstream.drivers import ids
from headstream.errors import CorruptData, UnsuitableBackend
from headstream.protocol import gc as protocol
from headstream.protocol import keys, leftovers
from headstream.protocol.gc import Swept
from headstream.protocol.ops import ALWAYS, Gen, Put
from support.commands import Commands
from support.garbage import LONG, clock_moved, crash


@pytest.fixture
def messy(shop: str) -> str:
    """A store with a long stream, and of long ago: two crashed appends to each of two streams, and a probe."""
    with clock_moved(-LONG), connect(shop) as store:
        for number in range(5):
            store.append("orders", Event("Placed", {"number": number, "note": "x" * 100}))
        store.advance()
        for stream in ("orders", "orders", "never", "never"):
            crash(store, stream, announced=False)
        store._backend.commit((), Put(keys.probe(ids.stamp().id), b"12345", ALWAYS))
    return shop


def put(url: str, key: str) -> None:
    """An object that headstream does not make."""
    with connect(url) as store:
        store._backend.commit((), Put(key, b"junk", ALWAYS))


def table(text: str) -> dict[str, tuple[int, str]]:
    """Objects and bytes by kind."""
    rows = [line.rsplit(maxsplit=3) for line in text.splitlines()[1:6]]
    return {name: (int(objects), f"{number} {unit}") for name, objects, number, unit in rows}


def test_a_table_of_what_was_removed(cli: Commands, messy: str) -> None:
    """By kind, with bytes; a second time there is nothing."""
    lines = cli("gc", messy).stdout.splitlines()
    assert lines[0].split() == ["removed", "objects", "bytes"]
    found = table("\n".join(lines))
    assert [(name, objects) for name, (objects, _) in found.items()] == [
        ("segments", 4),
        ("index pages", 2),
        ("snapshots", 0),
        ("probes", 1),
        ("total", 7),
    ]
    assert found["probes"] == (1, "5 B")
    assert "of 2 streams looked at, 3 fences" in lines[6]
    assert len(lines) == 7
    again = cli("gc", messy).stdout
    assert table(again)["total"] == (0, "0 B")
    assert "fence" not in again
    assert len(cli.json("read", messy, "orders")) == 5


def test_a_dry_run(cli: Commands, messy: str) -> None:
    """It says what would be removed, changes nothing, and can be repeated."""
    first = cli("gc", messy, "--dry-run", "--jobs", 1).stdout
    assert first.splitlines()[0].startswith("would be removed")
    assert table(first)["total"][0] == 7
    assert cli("gc", messy, "--dry-run").stdout == first
    assert table(cli("gc", messy).stdout) == table(first)


def test_json(cli: Commands, messy: str) -> None:
    """A line for each thing that was found, then the sums."""
    put(messy, "segments/mine")
    *found, total = cli.json("gc", messy, "--dry-run")
    assert [one["found"] for one in found] == ["unknown", "garbage", "garbage"]
    assert found[0] == {"found": "unknown", "key": "segments/mine"}
    assert [(one["stream"], one["segments"]["objects"], one["pages"]["objects"]) for one in found[1:]] == [
        ("never", 2, 0),
        ("orders", 2, 2),
    ]
    assert total["found"] == "total"
    assert total["dry_run"] is True
    assert total["segments"]["objects"] == 4
    assert total["segments"]["size"] == sum(one["segments"]["size"] for one in found[1:])
    assert (total["unknown"], total["problems"], total["headless"]) == (1, 0, True)


def test_intents_that_wait(cli: Commands, messy: str) -> None:
    """A dry run tells how many there are, and how old; a real one settles them, and says how many events that brought."""
    with clock_moved(-LONG), connect(messy) as store:
        store.append("a", [Event("T"), Event("T")])
        crash(store, "b")
    said = cli("gc", messy, "--dry-run").stdout
    assert "2 intents older than the grace period, the oldest of 20" in said
    assert [one["stream"] for one in cli.json("gc", messy, "--dry-run") if one["found"] == "stale"] == ["a", "b"]
    said = cli("gc", messy).stdout
    assert "2 events moved into the feed" in said
    assert "older than" not in said


def test_unknown_names(cli: Commands, messy: str) -> None:
    """Some of them are shown, on one line each; all of them are counted, and left."""
    for number in range(25):
        put(messy, f"segments/mine-{number:02}")
    lines = cli("gc", messy).stdout.splitlines()
    assert lines[7] == "25 objects that headstream does not make, left as they are:"
    assert lines[8:-1] == [f"  segments/mine-{number:02}" for number in range(20)]
    assert lines[-1] == "  and 5 more: --json lists them all"
    assert len([one for one in cli.json("gc", messy) if one["found"] == "unknown"]) == 25


def test_a_damaged_stream(cli: Commands, messy: str) -> None:
    """It is named on stderr, the rest is done, and the exit code says so."""
    put(messy, "heads/orders")
    result = cli("gc", messy, code=ExitCode.DAMAGED)
    first, last = result.stderr.splitlines()
    assert first.startswith("headstream: orders: ")
    assert "heads/orders" in first
    assert last.startswith("headstream: 1 part of the store could not be looked through")
    assert "headstream verify" in last
    assert table(result.stdout)["segments"][0] == 2
    rows = cli("gc", messy, "--json", code=ExitCode.DAMAGED).stdout
    assert f'{{"found":"problem","what":"orders","error":"{CorruptData.__name__}","message":"' in rows


def test_storage_that_does_not_list_across_folders(cli: Commands, messy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what was not looked for."""

    def refuse(folder: str, after: str = "") -> Gen[None]:
        raise UnsuitableBackend("out of order", folder=folder, after=after)
        yield  # type: ignore[unreachable]  # a generator

    monkeypatch.setattr(leftovers, "folders", refuse)
    said = cli("gc", messy).stdout
    assert "of 2 streams looked at" in said
    assert "streams without a head were not looked for" in said
    assert table(said)["segments"][0] == 2


def test_garbage_that_is_left(cli: Commands, messy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that another run is needed."""

    def sweep(stream: str, **_options: object) -> Gen[Swept]:
        return Swept(stream, left=3)
        yield  # type: ignore[unreachable]  # a generator

    monkeypatch.setattr(protocol, "sweep", sweep)
    assert "objects of garbage left: the storage did not answer; run this again later" in cli("gc", messy).stdout


def test_a_terminal_shows_the_progress_on_stderr(cli: Commands, messy: str, as_terminal: Callable[[int], None]) -> None:
    """In streams; stdout has the result alone."""
    as_terminal(100)
    shown = cli("gc", messy)
    assert "streams looked through" in shown.stderr
    assert "looked through" not in shown.stdout


@pytest.mark.parametrize("jobs", ["0", "65", "many"])
def test_jobs_out_of_range(cli: Commands, shop: str, jobs: str) -> None:
    """They are refused."""
    assert "--jobs" in cli("gc", shop, "--jobs", jobs, code=ExitCode.INVALID).stderr
