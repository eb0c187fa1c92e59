"""The doctor: storage that keeps its promises is found suitable, every broken promise is found, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from acceptance.places import ALL, REMOTE, Place, find
from headstream import Event, connect
from headstream.backends.memory import MemoryBackend
from headstream.connecting import blocking_backend, locate
from headstream.doctor import Bounds, Examination, Finding, Report, Verdict, bench, examine, places, timing
from headstream.errors import (
    AccessDenied,
    HeadstreamError,
    InvalidInput,
    StoreNotFound,
    Unavailable,
    UnsuitableBackend,
)
from headstream.protocol.ops import ABSENT, Found, Get, NotApplied, Put, Unknown
from servers.base import Server, free_port
from servers.proxy import Proxy
from support import broken
from support.broken import Faulty, Honest, connections
from support.distorting import Caching, Forgetful, Weakening

QUICK = Bounds(connections=4, rounds=6, keys=40, samples=5, body_bytes=200_000, seconds=60)
ESSENTIAL = {
    *("create race", "swap race", "second create", "stale swap", "swap of nothing", "etags", "reads", "lists"),
    *("list pages", "deletes", "large object", "conditional get"),
}
INFORMATIVE = {
    *("list of folders", "metadata", "get latency", "put latency", "list latency", "delete latency", "clock"),
}
SWAPPING = {"swap race", "stale swap", "etags", "reads", "large object", "conditional get"}
LATENCIES = {name for name in INFORMATIVE if name.endswith("latency")}
RACES = {"create race", "swap race"}


def with_verdict(report: Report, *verdicts: Verdict) -> set[str]:
    """The names of the checks that came to one of these verdicts."""
    return {finding.check for finding in report.findings if finding.verdict in verdicts}


def found(report: Report, check: str) -> Finding:
    """The finding of a check."""
    return next(finding for finding in report.findings if finding.check == check)


# --- storage that keeps its promises ---------------------------------------------------------------------------------


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place of the kind that the test asks for."""
    return find(request.param, request, tmp_path, monkeypatch.setenv)


@pytest.mark.parametrize("place", ALL, indirect=True)
def test_what_keeps_its_promises_is_suitable(place: Place) -> None:
    """Every place that headstream is tested on: each check is made, and none finds a promise broken or cannot be decided.

    SeaweedFS lists folders by their names, and lets the losers of a race wait for a second each.
    """
    keys = 1_050 if place.name in {"ministack", "gcs"} else 100  # their pages hold 1,000
    connections = 2 if place.name == "seaweedfs" else 5
    report = examine(
        place.url, bounds=Bounds(connections=connections, rounds=3, keys=keys, samples=5, body_bytes=2_000_000)
    )
    assert report.suitable
    assert {finding.check for finding in report.findings} == ESSENTIAL | INFORMATIVE
    assert with_verdict(report, Verdict.BROKEN, Verdict.UNDECIDED) == set()
    known = {"list of folders"} if place.name == "seaweedfs" else set()
    slow = LATENCIES | (RACES if place.name == "seaweedfs" else set())
    assert with_verdict(report, Verdict.WARNING) - slow == known
    has_clock = place.name in REMOTE
    keeps_metadata = has_clock or place.name == "memory"
    expected = {name for name, kept in (("clock", has_clock), ("metadata", keeps_metadata)) if not kept}
    assert with_verdict(report, Verdict.NOT_APPLICABLE) == expected
    assert report.place == place.url


@pytest.mark.parametrize("place", ["azurite", "gcs"], indirect=True)
def test_nothing_is_left_beside_a_store(place: Place) -> None:
    """A store that is there is as it was, object by object, and no other object is left in its place."""
    with place.connect() as store:
        store.append("order-1", Event("OrderPlaced"))

    def objects() -> list[tuple[str, bytes]]:
        with closing(blocking_backend(locate(place.url), create=False, options={})) as backend:
            keys = [key for folder in ("", "heads/", "probes/") for key in backend.list(folder, "", 1000).keys]
            answers = [backend.get(Get(key)) for key in keys]
            return [(key, answer.body) for key, answer in zip(keys, answers, strict=True) if isinstance(answer, Found)]

    before = objects()
    assert examine(place.url, bounds=Bounds(connections=2, rounds=3, keys=20, samples=5, body_bytes=1)).suitable
    assert before == objects()
    assert before


