"""Fixtures for pytest. Name this module in the ``conftest.py`` at the root of your tests::

    pytest_plugins = ["headstream.testing.fixtures"]

They need pytest (``pip install headstream[testing]``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headstream.client import EventStore
from headstream.connecting import connect


@pytest.fixture
def event_store() -> Iterator[EventStore]:
    """A store in memory, new and empty for each test."""
    with connect("memory://") as store:
        yield store
