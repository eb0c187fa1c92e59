"""Lists of frames, compressed together by zstd.

Rules:

* What is compressed is the MessagePack array of the frames; its size is in the zstd frame, and looked at before anything is
  decompressed: a reader allocates no more than it expects.
* Contexts are costly to make and must not be shared while they are in use: they are borrowed, and returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import zstandard

from headstream.errors import CorruptData
from headstream.protocol.codec import RawFrame

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(list[RawFrame]).decode


class Compressor:
    """Compresses at one level of zstd. Safe to use from several threads."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._idle: list[zstandard.ZstdCompressor] = []

    def compress(self, frames: Sequence[bytes]) -> bytes:
        """The frames as one zstd frame, with its checksum."""
        try:
            context = self._idle.pop()
        except IndexError:
            context = zstandard.ZstdCompressor(level=self._level, write_checksum=True, write_content_size=True)
        packed = context.compress(_pack(frames))
        self._idle.append(context)
        return packed


_decompressors: Final[list[zstandard.ZstdDecompressor]] = []


def expand(packed: bytes, what: str, key: str, *, most: int, least: int = 0) -> list[bytes]:
    """The frames that were compressed, of ``least`` to ``most`` bytes together, with what MessagePack adds: 5 bytes each, at most.

    Raises :class:`CorruptData`, which says that ``what`` cannot be decoded, for anything else.
    """
    try:
        announced = zstandard.get_frame_parameters(packed).content_size
        if not least < announced <= most + most // 4 + 5:  # no frame is shorter than 32 bytes
            raise CorruptData(f"{what} does not have the size that it announces", key=key)
        return _unpack(_decompress(packed))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        if "emory" in str(error):  # zstd's way to say that there is none left
            raise MemoryError(f"{what} cannot be decompressed: {error}") from None
        raise CorruptData(f"{what} cannot be decoded: {error}", key=key) from None


def _decompress(packed: bytes) -> bytes:
    """What was compressed; ``zstandard.ZstdError`` for anything else, and then the context is not used again."""
    try:
        context = _decompressors.pop()
    except IndexError:
        context = zstandard.ZstdDecompressor()
    frames = context.decompress(packed, allow_extra_data=False)
    _decompressors.append(context)
    return frames
