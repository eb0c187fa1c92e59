"""Programs that use an embedded backend in processes of their own, to be killed or raced."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

OPEN: Final = """
import importlib, os, sys, threading, time
from headstream.protocol.ops import *
name, path = sys.argv[1:3]
module, _, kind = name.rpartition(".")
backend = getattr(importlib.import_module(module), kind)(path)

def say(word):
    os.write(1, f"{word}\\n".encode())
"""

COMMIT_FOREVER: Final = (
    OPEN
    + """
found = backend.get(Get("heads/h"))
number, when = (int(found.body.split()[0]) + 1, Matches(found.etag)) if isinstance(found, Found) else (1, ABSENT)
while True:
    body = b"%d " % number * 1500
    answer = backend.commit([Put(f"inbox/{number:08}", body, ALWAYS)], Put("heads/h", body, when))
    say(number)
    number, when = number + 1, Matches(answer.etag)
"""
)
"""Commits 1, 2, 3, … after what is there, and prints the number of each commit that was answered."""

COUNT: Final = (
    OPEN
    + """
seconds, threads = float(sys.argv[3]), int(sys.argv[4])
wins, waits = [0] * threads, [0.0] * threads

def count(thread):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = backend.get(Get("heads/counter"))
        began = time.monotonic()
        body = b"%d by %d.%d" % (int(found.body.split()[0]) + 1, os.getpid(), thread)
        wins[thread] += isinstance(backend.commit((), Put("heads/counter", body, Matches(found.etag))), Stored)
        waits[thread] = max(waits[thread], time.monotonic() - began)

say("ready")
sys.stdin.readline()
workers = [threading.Thread(target=count, args=(thread,)) for thread in range(threads)]
for worker in workers: worker.start()
for worker in workers: worker.join()
backend.close()
say(f"{sum(wins)} {max(waits)}")
"""
)
"""Adds one to a counter by compare-and-swap, in several threads for some seconds; prints its wins and its longest wait."""


@contextmanager
def process(program: str, *args: object) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that runs ``program``, and is gone afterwards."""
    command = [sys.executable, "-c", program, *map(str, args)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


def lines(running: subprocess.Popen[bytes]) -> Iterator[str]:
    """What a process prints, line by line; ends when it does."""
    assert running.stdout is not None
    for line in running.stdout:
        if line.endswith(b"\n"):
            yield line.decode().strip()


def killed_after(answers: int, backend: str, path: Path) -> int:
    """Let a process commit, kill it (SIGKILL) after so many answers, wherever it is then; the last number that it printed."""
    with process(COMMIT_FOREVER, backend, path) as running:
        printed = list(islice(lines(running), answers))
        assert len(printed) == answers
        running.kill()
        printed.extend(lines(running))
    return int(printed[-1])


def race(backend: str, path: Path, *, processes: int, threads: int, seconds: float) -> Sequence[tuple[int, float]]:
    """Let processes count at the same time; of each, its wins and its longest wait in seconds."""
    with ExitStack() as stack:
        running = [stack.enter_context(process(COUNT, backend, path, seconds, threads)) for _ in range(processes)]
        for one in running:
            assert next(lines(one)) == "ready"
        for one in running:
            assert one.stdin is not None
            one.stdin.write(b"go\n")
            one.stdin.flush()
        results = [next(lines(one)).split() for one in running]
    return [(int(wins), float(wait)) for wins, wait in results]


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for what other threads bring about."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.001)


def in_child(work: Callable[[], object]) -> int | None:
    """Run ``work`` in a forked child; its exit code."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    return child.exitcode
