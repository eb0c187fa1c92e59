"""``headstream doctor``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from headstream.doctor import Bounds, Examination, bench
from servers.base import Server, free_port
from servers.proxy import Proxy
from support.broken import IgnoresMatchAndFailsDeletes, connections
from support.commands import Commands
from support.distorting import Forgetful

FEW = ("--rounds", 3)
ROW = re.compile(r"(?P<check>\S.{15}) (?P<verdict>\S+) +(?P<seen>\S.*)")
SECONDS = 60


@pytest.fixture(autouse=True)
def _few_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured elsewhere need not take its time here."""
    few = partial(Bounds, connections=4, keys=40, samples=5, body_bytes=100_000)
    monkeypatch.setattr("headstream.cli.doctor.Bounds", few)


def rows(shown: str) -> dict[str, str]:
    """The verdict of each check, from a table that was printed to a pipe."""
    table = shown.split("\n\n")[1].splitlines()
    assert table[0].split() == ["check", "verdict", "seen"]
    return {match["check"].strip(): match["verdict"] for match in map(ROW.fullmatch, table[1:]) if match}


def test_a_suitable_storage(cli: Commands, shop: str) -> None:
    """The plan before it begins, a table, the verdict; exit code 0."""
    shown = cli("doctor", shop, *FEW).stdout
    assert re.search(r"^about \d{3} requests and \d\.\d MiB, at most 120 s$", shown, flags=re.MULTILINE)
    assert re.search(r"^all under probes/[0-9a-f]{32}/, and removed at the end$", shown, flags=re.MULTILINE)
    found = rows(shown)
    assert len(found) == 19
    assert (found["create race"], found["list pages"], found["metadata"]) == ("kept", "kept", "n/a")
    assert "suitable: every promise was kept" in shown or "suitable: every promise that events depend on" in shown
    assert shown.index("about") < shown.index("create race") < shown.index("suitable: ")


def test_for_a_program(cli: Commands, shop: str) -> None:
    """The plan, an object for each check, the report."""
    plan, *checks, report = cli.json("doctor", shop, *FEW, "--seconds", 90)
    assert (plan["object"], plan["url"], plan["seconds"]) == ("plan", shop, 90)
    assert all(check["object"] == "check" for check in checks)
    race = checks[0]
    assert (race["check"], race["verdict"], race["essential"]) == ("create race", "kept", True)
    assert race["figures"]["rounds"] == 3
    assert report["object"] == "report"
    assert report["suitable"] is True
    assert report["requests"] == pytest.approx(plan["requests"], rel=0.1)


def test_a_narrow_terminal(cli: Commands, shop: str, as_terminal: Callable[[int], None]) -> None:
    """What was seen goes on below itself, whole."""
    as_terminal(60)
    shown = click.unstyle(cli("doctor", shop, *FEW).stdout)
    assert max(map(len, shown.splitlines())) <= 60
    assert re.search(r"^list pages +kept +40 keys, in order: whole, in\n {28}\S", shown, flags=re.MULTILINE)


@pytest.fixture
def forgetful(ministack: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[Proxy], str]:
    """Makes commands go through a proxy to an S3 server; the URL of a place there."""

    def lead(proxy: Proxy) -> str:
        for name, value in ministack.environment(proxy.address).items():
            monkeypatch.setenv(name, value)
        return ministack.url(f"{ministack.fresh_bucket()}/shop")

    return lead


def test_an_unsuitable_storage(cli: Commands, ministack: Server, forgetful: Callable[[Proxy], str]) -> None:
    """Exit code 8, and what is broken; `init` makes no store there, says why, and names this command."""
    with Forgetful(ministack.address, "If-Match") as proxy:
        url = forgetful(proxy)
        shown = cli("doctor", url, *FEW, code=8).stdout
        refusal = cli.error("init", url, code=8)
    found = rows(shown)
    assert {name for name, verdict in found.items() if verdict == "broken"} == {
        "swap race",
        "stale swap",
        "swap of nothing",
    }
    assert "unsuitable: events would be lost here, use another storage: swap race, stale swap, swap of nothing" in shown
    assert "it swaps an object by a stale etag (If-Match is ignored)" in shown
    assert "it swaps an object by a stale etag (If-Match is ignored)" in refusal
    assert "`headstream doctor`" in refusal


def test_an_unsuitable_storage_for_a_program(
    cli: Commands, ministack: Server, forgetful: Callable[[Proxy], str]
) -> None:
    """The same exit code, and the report says it too."""
    with Forgetful(ministack.address, "If-None-Match") as proxy:
        shown = cli("doctor", forgetful(proxy), *FEW, "--json", code=8).stdout
    report = json.loads(shown.splitlines()[-1])
    assert (report["verdict"], report["suitable"]) == ("broken", False)


def test_an_undecided_storage(cli: Commands, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 5: the time was over before everything was tried."""
    late = SimpleNamespace(monotonic=lambda: 1e9)
    monkeypatch.setattr(bench, "time", late)
    shown = cli("doctor", shop, *FEW, code=5).stdout
    assert "undecided: not everything could be tried: create race, swap race" in shown
    assert "allow more seconds" in shown


def test_a_server_that_is_not_there(cli: Commands) -> None:
    """Exit code 5, and no table."""
    options = (
        f"endpoint=http://127.0.0.1:{free_port()}",
        'retry_config={"max_retries": 0}',
        'client_options={"allow_http": true}',
        "region=us-east-1",
        "access_key_id=a",
        "secret_access_key=b",
    )
    given = [part for option in options for part in ("--option", option)]
    assert "did not answer" in cli.error("doctor", "s3://events/shop", *given, code=5)
    assert cli("doctor", "s3://events/shop", *given, code=5).stdout == ""


@pytest.mark.parametrize("args", [("--rounds", 2), ("--seconds", 0), ("--seconds", 4_000)])
def test_bounds_out_of_range_are_refused(cli: Commands, shop: str, args: tuple[object, ...]) -> None:
    """As the mistake that they are."""
    assert str(args[0]) in cli("doctor", shop, *args, code=2).stderr


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """The temporary folder is gone when the command ends, with 130."""
    program = (sys.executable, "-c", "from headstream.cli import main; main()")
    args = ("doctor", str(tmp_path / "shop.db"), "--json", "--rounds", "10000")
    with subprocess.Popen([*program, *args], stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["object"] == "plan"
        assert [path.name[:19] for path in tmp_path.iterdir()] == [".headstream-doctor-"]
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(SECONDS) == 130
    assert b'"object":"report"' not in rest
    assert list(tmp_path.iterdir()) == []


def test_what_an_interrupted_examination_leaves_is_told(cli: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be deleted, by one line on stderr that says where it is."""
    open_, memory = connections(IgnoresMatchAndFailsDeletes)

    class Interrupted(Examination):
        def __init__(self, _url: str, **bounds: object) -> None:
            super().__init__(open_, **bounds)  # type: ignore[arg-type]

        def __iter__(self):
            yield next(super().__iter__())
            raise KeyboardInterrupt

    monkeypatch.setattr("headstream.cli.doctor.Examination", Interrupted)
    said = cli("doctor", "memory://", *FEW, code=130).stderr
    left = len(memory.list("probes/", "", 1000).keys)
    assert left > 0
    assert re.fullmatch(rf"headstream: {left} objects may be left under probes/[0-9a-f]{{32}}/: delete them\n", said)
