"""Errors, exit codes, options: what all commands have in common."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import headstream
from headstream import EventStore
from headstream.backends.sqlite import SqliteBackend
from headstream.cli import common
from headstream.cli.app import program
from headstream.cli.failures import ExitCode, code_of
from headstream.errors import (
    AccessDenied,
    CheckpointLost,
    CorruptData,
    FeedChanged,
    HeadstreamError,
    InvalidInput,
    KeyReused,
    NotPublished,
    OutcomeUnknown,
    ProjectionStopped,
    RequestRejected,
    StoreNotFound,
    Unavailable,
    UnsuitableBackend,
    UnsupportedFormat,
    WrongExpectedVersion,
)
from headstream.protocol.ops import NotApplied
from support.commands import Commands

ERRORS = [
    (InvalidInput("m"), 2),
    (WrongExpectedVersion("m"), 3),
    (OutcomeUnknown("m"), 4),
    (Unavailable("m"), 5),
    (StoreNotFound("m"), 6),
    (AccessDenied("m"), 6),
    (CorruptData("m"), 7),
    (UnsupportedFormat("m"), 7),
    (UnsuitableBackend("m"), 8),
    (CheckpointLost("m"), 10),
    (NotPublished("m"), 11),
    (ProjectionStopped("m"), 12),
    (KeyReused("m"), 13),
    (RequestRejected("m"), 15),
    (FeedChanged("m"), 14),
    (HeadstreamError("m"), 2),
]


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every connection raise ``error``."""

    def connect(*_args: Any, **_kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(common, "connect", connect)


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_every_error_has_its_exit_code_and_one_line(
    cli: Commands, monkeypatch: pytest.MonkeyPatch, error: HeadstreamError, code: int
) -> None:
    """On stderr; stdout stays empty."""
    fail(monkeypatch, error)
    assert cli.error("streams", "shop.db", code=code) == str(error)
    assert cli("streams", "shop.db", code=code).stdout == ""


def test_no_error_of_the_library_is_without_an_exit_code() -> None:
    """A new one must be given a code."""
    kinds = HeadstreamError.__subclasses__()
    assert {type(error) for error, _ in ERRORS} == {HeadstreamError, *kinds}
    assert all(code_of(kind("m")) not in {ExitCode.DONE, ExitCode.BUG} for kind in kinds)


def test_a_message_stays_on_its_line(cli: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control characters in it are shown, not obeyed."""
    fail(monkeypatch, InvalidInput("a\nb\x1b[31m"))
    assert cli.error("streams", "shop.db", code=2) == r"a\nb\x1b[31m"


def test_ctrl_c_is_quiet(cli: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """130, as shells have it, and not a word."""
    fail(monkeypatch, KeyboardInterrupt())
    shown = cli("streams", "shop.db", code=130)
    assert shown.output == ""


def test_a_bug_has_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expects is not hidden."""
    fail(monkeypatch, ZeroDivisionError())
    result = CliRunner().invoke(program, ["streams", "shop.db"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_file_that_is_no_store_is_refused(cli: Commands, tmp_path: Any) -> None:
    """In the words of the library."""
    (tmp_path / "text.db").write_text("not a database" * 100)
    assert "not a SQLite database" in cli.error("streams", tmp_path / "text.db", code=2)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=b", "b"), ("a=", ""), ("a=b=c", "b=c"), ("a=007", "007"), ('a={"x": [1]}', {"x": [1]}), ("a=true", "true")],
)
def test_options_reach_the_storage_client(
    cli: Commands, monkeypatch: pytest.MonkeyPatch, text: str, value: object
) -> None:
    """As text, or as an object if they are in braces; more than once."""
    given: dict[str, Any] = {}

    def connect(url: str, **options: Any) -> Any:
        given.update(options, url=url)
        return headstream.connect("memory://")

    monkeypatch.setattr(common, "connect", connect)
    cli("streams", "s3://bucket", "--option", text, "--option", "c=d")
    assert given == {"url": "s3://bucket", "create": False, "a": value, "c": "d"}


@pytest.mark.parametrize(
    "text",
    ["secret", "=secret", 'a={"secret"', "create=secret", "url=secret", "feed=secret", "grace_seconds=secret"],
)
def test_the_value_of_an_option_is_never_shown(cli: Commands, text: str) -> None:
    """Not even when it is wrong."""
    shown = cli("streams", "s3://bucket", "--option", text, code=2)
    assert "secret" not in shown.output
    assert "--option" in shown.stderr


def test_a_refused_option_of_a_client_is_named_without_its_value(cli: Commands) -> None:
    """By the library too."""
    assert "secret" not in cli.error("streams", "s3://bucket", "--option", "foo=secret", code=2)
    assert "secret" not in cli.error("streams", "shop.db", "--option", "foo=secret", code=2)


def test_the_version_is_that_of_the_package(cli: Commands) -> None:
    """In the form that scripts can take apart."""
    assert cli("--version").stdout == f"headstream {headstream.__version__}\n"


def test_commands_are_listed_in_the_order_of_learning(cli: Commands) -> None:
    """Not in that of the alphabet."""
    shown = cli("--help").stdout
    places = [shown.index(f"│ {name} ") for name in program.commands]
    assert list(program.commands)[:4] == ["demo", "init", "append", "read"]
    assert places == sorted(places)


def test_a_stream_that_vanishes_while_it_is_listed_is_left_out(
    cli: Commands, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long list asks for each head after its name was listed."""
    cli("append", shop, "s", "T")
    monkeypatch.setattr(EventStore, "read", lambda *_args, **_options: ())
    assert cli.json("streams", shop, "--long") == []
    assert len(cli("streams", shop, "--long").stdout.splitlines()) == 1


# --- with --json -----------------------------------------------------------------------------------------------------


def failure(cli: Commands, *args: object, code: int, stdin: bytes | str | None = None) -> dict[str, Any]:
    """The object on stderr with which ``headstream ARGS --json`` ends."""
    result = cli(*args, "--json", code=code, stdin=stdin)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    found: dict[str, Any] = msgspec.json.decode(line)
    assert found["exit_code"] == code
    return found


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_with_json_every_error_is_an_object(
    cli: Commands, monkeypatch: pytest.MonkeyPatch, error: HeadstreamError, code: int
) -> None:
    """Class, message, details and exit code."""
    error.details["key"] = "heads/\x1b"
    fail(monkeypatch, error)
    found = failure(cli, "streams", "shop.db", code=code)
    expected = {"error": type(error).__name__, "message": "m", "details": error.details, "exit_code": code}
    assert found == msgspec.json.decode(msgspec.json.encode(expected))


def test_with_json_other_ends_are_objects_too(cli: Commands, shop: str) -> None:
    """Wrong usage, a stream that is not there, an import that stops."""
    assert failure(cli, "read", shop, code=2)["error"] == "MissingParameter"
    assert failure(cli, "raed", shop, code=2)["error"] == "NoSuchCommand"
    assert failure(cli, "read", shop, "s", "--limit", "x", code=2)["error"] == "BadParameter"
    found = failure(cli, "head", shop, "nothing", code=6)
    assert (found["error"], found["details"]) == ("Stopped", {})
    assert "does not exist" in found["message"]
    found = failure(cli, "append", shop, "s", "--from", "-", code=2, stdin=b"{")
    assert found["error"] == "InvalidInput"
    assert found["message"].startswith("line 1: it is no event")
    found = failure(cli, "append", shop, "s", "T", "--expected", "7", code=3)
    assert found["details"] == {"stream": "s", "expected": 7, "actual": 0}
    found = failure(cli, "read", shop, "s", "--limi\udcff", code=2)
    assert (found["error"], found["exit_code"]) == ("NoSuchOption", 2)
    assert "\x9b" not in cli("read", shop, "s", "--json", "--x\x9b", code=2).stderr
    assert cli("read", shop, "--", "--json", code=0).stderr == "the stream '--json' has no events\n"


def test_an_option_in_the_wrong_place_is_told_the_right_one(cli: Commands, shop: str) -> None:
    """Those of the program stand before the command."""
    for option in ("--stats", "--verbose", "-v"):
        assert f"{option} stands before the command" in cli("read", shop, "s", option, code=2).stderr


# --- --verbose -------------------------------------------------------------------------------------------------------


def test_verbose_shows_requests_and_retries(cli: Commands, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr; the output stays what it is, and nothing of an event is shown."""
    cli("append", shop, "s", "T", '{"password": "sesame"}')
    quiet = cli("read", shop, "s")
    shown = cli("--verbose", "read", shop, "s")
    assert shown.stdout == quiet.stdout
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3}  requests  get store\.json: \d+ bytes\n"
        r"\d\d:\d\d:\d\d\.\d{3}  requests  get heads/s: \d+ bytes\n",
        shown.stderr,
    )
    assert cli("read", shop, "s").stderr == ""
    faults = [NotApplied("busy\x1b"), NotApplied("busy")]
    commit = SqliteBackend.commit

    def failing(*args: Any) -> Any:
        if faults:
            raise faults.pop()
        return commit(*args)

    monkeypatch.setattr(SqliteBackend, "commit", failing)
    monkeypatch.setattr("headstream.drivers.sync.time.sleep", lambda _seconds: None)
    told = cli("-v", "append", shop, "s", "T", '"sesame"').stderr
    assert r"put heads/s failed: NotApplied: busy\x1b" in told
    assert "trying again, after a pause" in told
    assert "sesame" not in told


def test_verbose_is_json_where_the_output_is(cli: Commands, shop: str) -> None:
    """An object a line, and the error after them."""
    lines = cli("-v", "append", shop, "s", "T", "--expected", "7", "--json", code=3).stderr.splitlines()
    *logged, last = [msgspec.json.decode(line) for line in lines]
    assert {"log": "requests", "level": "DEBUG", "message": "get heads/s: missing"} in logged
    assert all(set(line) == {"log", "level", "message"} for line in logged)
    assert last["error"] == "WrongExpectedVersion"
