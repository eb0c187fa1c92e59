"""Starting, releasing and killing writers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from acceptance.places import Place
from headstream import RecordedEvent

WRITER = Path(__file__).with_name("writer.py")
SECONDS = 240


@contextmanager
def writers(place: Place, count: int, *, stream: str, commits: int, mode: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are connected and wait for a line; ended, if they have not, when the block is left."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(WRITER), place.url, stream, f"p{number}", str(commits), mode],
            env=place.process_environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "ready\n", line + (process.stderr.read() if process.stderr else "")
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def release(processes: Iterable[subprocess.Popen[str]]) -> None:
    """Let them begin, all at once."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def acknowledged(lines: str) -> dict[str, int]:
    """What a writer said: payload and version. A line that the end of the process cut is not a word given."""
    whole = lines[: lines.rfind("\n") + 1]
    return {payload: int(version) for payload, version in (line.split() for line in whole.splitlines())}


def check_stream(events: list[RecordedEvent], promised: dict[str, int]) -> None:
    """Versions without a gap, two events a changeset, each changeset once, and all that was promised at its place."""
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    pairs = list(zip(events[::2], events[1::2], strict=True))
    assert all(one.data == two.data and one.changeset == two.changeset for one, two in pairs)
    found = {two.data: two.version for _, two in pairs}
    assert len(found) == len(pairs)
    assert len({one.changeset for one, _ in pairs}) == len(pairs)
    assert promised.items() <= found.items()
