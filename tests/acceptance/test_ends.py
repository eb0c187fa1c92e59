"""A hundred processes that end in every way, for each kind of place: what was acknowledged is there, and nothing is twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.places import Place
from headstream import Event
from support.ending import ENDS

ROUNDS = 5
"""Of each way to end."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.mark.parametrize("place", ["sqlite", "files", "ministack"], indirect=True)
def test_processes_that_end(place: Place, tmp_path: Path):
    """In time, by the exit code that Python gives, without a word of their own; the feed then has what the streams have."""
    place.connect(tail_bytes=1000, advance_every=2).close()
    done = subprocess.run(
        [sys.executable, "-m", "support.ending", place.url, "1", str(ROUNDS * len(ENDS)), str(tmp_path)],
        cwd=Path(__file__).parents[1],
        env=place.process_environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    children = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(children) == ROUNDS * len(ENDS)
    for child in children:
        code, wanted = child["codes"]
        assert code == wanted, child
        lines = child["said"].splitlines()
        assert (lines[-1] if lines else "") == child["error"], child
        assert "Exception ignored" not in child["said"], child
    notes = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    begun = {name for mark, name in notes if mark == "?"}
    acknowledged = {name for mark, name in notes if mark == "!"}
    assert len(acknowledged) > len(children)
    with place.connect() as store:
        streams = {name: [(event.version, event.data) for event in store.read(name)] for name in store.streams()}
        there = [data for events in streams.values() for _, data in events]
        assert len(there) == len(set(there))
        assert acknowledged <= set(there) <= begun
        published: dict[str, list[object]] = {name: [] for name in streams}
        for event in store.feed():
            published[event.stream].append((event.version, event.data))
        assert published == streams
        store.append("shared", Event("E", "after all"))