@pytest.mark.parametrize("name", ["shop.db", "shop/"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_disk_is_left_as_it_was(tmp_path: Path, name: str, exists: bool) -> None:
    """Whether there is a store or not: a temporary folder on the same disk is used, and removed."""
    url = str(tmp_path / name) if name.endswith(".db") else (tmp_path / name).as_uri()
    if exists:
        connect(url).close()
    before = sorted(tmp_path.rglob("*"))
    seen: list[list[Path]] = []
    report = examine(url, bounds=QUICK, on_finding=lambda _: seen.append(sorted(tmp_path.rglob("*"))))
    assert report.suitable
    assert sorted(tmp_path.rglob("*")) == before
    assert all(len(during) > len(before) for during in seen)
    inside = exists and not name.endswith(".db")
    parent = tmp_path / "shop" if inside else tmp_path
    assert any(path.name.startswith(".headstream-doctor-") for path in seen[0] if path.parent == parent)


def test_many_connections_are_opened_and_closed() -> None:
    """Each is an object of its own, in the hands of one thread at a time."""
    memory = MemoryBackend()

    class Counted(Honest):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    opened: list[Counted] = []

    def open_() -> Counted:
        connection = Counted(memory)
        opened.append(connection)
        return connection

    assert examine(open_, bounds=QUICK).suitable
    assert [connection.closed for connection in opened] == [1] * QUICK.connections


def test_the_plan_is_what_is_done() -> None:
    """Requests and bytes are told before it begins, to within a tenth."""
    for bounds in (QUICK, Bounds(), Bounds(connections=16, rounds=60, keys=300, samples=100, body_bytes=1)):
        with Examination("memory://", bounds=bounds) as examination:
            requests, transfer = examination.requests, examination.transfer
            assert examination.findings == []
            for _ in examination:
                pass
        report = examination.report()
        assert report.requests == pytest.approx(requests, rel=0.1)
        assert report.transferred == pytest.approx(transfer, rel=0.1)


# --- storage that breaks one -----------------------------------------------------------------------------------------

BROKEN: dict[type[Honest], tuple[set[str], str]] = {
    broken.IgnoresAbsent: ({"create race", "second create"}, "If-None-Match is ignored"),
    broken.IgnoresMatch: ({"swap race", "stale swap", "swap of nothing"}, "If-Match is ignored"),
    broken.SwapsNothing: ({"swap of nothing"}, "where nothing is"),
    broken.ChecksThenWrites: (RACES, "several writers won"),
    broken.RefusesAndWrites: ({*RACES, "second create", "stale swap", "swap of nothing"}, "overwrites it nevertheless"),
    broken.RefusesCreates: (ESSENTIAL - {"list pages", "deletes"}, "refuses to create an object"),
    broken.RefusesSwaps: (SWAPPING, "refuses to swap an object by its etag"),
    broken.RefusesAll: (ESSENTIAL, "refuses to write an object"),
    broken.NeverFinds: ({*RACES, "second create", *SWAPPING}, "cannot be read"),
    broken.EtagsOfSizes: ({"stale swap", "etags"}, "came back with another content"),
    broken.OtherEtagsInReads: ({"etags"}, "as a read gave it"),
    broken.SaysNotModified: ({"conditional get"}, "has changed is said to be not modified"),
    broken.CutsBodies: ({"large object"}, "came back as others"),
    broken.RemembersObjects: ({"reads"}, "9 after a swap"),
    broken.RemembersMissing: ({"reads"}, "9 after a create"),
    broken.RemembersLists: ({"lists"}, "9 after a delete"),
    broken.ListsBackwards: ({"list pages"}, "order of their bytes"),
    broken.ListsOnePage: ({"list pages"}, "25 of 40 keys are missing"),
    broken.ListsFromTheStart: ({"list pages"}, "listed twice"),
    broken.ListsEmptyPages: ({"list pages"}, "empty page"),
    broken.ListsTooMuch: ({"list pages"}, "more keys than were asked for"),
    broken.ListsBeyond: ({"list pages"}, "not asked for"),
    broken.StopsAtMissing: ({"deletes"}, "39 of 40 objects are still listed"),
    broken.Hides: ({"swap of nothing", "reads", "list pages", "deletes"}, "though they are not listed"),
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_promise_is_found(kind: type[Honest]) -> None:
    """By the checks of just that promise; the storage is unsuitable, and it is said why."""
    checks, reason = BROKEN[kind]
    open_, _ = connections(kind)
    report = examine(open_, bounds=QUICK)
    assert with_verdict(report, Verdict.BROKEN) == checks
    assert any(reason in finding.seen for finding in report.broken)
    assert (report.verdict, report.suitable) == (Verdict.BROKEN, False)


@pytest.mark.parametrize(
    ("kind", "check", "reason"),
    [
        (broken.SendsWhole, "conditional get", "costs its body"),
        (broken.DropsMetadata, "metadata", "aggregateid"),
        (broken.ListsFolders, "list of folders", "by their names"),
    ],
)
def test_what_loses_no_event_is_a_warning(kind: type[Honest], check: str, reason: str) -> None:
    """It is told, and the storage is suitable."""
    open_, _ = connections(kind)
    report = examine(open_, bounds=QUICK)
    assert {finding.check for finding in report.warnings} == {check}
    assert reason in found(report, check).seen
    assert (report.verdict, report.suitable) == (Verdict.WARNING, True)


def test_slow_storage_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the median of each kind of request."""
    monkeypatch.setattr(timing, "SLOW", 0.0)
    report = examine("memory://", bounds=QUICK)
    assert {finding.check for finding in report.warnings} == LATENCIES
    assert all(finding.seen.startswith("slow: median ") for finding in report.warnings)


def test_slow_races_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers who meet will wait."""
    monkeypatch.setattr("headstream.doctor.conditions.LONG_ROUND", 0.0)
    report = examine("memory://", bounds=QUICK)
    assert {finding.check for finding in report.warnings} == RACES


@pytest.mark.parametrize(
    ("ahead", "verdict", "text"),
    [
        (timedelta(0), Verdict.KEPT, "within"),
        (timedelta(seconds=3), Verdict.KEPT, "apart"),
        (timedelta(hours=1), Verdict.WARNING, "s behind the server's"),
        (timedelta(hours=-1), Verdict.WARNING, "s ahead of the server's"),
        (None, Verdict.NOT_APPLICABLE, "does not say"),
    ],
)
def test_the_clocks_are_compared(ahead: timedelta | None, verdict: Verdict, text: str) -> None:
    """By the time that the server gives, which may be of whole seconds."""
    memory = MemoryBackend()

    def modified(_key: str) -> datetime | None:
        return None if ahead is None else (datetime.now(UTC) + ahead).replace(microsecond=0)

    examined = bench.Bench(places.Place("here", lambda: memory, modified), QUICK, "probes/clock")
    seen = timing.clock(examined)
    examined.close()
    assert seen.verdict == verdict
    assert text in seen.text


def test_a_clock_needs_an_object() -> None:
    """Whose time of writing can be asked for."""
    open_, _ = connections(broken.RefusesCreates)
    examined = bench.Bench(places.Place("here", open_, lambda _key: None), QUICK, "probes/clock")
    assert timing.clock(examined).verdict == Verdict.BROKEN
    examined.close()


def test_a_server_that_does_not_tell_the_time() -> None:
    """Nothing is wrong with that, nor with the examination."""
    address, anonymous = f"http://127.0.0.1:{free_port()}", {"access_key_id": "a", "secret_access_key": "s"}
    http, once = {"allow_http": True}, {"max_retries": 0}
    options = {"endpoint": address, "region": "r", **anonymous, "client_options": http, "retry_config": once}
    with places.opened("s3://events/shop", options) as place:
        assert place.modified is not None
        assert place.modified("probes/clock") is None


# --- servers that break one ------------------------------------------------------------------------------------------


@pytest.fixture
def before(ministack: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[Proxy], str]:
    """Makes clients go through a proxy to an S3 server; the URL of a store there."""

    def lead(proxy: Proxy) -> str:
        for name, value in ministack.environment(proxy.address).items():
            monkeypatch.setenv(name, value)
        return ministack.url(f"{ministack.fresh_bucket()}/shop")

    return lead


@pytest.mark.parametrize(
    ("header", "checks"),
    [("If-None-Match", {"create race", "second create"}), ("If-Match", {"swap race", "stale swap", "swap of nothing"})],
)
def test_a_server_that_ignores_a_condition(
    ministack: Server, before: Callable[[Proxy], str], header: str, checks: set[str]
) -> None:
    """Is found out, and no store is made on it: the refusal says why, and how to learn more."""
    with Forgetful(ministack.address, header) as proxy:
        url = before(proxy)
        report = examine(url, bounds=QUICK)
        with pytest.raises(UnsuitableBackend, match=rf"\({header} is ignored\).*`headstream doctor`"):
            connect(url)
    assert with_verdict(report, Verdict.BROKEN) == checks
    assert found(report, "list pages").verdict == Verdict.KEPT


def test_a_server_with_weak_etags(ministack: Server, before: Callable[[Proxy], str]) -> None:
    """Refuses each swap, for weak etags match nothing."""
    with Weakening(ministack.address) as proxy:
        report = examine(before(proxy), bounds=QUICK)
    assert with_verdict(report, Verdict.BROKEN) == SWAPPING


def test_a_server_behind_a_cache_of_lists(ministack: Server, before: Callable[[Proxy], str]) -> None:
    """Hides events from the feed."""
    with Caching(ministack.address) as proxy:
        report = examine(before(proxy), bounds=QUICK)
    assert with_verdict(report, Verdict.BROKEN) == {"lists"}


def test_no_store_is_made_where_deletes_fail_too() -> None:
    """The reason that no later try mends is the one that is given."""
    open_, _ = connections(broken.IgnoresMatchAndFailsDeletes)
    with pytest.raises(UnsuitableBackend, match="If-Match is ignored"):
        connect(open_())


# --- faults ----------------------------------------------------------------------------------------------------------


def faulty(fault: Callable[[str, int], BaseException | None]) -> tuple[Callable[[], Faulty], MemoryBackend]:
    """Connections that meet these faults, and their memory."""
    return connections(lambda inner: Faulty(inner, fault))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that is begun anew begins at once."""
    monkeypatch.setattr("headstream.doctor.examination.PAUSE", 0)


@pytest.mark.parametrize("kind", ["get", "commit", "committed", "delete", "list"])
def test_a_fault_now_and_then_proves_nothing(kind: str) -> None:
    """A check that is disturbed is made again; lost answers of racing writers, some of whom won, are no second winners."""
    open_, memory = faulty(lambda met, number: Unknown("lost") if met == kind and number % 40 == 7 else None)
    report = examine(open_, bounds=Bounds(connections=4, rounds=6, keys=20, samples=5, body_bytes=1_000))
    assert with_verdict(report, Verdict.BROKEN, Verdict.UNDECIDED) == set()
    assert memory.list("", "", 1).keys == ()


def test_what_never_answers_is_unavailable() -> None:
    """Nothing was found out, so there is no report; nor an attempt to clean up."""
    met: list[str] = []

    def fail(kind: str, _number: int) -> Exception:
        met.append(kind)
        return NotApplied("no connection")

    open_, _ = faulty(fail)
    with pytest.raises(Unavailable, match="try again later"):
        examine(open_, bounds=QUICK)
    assert met == ["list"]


def test_what_takes_no_writes_is_unavailable() -> None:
    """If the first check gets no answer in several attempts."""
    open_, memory = faulty(lambda kind, _: Unknown("lost") if kind == "committed" else None)
    with pytest.raises(Unavailable, match="try again later"):
        examine(open_, bounds=QUICK)
    assert memory.list("", "", 1).keys == ()


def test_a_kind_of_request_that_always_fails_leaves_its_checks_undecided() -> None:
    """Neither suitable nor broken, and what cannot be removed is told."""
    open_, memory = faulty(lambda kind, _: Unknown("not implemented") if kind == "delete" else None)
    with Examination(open_, bounds=QUICK) as examination:
        for _ in examination:
            pass
    report = examination.report()
    left = len(memory.list(f"{examination.prefix}/", "", 10_000).keys)
    assert with_verdict(report, Verdict.UNDECIDED) == {"swap of nothing", "reads", "lists", "deletes", "delete latency"}
    assert (report.verdict, report.suitable, report.broken) == (Verdict.UNDECIDED, False, ())
    assert examination.left == left > 0
    assert f"{left} objects may be left under {examination.prefix}/" in found(report, "scratch").seen


def test_a_request_that_is_rejected_breaks_a_promise() -> None:
    """One that no later try mends, of an error that is not about the caller."""
    open_, _ = faulty(lambda kind, number: HeadstreamError("rejected") if (kind, number) == ("get", 1) else None)
    report = examine(open_, bounds=QUICK)
    assert (found(report, "create race").verdict, found(report, "create race").seen) == (Verdict.BROKEN, "rejected")


@pytest.mark.parametrize("error", [AccessDenied("no"), StoreNotFound("no"), ZeroDivisionError()])
@pytest.mark.parametrize("number", [1, 20])
def test_an_error_ends_the_examination(error: Exception, number: int) -> None:
    """One that speaks of the caller, or a bug; what was written is removed."""
    open_, memory = faulty(lambda kind, met: error if (kind, met) == ("get", number) else None)
    with pytest.raises(type(error)):
        examine(open_, bounds=QUICK)
    assert memory.list("", "", 1).keys == ()


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bound",
    [{"connections": 1}, {"rounds": 2}, {"keys": 0}, {"samples": 4}, {"body_bytes": 2**30}, {"seconds": 4.5}],
    ids=str,
)
def test_bounds_are_checked(bound: dict[str, Any]) -> None:
    """A number that is out of range is named, with its range."""
    ((name, value),) = bound.items()
    with pytest.raises(InvalidInput, match=f"^{name} is a whole number from") as caught:
        Bounds(**bound)
    assert caught.value.details == {name: value}


def clock_that_runs(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Each look at the clock takes so many seconds."""
    ticks = count(step=step)
    monkeypatch.setattr(bench, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    monkeypatch.setattr(
        "headstream.doctor.examination.time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: None)
    )


def test_slow_storage_gets_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit into the check's share of the time; three at least."""
    clock_that_runs(monkeypatch, 0.05)
    report = examine(
        "memory://", bounds=Bounds(connections=4, rounds=500, keys=20, samples=5, body_bytes=1, seconds=60)
    )
    assert 3 <= found(report, "create race").figures["rounds"] < 100
    assert found(report, "create race").verdict == Verdict.KEPT


def test_no_request_begins_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks that are left are undecided, and so is the whole; what was written is removed nevertheless."""
    clock_that_runs(monkeypatch, 0.5)
    memory = MemoryBackend()
    report = examine(
        lambda: memory, bounds=Bounds(connections=4, rounds=6, keys=20, samples=5, body_bytes=1, seconds=30)
    )
    undecided = with_verdict(report, Verdict.UNDECIDED)
    assert found(report, "create race").verdict == Verdict.KEPT
    assert {"reads", "large object", "metadata"} <= undecided
    assert "allow more seconds" in found(report, "reads").seen
    assert report.verdict == Verdict.UNDECIDED
    assert report.requests < 200
    assert memory.list("", "", 1).keys == ()


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Sends Ctrl-C to the main thread, from whatever thread."""
    main = threading.main_thread().ident
    assert main is not None
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.pthread_kill(main, signal.SIGINT)
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("number", [2, 9, 60])
def test_ctrl_c_leaves_nothing(interrupt: Callable[[], None], number: int) -> None:
    """In the middle of a race: no other request is begun, but those that remove what was written."""
    asked = count(1)

    def at(kind: str, _number: int) -> None:
        if kind == "committed" and next(asked) == number:
            interrupt()

    open_, memory = faulty(at)
    examination = Examination(open_, bounds=QUICK)
    with pytest.raises(KeyboardInterrupt), examination:
        for _ in examination:
            pass
    assert (memory.list("", "", 1).keys, examination.left) == ((), 0)
    assert next(asked) < number + 2 * QUICK.connections


def test_whoever_stops_early_leaves_nothing() -> None:
    """Leaving the block is enough; the report has what was found so far."""
    memory = MemoryBackend()
    with Examination(lambda: memory, bounds=QUICK) as examination:
        assert next(iter(examination)).check == "create race"
        assert memory.list("", "", 1).keys == ()
        memory.commit((), Put("heads/other", b"of the store", ABSENT))
    assert memory.list("", "", 10).keys == ("heads/other",)
    assert [finding.check for finding in examination.report().findings] == ["create race"]


# --- what it is given ------------------------------------------------------------------------------------------------


def test_a_path_is_a_place(tmp_path: Path) -> None:
    """As it is for connect."""
    with Examination(tmp_path / "shop.db", bounds=QUICK) as examination:
        assert next(iter(examination)).verdict is Verdict.KEPT
    with pytest.raises(InvalidInput, match="no store can be there"):
        examine(tmp_path / "shop", bounds=QUICK)


def test_a_url_that_names_nothing_is_refused(tmp_path: Path) -> None:
    """As everywhere; and a folder for a file must exist."""
    with pytest.raises(InvalidInput, match="no store can be there"):
        examine("shop")
    with pytest.raises(StoreNotFound, match="create it, or correct the path"):
        examine(str(tmp_path / "no" / "shop.db"))
    with pytest.raises(InvalidInput, match="takes no options"):
        examine(MemoryBackend, endpoint="x")
    with pytest.raises(InvalidInput, match="takes no options"):
        examine(str(tmp_path / "shop.db"), endpoint="x")


def test_a_bucket_must_exist(ministack: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not made."""
    for name, value in ministack.environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreNotFound, match="headstream init s3://no-such-bucket"):
        examine("s3://no-such-bucket/shop", bounds=QUICK)


@pytest.mark.parametrize(("number", "error"), [(errno.EACCES, AccessDenied), (errno.ENOSPC, Unavailable)])
def test_a_disk_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[HeadstreamError]
) -> None:
    """Is told as backends tell it."""

    def refuse(**_options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(error):
        examine(str(tmp_path / "shop.db"))


def test_an_examination_begins_with_its_block() -> None:
    """Before it there is nothing to iterate, and nothing to report."""
    examination = Examination("memory://")
    assert examination.left == 0
    for use in (examination.report, lambda: next(iter(examination))):
        with pytest.raises(InvalidInput, match="`with` statement"):
            use()


def test_a_report_names_what_was_examined() -> None:
    """A factory by its name."""
    assert examine(MemoryBackend, bounds=Bounds(connections=2)).place == "MemoryBackend"


# --- many verdicts are one -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("essential", "informative", "verdict"),
    [
        ([Verdict.KEPT], [Verdict.NOT_APPLICABLE], Verdict.KEPT),
        ([Verdict.KEPT], [Verdict.WARNING], Verdict.WARNING),
        ([Verdict.WARNING], [], Verdict.WARNING),
        ([Verdict.KEPT], [Verdict.UNDECIDED], Verdict.WARNING),
        ([Verdict.UNDECIDED, Verdict.KEPT], [Verdict.WARNING], Verdict.UNDECIDED),
        ([Verdict.UNDECIDED, Verdict.BROKEN], [], Verdict.BROKEN),
        ([], [Verdict.KEPT], Verdict.UNDECIDED),
    ],
)
def test_the_verdict_is_the_worst_that_matters(
    essential: list[Verdict], informative: list[Verdict], verdict: Verdict
) -> None:
    """What no event depends on cannot make a storage unsuitable; what was not tried cannot make it suitable."""
    findings = [Finding(check="c", verdict=one, seen="s", essential=True) for one in essential]
    findings += [Finding(check="c", verdict=one, seen="s", essential=False) for one in informative]
    report = Report(place="p", findings=tuple(findings), requests=1, transferred=1, seconds=1.0)
    assert report.verdict == verdict
    assert report.suitable == (verdict in {Verdict.KEPT, Verdict.WARNING})


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.5, "1.50 s"), (0.25, "250 ms"), (0.0123, "12.3 ms"), (0.00042, "0.42 ms")]
)
def test_times_are_readable(seconds: float, text: str) -> None:
    """In a unit that suits them."""
    assert timing.shown(seconds) == text
