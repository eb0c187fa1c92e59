"""The command in a process of its own: pipes, signals, locales."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from headstream import Event, connect

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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
@pytest.mark.parametrize("args", [("--json",), ()])
def test_a_full_disk_is_one_line(shop: str, args: tuple[str, ...]) -> None:
    """Output that cannot be written is not passed over, and not a bug either."""
    with connect(shop) as store:
        store.append("s", Event("T"))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*HEADSTREAM, "read", shop, "s", *args],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 9
    assert re.fullmatch(rb"headstream: the output cannot be written: [^\n]+\n", done.stderr)


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
