"""How all tests run, and how long each part of them took."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import PurePosixPath

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["servers.fixtures"]

# No deadlines: machines that share their cores would make them lie.
settings.register_profile("developer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("developer"), derandomize=True, print_blob=True)
settings.register_profile("thorough", settings.get_profile("developer"), max_examples=2000)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

SHOWN = 12
"""Test files in the summary: those that took longest."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which folders and files took how long, in seconds of a test process."""
    folders: defaultdict[str, float] = defaultdict(float)
    files: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                path = PurePosixPath(report.nodeid.partition("::")[0])
                folders[str(path.parent)] += report.duration
                files[str(path)] += report.duration
    if sum(folders.values()) >= 60:
        terminalreporter.section("seconds by folder, and the longest files")
        for seconds_by_name in (folders, files):
            for name in sorted(seconds_by_name, key=seconds_by_name.__getitem__, reverse=True)[:SHOWN]:
                terminalreporter.write_line(f"{seconds_by_name[name]:7.1f}  {name}")
