"""The reference backend keeps the promises that the others are checked against."""

import pytest

from headstream.backends.memory import MemoryBackend
from headstream.protocol.ops import ABSENT, Put
from headstream.testing.conformance import BackendConformance


class TestMemory(BackendConformance):
    """The whole suite."""

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        """Objects of this test alone."""
        return MemoryBackend()


def test_repr_counts_objects() -> None:
    """A repr tells how much is in it, not what."""
    backend = MemoryBackend()
    backend.commit((), Put("heads/secret", b"secret", ABSENT))
    assert repr(backend) == "MemoryBackend(1 objects)"
