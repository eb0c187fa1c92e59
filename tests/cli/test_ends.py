"""How the command ends when its surroundings fail: streams that are closed or full, signals. Real processes, several at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest

from headstream import Event, connect
from headstream.cli.app import program

HEADSTREAM = (sys.executable, "-c", "from headstream.cli import main; main()")
SECONDS = 120
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and closed streams are others there")


def environment(**changes: str) -> Mapping[str, str]:
    """Without what would change the output."""
    hidden = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS", "PYTHONIOENCODING", "PYTHONUTF8")
    return {name: value for name, value in os.environ.items() if name not in hidden} | changes


def shell(redirection: str) -> list[str]:
    """The beginning of a command line whose streams are redirected as a shell does it."""
    return ["sh", "-c", f'exec "$@" {redirection}', "sh", *HEADSTREAM]


@pytest.fixture
def used(shop: str) -> str:
    """A store that every command has something to say about."""
    with connect(shop) as store:
        store.append("s", Event("T", {"text": "ü" * 100}))
        with store.subscribe(checkpoint="w", follow=False) as subscription:
            list(subscription)
    return shop


def commands(url: str) -> dict[str, Sequence[str]]:
    """A command line of each command, which writes to stdout."""
    return {
        "demo": ("demo",),
        "init": ("init", url),
        "append": ("append", url, "s", "T"),
        "read": ("read", url, "s", "--json"),
        "streams": ("streams", url),
        "head": ("head", url, "s"),
        "feed": ("feed", url),
        "checkpoints": ("checkpoints", url),
        "advance": ("advance", url, "--json"),
        "doctor": ("doctor", url),
        "verify": ("verify", url),
        "gc": ("gc", url),
    }


def test_no_command_is_forgotten() -> None:
    """Here."""
    assert set(commands("")) == set(program.commands)


def end_of(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Its exit code, and what it said on stderr."""
    _, said = process.communicate(timeout=SECONDS)
    return process.returncode, said.decode()


def versions(url: str) -> int:
    """How many events the stream has; everything about it is whole."""
    with connect(url, create=False) as store:
        return len(list(store.read("s")))


@pytest.mark.parametrize(
    ("redirection", "code", "reason"),
    [
        ("> /dev/full", 9, "No space left on device"),
        (">&-", 9, "Bad file descriptor"),
        ("| true", 141, None),
    ],
)
def test_output_that_cannot_be_written(used: str, redirection: str, code: int, reason: str | None) -> None:
    """One line and a code, from every command, for its help and for the version; what was appended is there."""
    if redirection == "| true":
        reading, writing = os.pipe()
        os.close(reading)
        begin, stdout = list(HEADSTREAM), writing
    else:
        begin, stdout = shell(redirection), subprocess.DEVNULL
    lines = {**commands(used), "help": ("--help",), "help of a command": ("read", "--help"), "version": ("--version",)}
    if redirection != "> /dev/full":  # every command writes in the same way
        lines = {name: line for name, line in lines.items() if name in {"append", "read", "feed", "help", "version"}}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(
                subprocess.Popen([*begin, *line], stdout=stdout, stderr=subprocess.PIPE, env=environment())
            )
            for name, line in lines.items()
        }
        if reason is None:
            os.close(stdout)
        for name, process in running.items():
            ended, said = end_of(process)
            assert ended == code, (name, said)
            if reason is None:
                assert said == "", name
            else:
                told = json.loads(said)["message"] if "--json" in lines[name] else said
                assert told.strip().endswith(f"the output cannot be written: {reason}"), (name, said)
                assert said.count("\n") == 1, name
    assert versions(used) == 2


def test_closed_streams(used: str, tmp_path: Path) -> None:
    """Stdin that cannot be read is wrong input; without stderr the exit code says it; no file of a store takes their place."""
    cases: list[tuple[str, tuple[str, ...], int, bytes, bytes]] = [
        ("<&-", ("append", used, "s", "T", "-"), 2, b"", b"headstream: stdin cannot be read: Bad file descriptor\n"),
        ("<&-", ("append", used, "s", "--from", "-"), 2, b"", b"headstream: line 1: the input cannot be read: "),
        ("<&-", ("streams", used), 0, b"s\n", b""),
        ("2>&-", ("read", str(tmp_path / "no.db"), "s"), 6, b"", b""),
        ("2>&-", ("--verbose", "--stats", "streams", used), 0, b"s\n", b""),
        ("2>&-", ("read", used), 2, b"", b""),
        ("<&- >&- 2>&-", ("-v", "append", used, "s", "T"), 9, b"", b""),
        ("2> /dev/full", ("-v", "streams", used), 0, b"s\n", b""),
        ("2> /dev/full", ("read", str(tmp_path / "no.db"), "s"), 6, b"", b""),
    ]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [*shell(redirection), *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
                )
            )
            for redirection, line, *_ in cases
        ]
        for process, (redirection, line, code, output, said) in zip(running, cases, strict=True):
            stdout, stderr = process.communicate(timeout=SECONDS)
            assert (process.returncode, stdout) == (code, output), (redirection, line, stderr)
            assert stderr.startswith(said), (redirection, line)
            assert b"Traceback" not in stderr
    assert versions(used) == 2


