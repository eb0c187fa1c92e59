"""Each server once a session, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers.azure import Azurite
from servers.gcs import GoogleStorage
from servers.s3 import Ministack, SeaweedFS


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Azure Blob Storage."""
    with Azurite() as server:
        yield server


@pytest.fixture(scope="session")
def ministack() -> Iterator[Ministack]:
    """S3, quick to start."""
    with Ministack() as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """S3, a real store."""
    with SeaweedFS() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[GoogleStorage]:
    """Google Cloud Storage."""
    with GoogleStorage() as server:
        yield server
