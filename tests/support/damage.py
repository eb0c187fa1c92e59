"""Damages a body in every way that one byte allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from headstream.errors import CorruptData, UnsupportedFormat


def damaged(body: bytes, *, every: int = 1) -> Iterator[tuple[str, bytes]]:
    """A name of the damage, and the body with it: changed bytes, truncations, a byte too many.

    With ``every`` above 1, only so many of the 255 other values of each byte; all single-bit errors in any case.
    """
    for at, byte in enumerate(body):
        bits = {byte ^ 1 << bit for bit in range(8)}
        for value in range(256):
            if value != byte and (value in bits or (value + at) % every == 0):
                yield f"byte {at} is {value:#x} instead of {byte:#x}", body[:at] + bytes([value]) + body[at + 1 :]
    for size in range(len(body)):
        yield f"cut to {size} bytes", body[:size]
    yield "a byte too many", body + b"\0"


def check_every_damage(body: bytes, key: str, read: Callable[[bytes], object], *, every: int = 1) -> None:
    """Whatever the damage, ``read`` raises :class:`CorruptData` with the key, or :class:`UnsupportedFormat`; nothing else."""
    read(body)
    for name, changed in damaged(body, every=every):
        error = _complaint(read, changed)
        assert error is not None, f"{name}: nobody noticed"
        assert error.details["key"] == key, name
        if isinstance(error, UnsupportedFormat):
            assert changed[1] != body[1], f"{name}: only another format number is a newer format"


def _complaint(read: Callable[[bytes], object], body: bytes) -> CorruptData | UnsupportedFormat | None:
    try:
        read(body)
    except (CorruptData, UnsupportedFormat) as error:
        return error
    return None