# --- signals -----------------------------------------------------------------------------------------------------------


class Hole:
    """A server that takes requests and does not answer."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self._wanted = 0
        self._enough = Flag()
        Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def await_requests(self, count: int) -> None:
        """Return when so many have come."""
        self._wanted = count
        assert len(self._taken) >= count or self._enough.wait(SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                taken, _ = self._socket.accept()
            except OSError:
                return
            if taken.recv(1):
                self._taken.append(taken)
            if self._wanted and len(self._taken) >= self._wanted:
                self._enough.set()

    def close(self) -> None:
        """Let all of them go."""
        for taken in (*self._taken, self._socket):
            taken.close()


@pytest.fixture
def hole() -> Iterator[Hole]:
    """Closed at the end."""
    hole = Hole()
    yield hole
    hole.close()


@pytest.mark.parametrize(("number", "code", "again"), [(signal.SIGTERM, 143, False), (signal.SIGINT, 130, True)])
def test_signals_end_a_request_that_hangs(hole: Hole, number: int, code: int, *, again: bool) -> None:
    """Of every command: after a moment, or at the second signal; in a line at most, without a traceback."""
    variables = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": hole.address,
        "AWS_ALLOW_HTTP": "true",
    }
    lines = dict(commands("s3://bucket/store"))
    lines["demo"] = ("demo", "--url", "s3://bucket/store")
    if again:
        lines = {name: lines[name] for name in ("append", "feed", "doctor")}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(
                subprocess.Popen(
                    [*HEADSTREAM, *line],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=environment(**variables),
                )
            )
            for name, line in lines.items()
        }
        try:
            hole.await_requests(len(lines))
            for process in running.values():
                process.send_signal(number)
            until(lambda: not [process for process in running.values() if again and pressed(process, number)])
            for name, process in running.items():
                ended, said = end_of(process)
                # The system ends a process whose interpreter is gone by the second signal: 130 to a shell, too.
                assert ended == code or (again and ended == -number), (name, said)
                assert said.count("\n") <= 1, (name, said)
                assert "Traceback" not in said
        finally:
            for process in running.values():
                process.kill()


def pressed(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether the process still runs; it gets the signal once more then."""
    if process.poll() is not None:
        return False
    process.send_signal(number)
    return True


def blocked(url: str, *line: str) -> subprocess.Popen[bytes]:
    """A command that waits: for somebody to read more of its output than the first line."""
    process = subprocess.Popen(
        [*HEADSTREAM, *line, url, "s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_in_the_middle_of_output(shop: str, number: int, code: int) -> None:
    """Whole lines were written, if it was for programs."""
    with connect(shop) as store:
        store.append("s", [Event("T", {"text": "x" * 500}) for _ in range(2000)])
    with blocked(shop, "read", "--json") as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stderr is not None
        rest = process.stdout.read()
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) == code
    assert all(json.loads(line) for line in rest.splitlines())


def test_sigterm_in_an_import_says_where_it_stopped(shop: str) -> None:
    """As Ctrl-C does, with a code of its own, and for programs."""
    with subprocess.Popen(
        [*HEADSTREAM, "append", shop, "s", "--from", "-", "--batch", "1", "--json"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b'{"type": "T"}\n' * 3)
        process.stdin.flush()
        until(lambda: versions(shop) == 2)
        process.send_signal(signal.SIGTERM)
        told = json.loads(process.stderr.read())
        assert process.wait(SECONDS) == 143
    assert told["exit_code"] == 143
    assert told["message"].startswith("interrupted; ")
    assert "go on with --skip " in told["message"]


def test_sigterm_leaves_nothing_of_an_examination(tmp_path: Path) -> None:
    """What it makes for a moment it takes back."""
    with subprocess.Popen(
        [*HEADSTREAM, "doctor", (tmp_path / "store").as_uri(), "--rounds", "1000", "--seconds", "600"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        for _ in range(6):
            process.stdout.readline()
        assert list(tmp_path.iterdir()) != []
        process.send_signal(signal.SIGTERM)
        code, said = end_of(process)
    assert (code, said) == (143, "")
    assert list(tmp_path.iterdir()) == []


def until(holds: Callable[[], bool]) -> None:
    """Return when it does: the store is all that two processes share."""
    for _ in range(SECONDS * 50):
        if holds():
            return
        Flag().wait(0.02)
    pytest.fail("it does not become so")
