"""The tail of a head: the newest changesets of a stream, which travel with every append.

Rules:

* The oldest frames of a tail are compressed together when those that are not have grown to a quarter of them, and to ``TAIL_RAW`` at least. So
  all that is ever compressed for a tail is a small multiple of it, an append seldom does it, and what is uploaded stays small.
* They stay uncompressed if that would not save a third: so ``MAX_FIELDS`` has room for them. That it was tried is known to the client that tried it, and to no other.
* A tail means its frames. How many of them are compressed is the writer's affair, and no two tails differ by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headstream import limits
from headstream.errors import CorruptData
from headstream.protocol.compression import Compressor, expand
from headstream.protocol.remembered import Remembered

LEVEL: Final = -1
"""Of zstd: for a few hundred bytes a third of the time that level 1 takes, and nearly its size."""
_compress: Final = Compressor(LEVEL).compress


class PackedTail(Remembered, frozen=True, eq=False):
    """The oldest frames of a tail, compressed, or tried to be."""

    frames: int
    """How many they are."""
    size: int
    """Their bytes, uncompressed."""
    body: bytes | None
    """``None`` if it would not save enough: then they are stored as they are."""

    @property
    def stored(self) -> int:
        """Bytes of the body."""
        return 0 if self.body is None else len(self.body)


def packed(frames: Sequence[bytes], size: int, before: PackedTail | None) -> PackedTail | None:
    """What is compressed of a tail of ``size`` bytes, if that was ``before`` when it was shorter."""
    already = 0 if before is None else before.size
    if size - already < max(limits.TAIL_RAW, already // limits.TAIL_RATIO):
        return before
    body = _compress(frames)
    return PackedTail(len(frames), size, body if len(body) * 3 <= size * 2 else None)


def unpacked(body: bytes, key: str) -> tuple[list[bytes], PackedTail]:
    """The frames that lie compressed in the head object ``key``."""
    frames = expand(body, "the compressed tail of the head", key, most=limits.MAX_TAIL)
    if not frames:
        raise CorruptData("the compressed tail of the head has no changesets", key=key)
    return frames, PackedTail(len(frames), sum(map(len, frames)), body)
