"""The checks are worth something: each deliberate error breaks a promise within a stated number of histories."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from testing.mutants import MUTANTS, Mutant

PROGRAM = Path(__file__).with_name("mutated.py")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_deliberate_error_is_caught(mutant: Mutant):
    """By a promise that is broken, or by an error of headstream's own that escapes; not by an accident of the change."""
    printed = subprocess.run(
        [sys.executable, str(PROGRAM)], input=msgspec.json.encode(mutant), capture_output=True, timeout=250, check=True
    ).stdout.decode()
    assert not printed.startswith("survived"), mutant.name
    assert not any(accident in printed for accident in ("NameError", "TypeError", "AttributeError", "ImportError"))


def test_there_are_enough():
    """Errors of every protocol, and all different."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
    assert {mutant.module.rpartition(".")[2] for mutant in MUTANTS} >= {
        "append",
        "feed",
        "gc",
        "head",
        "checkpoint",
        "read",
    }
