"""The command in a process of its own: pipes, signals, locales."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from headstream import Checkpoint, Event, connect

HEADSTREAM = (sys.executable, "-c", "from headstream.cli import main; main()")
SECONDS = 60


def environment(**changes: str) -> Mapping[str, str]:
    """Without what would change the output."""
    hidden = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS", "PYTHONIOENCODING", "PYTHONUTF8")
    return {name: value for name, value in os.environ.items() if name not in hidden} | changes


def run(*args: str, **changes: str) -> subprocess.CompletedProcess[bytes]:
    """``headstream ARGS`` with pipes for its output."""
    return subprocess.run(
        [*HEADSTREAM, *args], capture_output=True, env=environment(**changes), timeout=SECONDS, check=False
    )


@pytest.fixture
def wide(shop: str) -> str:
    """A store whose stream ``s`` is more than a pipe holds."""
    with connect(shop) as store:
        store.append("s", [Event("Ünit", {"text": "ü" * 500}) for _ in range(2000)])
    return shop


def test_an_error_is_one_line_and_a_code() -> None:
    """And no traceback."""
    done = run("streams", "/nowhere/shop.db")
    assert done.returncode == 6
    assert done.stdout == b""
    assert re.fullmatch(rb"headstream: [^\n]+\n", done.stderr)


def test_a_pipe_gets_plain_text(tmp_path: Path) -> None:
    """No colour codes, from any command."""
    url = str(tmp_path / "demo.db")
    for args in (
        ("demo", "--keep", url),
        ("read", url, "order-1"),
        ("head", url, "sensor-7"),
        ("streams", url, "-l"),
        ("init", url),
        ("append", url, "s", "T"),
        ("append", "--help"),
        ("feed", url),
        ("advance", url),
        ("checkpoints", url),
    ):
        done = run(*args)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\x1b" not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a pipe breaks differently there")
@pytest.mark.parametrize("json_flag", [(), ("--json",)])
def test_a_reader_that_leaves_is_no_error(wide: str, json_flag: tuple[str, ...]) -> None:
    """Like other programs it ends silently, with 141: ``headstream read … | head -1``."""
    with subprocess.Popen(
        [*HEADSTREAM, "read", wide, "s", *json_flag],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) == 141


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is no signal there")
def test_ctrl_c_in_an_import_says_where_it_stopped(shop: str) -> None:
    """With 130 and one line."""
    with subprocess.Popen(
        [*HEADSTREAM, "append", shop, "s", "--from", "-", "--batch", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # A line is sent when the next one is there: of three lines, two. Then it waits for more.
        process.stdin.write(b'{"type": "T"}\n' * 3)
        process.stdin.flush()
        await_version(shop, 2)
        process.send_signal(signal.SIGINT)
        message = process.stderr.read().decode()
        assert process.wait(SECONDS) == 130
    # The second append is durable; whether its answer had arrived is a matter of chance.
    certain = r"2 events of lines 1 to 2 were written(, and lines 2 to 2 may be: look before you|:) go on with --skip 2"
    unsure = r"1 event of lines 1 to 1 was written, and lines 2 to 2 may be: look before you go on with --skip 1"
    assert re.fullmatch(rf"headstream: interrupted; ({certain}|{unsure})\n", message)


def await_version(url: str, version: int) -> None:
    """Return when the stream ``s`` has reached a version: the store is all that the two processes share."""
    deadline = time.monotonic() + SECONDS
    with connect(url, create=False) as store:
        while (head := store.head("s")) is None or head.version < version:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_poor_encoding_changes_the_looks_alone(wide: str, encoding: str) -> None:
    """People get replacements, programs UTF-8 as ever."""
    for args in (("read", wide, "s", "--limit", "1"), ("head", wide, "s"), ("demo",)):
        done = run(*args, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b"")
        done.stdout.decode(encoding)
    line = run("read", wide, "s", "--limit", "1", "--json", PYTHONIOENCODING=encoding).stdout
    assert json.loads(line)["type"] == "Ünit"


@pytest.mark.parametrize("name", ["rich", "rich_click", "click"])
def test_without_the_extra_it_says_what_to_install(name: str) -> None:
    """In one line, without a traceback."""
    code = f"import sys; sys.modules['{name}'] = None; from headstream.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment(), timeout=SECONDS, check=False
    )
    assert done.returncode == 1
    assert done.stderr == b'headstream: the command line needs an extra: pip install "headstream[cli]"\n'


def test_the_installed_command_is_the_same() -> None:
    """The entry point of the package."""
    script = Path(sys.executable).with_name("headstream")
    done = subprocess.run([script, "--version"], capture_output=True, env=environment(), timeout=SECONDS, check=True)
    assert done.stdout == run("--version").stdout


# --- following the feed ------------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name == "nt", reason="signals and pipes are others there")


@contextmanager
def following(*args: str, background: bool = False) -> Iterator[Follower]:
    """``headstream feed ARGS``, which is ended if it does not end; in the background as shells do it, without Ctrl-C."""
    command = [*HEADSTREAM, "feed", *args]
    if background:
        command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        try:
            yield Follower(process)
        finally:
            process.kill()


class Follower:
    """A process that shows the feed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def line(self) -> str:
        """The next line that it shows; waits for it."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode()

    def position(self) -> int:
        """That of the event in the next line."""
        number = json.loads(self.line())["position"]
        assert isinstance(number, int)
        return number

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def leave(self) -> None:
        """Read no more of its output."""
        assert self._process.stdout is not None
        self._process.stdout.close()

    def rest(self) -> list[str]:
        """All that it still shows."""
        assert self._process.stdout is not None
        return self._process.stdout.read().decode().splitlines()

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said on stderr."""
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode()
        return self._process.wait(SECONDS), said


def append(url: str, count: int = 1) -> None:
    """So many events, each in an append of its own."""
    with connect(url, create=False) as store:
        for _ in range(count):
            store.append("s", Event("T"))


def checkpoint(url: str) -> Checkpoint:
    """That of the only worker."""
    with connect(url, create=False) as store:
        (found,) = store.checkpoints()
    return found


def await_owner(url: str, before: str) -> None:
    """Return when the checkpoint is another's."""
    deadline = time.monotonic() + SECONDS
    while checkpoint(url).owner == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@posix
def test_events_are_shown_as_they_come(shop: str) -> None:
    """Each at once, for people and for programs, though the output is a pipe."""
    with following(shop, "--follow") as people, following(shop, "--follow", "--json") as programs:
        for position in (1, 2, 3):
            append(shop)
            if position == 1:
                assert people.line().startswith("position")
            assert people.line().split()[0] == str(position)
            assert programs.position() == position
        for follower in (people, programs):
            follower.signal(signal.SIGTERM)
            assert follower.end() == (0, "")


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_with_its_checkpoint_saved(shop: str, number: int, code: int) -> None:
    """Without a word: what was shown does not come again."""
    append(shop, 3)
    args = (shop, "--follow", "--json", "--checkpoint", "w")
    with following(*args) as follower:
        assert [follower.position() for _ in range(3)] == [1, 2, 3]
        follower.signal(number)
        assert follower.end() == (code, "")
    assert checkpoint(shop).position == 3
    append(shop)
    with following(*args, "--limit", "1") as follower:
        assert follower.position() == 4
        assert follower.end() == (0, "")


@posix
def test_it_ends_when_nobody_reads_it_though_nothing_happens(shop: str) -> None:
    """With 141 as other commands; it does not wait for an event to notice."""
    append(shop)
    with following(shop, "--follow", "--json", "--checkpoint", "w") as follower:
        assert follower.position() == 1
        follower.leave()
        assert follower.end() == (141, "")
    assert checkpoint(shop).position == 1


@posix
def test_what_nobody_took_comes_again(wide: str) -> None:
    """A reader that leaves in the middle leaves the rest to the next one."""
    with following(wide, "--json", "--checkpoint", "w") as follower:
        assert follower.position() == 1
        follower.leave()
        assert follower.end() == (141, "")
    assert checkpoint(wide).position == 0


@posix
def test_a_worker_whose_checkpoint_was_taken_stops(shop: str) -> None:
    """With a code of its own, so that nobody starts it again."""
    append(shop)
    with following(shop, "--follow", "--json", "--checkpoint", "w") as first:
        assert first.position() == 1
        before = checkpoint(shop).owner
        with following(shop, "--follow", "--json", "--checkpoint", "w") as second:
            await_owner(shop, before)
            append(shop)
            assert first.position() == 2
            code, said = first.end()
            assert code == 10
            told = json.loads(said)
            assert (told["error"], told["exit_code"]) == ("CheckpointLost", 10)
            second.signal(signal.SIGTERM)
            assert second.end() == (0, "")


@posix
def test_a_catch_up_that_is_stopped_says_so(wide: str) -> None:
    """143 and where it was, which is what was shown: unlike one that follows it is not done."""
    with following(wide, "--json", "--checkpoint", "w") as follower:
        shown = follower.position()
        follower.signal(signal.SIGTERM)
        shown += len(follower.rest())
        code, said = follower.end()
        assert (code, json.loads(said)["message"]) == (143, f"stopped at position {shown}, before the end")
    assert checkpoint(wide).position == shown < 2000


@posix
def test_in_the_background_it_ignores_ctrl_c(shop: str) -> None:
    """As its shell told it to."""
    append(shop)
    with following(shop, "--follow", "--json", background=True) as follower:
        assert follower.position() == 1
        follower.signal(signal.SIGINT)
        append(shop)
        assert follower.position() == 2
        follower.signal(signal.SIGTERM)
        assert follower.end() == (0, "")


def test_a_warning_of_the_library_is_one_line() -> None:
    """In the form of the command's own messages."""
    code = "import logging; from headstream.cli import app, main; log = logging.getLogger('headstream'); "
    code += "app.program = lambda **_: log.warning('a subscription %s', 'waits\\nlong'); main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment(), timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"headstream: a subscription waits\\nlong\n")
