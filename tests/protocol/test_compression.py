"""Compression: contexts are costly, and used again."""

from __future__ import annotations

import pytest

from headstream.errors import CorruptData
from headstream.protocol import compression
from headstream.protocol.compression import Compressor, expand

FRAMES = [b"first frame", b"second frame"]


def test_contexts_are_used_again():
    """One thread needs one of each, also after a failure."""
    compressor = Compressor(1)
    compression._decompressors.clear()
    for _ in range(3):
        assert expand(compressor.compress(FRAMES), "it", "k", most=100) == FRAMES
    assert (len(compressor._idle), len(compression._decompressors)) == (1, 1)
    packed = compressor.compress(FRAMES)
    with pytest.raises(CorruptData):
        expand(packed[:-1], "it", "k", most=100)
    assert compression._decompressors == [], "one that failed is not used again"
    assert expand(packed, "it", "k", most=100) == FRAMES


@pytest.mark.parametrize(("least", "most", "good"), [(0, 23, True), (23, 23, True), (0, 10, False), (30, 40, False)])
def test_only_what_is_expected_is_decompressed(least, most, good):
    """Two frames of 11 and 12 bytes, and 5 of MessagePack around them."""
    packed = Compressor(1).compress(FRAMES)
    if good:
        assert expand(packed, "it", "k", least=least, most=most) == FRAMES
    else:
        with pytest.raises(CorruptData, match="it does not have the size"):
            expand(packed, "it", "k", least=least, most=most)
