"""Processes that fork while they use a store: nothing that was acknowledged is lost, and nothing hangs, whoever ends first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.forking import SCENARIOS

ROUNDS = 4

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.mark.parametrize("kind", ["sqlite", "file"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fork_loses_nothing(tmp_path, kind, scenario):
    """Parent and child, and processes that come between, count what they appended: all of it is there, in a sound file."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "support.forking"]
    done = subprocess.run(
        [*command, kind, str(tmp_path), scenario, str(ROUNDS)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr
