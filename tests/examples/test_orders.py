"""The shop: whatever happens to its processes, the read model is what the events say, and readers can always read."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient

from examples.conftest import EXAMPLES
from headstream import Event, EventStore, Head, connect
from orders import commands, read_model
from orders.__main__ import main, trade
from orders.api import api
from orders.commands import Line, Refused
from orders.supervisor import supervise, supervised
from support.embedded import until

ROUNDS = 6
SECONDS = 60
TABLES = ("orders", "customers")


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """The URL of a store for several processes."""
    url = str(tmp_path / "shop.db")
    connect(url).close()
    return url


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the read model is going to be."""
    return tmp_path / "orders.db"


def content(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows that readers see, in one look."""
    with closing(read_model.connect(database)) as db:
        db.execute("BEGIN")
        return {name: [tuple(row) for row in db.execute(f"SELECT * FROM {name} ORDER BY 1")] for name in TABLES}


def relations(database: Path) -> list[str]:
    """The names of all tables and views."""
    with closing(read_model.connect(database)) as db:
        names = [
            row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY 1")
        ]
    return [name for name in names if name != "headstream_projections"]


def fresh(store: EventStore, folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """What a read model has that is made of all events at one go."""
    path = folder / "fresh.db"
    path.unlink(missing_ok=True)
    read_model.projection(path).run_until_caught_up(store)
    return content(path)


@contextmanager
def process(action: str, shop: str, database: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of the shop; killed, unless it has ended, when the block is left."""
    child = subprocess.Popen(
        [sys.executable, "-m", "orders", action, shop, str(database)],
        cwd=EXAMPLES,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def handled(database: Path) -> int:
    """How many events are in the read model; 0 if there is none yet."""
    with closing(read_model.connect(database)) as db, suppress(sqlite3.OperationalError):
        for row in db.execute("SELECT position FROM headstream_projections WHERE serving = 1"):
            return int(row[0])
    return 0


# --- commands and queries --------------------------------------------------------------------------------------------


def test_the_rules() -> None:
    """An order goes its way and no other."""
    with connect("memory://") as store:
        with pytest.raises(Refused, match="order 1 is unknown"):
            commands.pay(store, "1")
        commands.place(store, "1", "Ada", [Line("cup", 2, 900), Line("tea", 1, 650)])
        with pytest.raises(Refused, match="order 1 is placed"):
            commands.ship(store, "1", "p-1")
        commands.pay(store, "1")
        commands.ship(store, "1", "p-1")
        with pytest.raises(Refused, match="order 1 is shipped"):
            commands.cancel(store, "1")
        commands.place(store, "2", "Ada", [])
        commands.cancel(store, "2")
        with pytest.raises(Refused, match="order 2 is cancelled"):
            commands.pay(store, "2")
        assert [(event.type, event.data) for event in store.read("order-1", after=1)] == [
            ("OrderPaid", {"amount": 2450}),
            ("OrderShipped", {"parcel": "p-1"}),
        ]


def test_two_who_decide_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes second looks again, and may find that it is too late."""
    with connect("memory://") as store:
        commands.place(store, "1", "Ada", [])
        append = store.append

        def too_late(*arguments: Any, **options: Any) -> Head:
            monkeypatch.undo()
            commands.cancel(store, "1")
            return append(*arguments, **options)

        monkeypatch.setattr(store, "append", too_late)
        with pytest.raises(Refused, match="order 1 is cancelled"):
            commands.pay(store, "1")


def test_the_api(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves orders by number and status, and the best customers."""
    monkeypatch.setenv("ORDERS_DB", str(database))
    with connect("memory://") as store, TestClient(api) as client:
        for number, customer, price in [("1", "Ada", 900), ("2", "Ada", 650), ("3", "Grace", 2400)]:
            commands.place(store, number, customer, [Line("cup", 1, price)])
        commands.pay(store, "1")
        commands.pay(store, "3")
        commands.cancel(store, "3")
        read_model.projection(database).run_until_caught_up(store)
        assert client.get("/orders").json() == [{"number": "2", "customer": "Ada", "status": "placed", "total": 650}]
        assert client.get("/orders/3").json()["status"] == "cancelled"
        assert client.get("/orders/4").status_code == 404
        assert client.get("/customers").json() == [
            {"name": "Ada", "orders": 2, "spent": 900},
            {"name": "Grace", "orders": 1, "spent": 0},
        ]


def is_projected(database: Path, number: int) -> bool:
    """Whether so many events are in the read model."""
    return handled(database) >= number


def test_the_api_keeps_its_read_model(shop: str, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs projects, another takes over when it has ended; each ends in time."""
    monkeypatch.setenv("ORDERS_DB", str(database))
    monkeypatch.setenv("ORDERS_STORE", shop)
    with connect(shop, create=True) as store:
        for number in (1, 2):
            commands.place(store, str(number), "Ada", [Line("cup", 1, 900)])
            with TestClient(api) as client:
                until(partial(is_projected, database, number), SECONDS)
                assert client.get(f"/orders/{number}").json()["customer"] == "Ada"
    with closing(read_model.connect(database)) as db:
        assert [tuple(row) for row in db.execute("SELECT owner FROM headstream_projections")] == [("",)]


async def test_a_worker_that_fails_begins_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After pauses that double; each failure is logged. It is over when the work returns."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def work() -> None:
        if len(pauses) < 4:
            raise ValueError("no mail server")

    monkeypatch.setattr("orders.supervisor.asyncio.sleep", sleep)
    await supervise("the mailer", work, shortest=1, longest=3)
    assert pauses == [1, 2, 3, 3]
    assert caplog.records[0].getMessage() == "the mailer has failed: it begins again in 1 seconds"


async def test_a_worker_is_stopped_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """One that ends when it is cancelled, and one that does not."""
    ended = asyncio.Event()

    async def polite() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with supervised("the mailer", polite):
        await asyncio.sleep(0)
    assert ended.is_set()
    assert caplog.records == []
    go = asyncio.Event()

    async def stubborn() -> None:
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await go.wait()

    async with supervised("the printer", stubborn, patience=0.05):
        await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == ["the printer has not ended within 0.05 seconds"]
    go.set()
    await asyncio.sleep(0)


def test_the_sums(database: Path) -> None:
    """What a customer has spent is what the orders say that are paid."""
    with connect("memory://") as store:
        trade(store, 50, Random(1))
        read_model.projection(database).run_until_caught_up(store)
    found = content(database)
    spent: Counter[object] = Counter()
    for _, customer, status, total in found["orders"]:
        assert isinstance(total, int)
        spent[customer] += total if status in {"paid", "shipped"} else 0
    assert {name: sum_ for name, _, sum_ in found["customers"]} == dict(spent)


# --- processes -------------------------------------------------------------------------------------------------------


def test_the_commands(shop: str, database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trade, then build; and an error is one line."""
    assert main(["trade", shop, "--count", "3"]) == 0
    assert main(["rebuild", shop, str(database)]) == 0
    assert len(content(database)["orders"]) == 3
    assert capsys.readouterr().out.endswith(" events\n")
    assert main(["rebuild", "nowhere.txt", str(database)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped(shop: str, database: Path, number: signal.Signals) -> None:
    """It follows what others append, and when it is told to stop it ends well, with everything that it has begun."""
    with connect(shop) as store, process("project", shop, database) as child:
        trade(store, 10, Random(2))
        events = sum(1 for _ in store.feed())
        until(lambda: handled(database) == events)
        child.send_signal(number)
        output, errors = child.communicate(timeout=SECONDS)
        assert (child.returncode, output, errors) == (0, f"{events} events\n", "")


def test_killed_while_it_projects(shop: str, database: Path, tmp_path: Path) -> None:
    """Killed with SIGKILL at any moment, again and again, while customers buy: at the end it equals what is built at one go."""
    chance = Random(20120216)
    with connect(shop) as store:
        for _ in range(ROUNDS):
            before = handled(database)
            with process("project", shop, database):
                until(partial(goes_on, store, chance, database, before))
                trade(store, chance.randint(0, 30), chance)
        assert before > 0
        read_model.projection(database).run_until_caught_up(store)
        assert content(database) == fresh(store, tmp_path)


def goes_on(store: EventStore, chance: Random, database: Path, before: int) -> bool:
    """Whether more was handled, while customers buy."""
    trade(store, 1, chance)
    return handled(database) > before


def test_killed_while_it_rebuilds(shop: str, database: Path, tmp_path: Path) -> None:
    """Killed at any moment of a rebuild: readers have all of it, before and after; and the next rebuild leaves nothing behind."""
    chance = Random(7)
    with connect(shop) as store:
        for number in range(2000):  # several transactions of a rebuild
            placed = Event("OrderPlaced", {"customer": f"c-{number % 7}", "lines": [Line("cup", 1, number)]})
            store.append(f"order-{number}", [placed, Event("OrderPaid", {"amount": number})])
        read_model.projection(database).run_until_caught_up(store)
        expected = content(database)
        for _ in range(ROUNDS):
            with process("rebuild", shop, database) as child:
                until(partial(differs, database, relations(database)))
                with suppress(subprocess.TimeoutExpired):
                    child.wait(chance.uniform(0, 0.2))
            assert content(database) == expected
        read_model.projection(database).rebuild(store)
        assert content(database) == expected == fresh(store, tmp_path)
    assert len(relations(database)) == 4


def differs(database: Path, before: list[str]) -> bool:
    """Whether a rebuild has begun."""
    return relations(database) != before
