"""Segments and index pages: round trips, their places, damage, and bodies made to hurt a reader."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData
from headstream.protocol import codec, segment
from headstream.protocol.codec import NO_DIGEST
from headstream.protocol.segment import (
    PageFields,
    Ref,
    Segment,
    SegmentFields,
    decode_page,
    decode_segment,
    encode_page,
)
from support import shown
from support.damage import check_every_damage
from support.script import ident
from support.streams import Stream

KEY = "segments/s/…"
ATTEMPT = ident(99)


def encoded(stream: Stream, first: int = 0) -> tuple[bytes, Ref, int]:
    """A segment of the frames of ``stream`` from the changeset ``first`` on; its reference and last version."""
    chain, frames = stream.chain(), stream.frames
    ref = Ref(chain[first].follows + 1, ATTEMPT, sum(map(len, frames[first:])))
    body = segment.encode_segment(
        stream=stream.name,
        ref=ref,
        last=stream.version,
        previous=Ref(1, ident(98), 7) if first else None,
        parent_id=chain[first].parent,
        digest=codec.chain_digest(NO_DIGEST, frames[:first]),
        frames=tuple(frames[first:]),
    )
    return body, ref, stream.version


# --- segments ----------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=3), min_size=1, max_size=6), st.data())
def test_round_trip(changesets, data):
    """Frames come back byte for byte, with all that links them to the rest of the stream."""
    stream = Stream(name="é/1")
    for sizes in changesets:
        stream.grow(*sizes)
    first = data.draw(st.integers(0, len(changesets) - 1))
    body, ref, last = encoded(stream, first)
    read = decode_segment(body, KEY, "é/1", ref, last)
    assert read.frames == stream.frames[first:]
    assert read.chain == stream.chain()[first:]
    assert read.fields.digest == codec.chain_digest(NO_DIGEST, stream.frames[:first])
    assert read.fields.parent_id == stream.chain()[first].parent
    assert (read.fields.previous is None) == (first == 0)


def test_frames_are_compressed():
    """Ten changesets that resemble each other take a fraction of their size."""
    stream = Stream()
    for _ in range(10):
        stream.grow(1000)
    body, ref, _ = encoded(stream)
    assert len(body) < ref.size / 10


def test_every_damage_is_found():
    """Each changed byte, each truncation, each byte too many; also in bits that zstd ignores."""
    body, ref, last = encoded(Stream().grow(5).grow(3, 4, key="k").grow(60), 1)
    check_every_damage(body, KEY, lambda changed: decode_segment(changed, KEY, "s", ref, last), every=8)


@pytest.mark.parametrize(
    ("stream", "ref", "last"),
    [
        ("other", Ref(1, ATTEMPT, 0), 3),
        ("s", Ref(2, ATTEMPT, 0), 3),
        ("s", Ref(1, ident(98), 0), 3),
        ("s", Ref(1, ATTEMPT, 0), 4),
    ],
    ids=["stream", "first", "id", "last"],
)
def test_in_another_place(stream, ref, last):
    """A whole segment that is not the one that the reference means is refused."""
    body, real, _ = encoded(Stream().times(3))
    with pytest.raises(CorruptData, match="belongs in another place") as caught:
        decode_segment(body, KEY, stream, msgspec.structs.replace(ref, size=real.size), last)
    assert caught.value.key == KEY


def test_of_another_size():
    """The reference says how large it is, before it is read."""
    body, ref, last = encoded(Stream().times(3))
    with pytest.raises(CorruptData, match="does not have the size that its reference announces"):
        decode_segment(body, KEY, "s", msgspec.structs.replace(ref, size=ref.size + 1), last)


def forged(content: bytes, **changes: Any) -> tuple[bytes, Ref]:
    """A segment with a right envelope around ``content``; it says of itself what ``changes`` say."""
    real, ref, last = encoded(Stream().times(3))
    fields = msgspec.structs.replace(decode_segment(real, KEY, "s", ref, last).fields, **changes)
    return codec.seal("segment", fields, content), Ref(fields.first, fields.id, fields.size)


def compressed(frames: object, **options: Any) -> bytes:
    """Frames as a writer compresses them, or nearly so."""
    packed = msgspec.msgpack.encode(frames)
    return zstandard.ZstdCompressor(write_checksum=True, **options).compress(packed)


FRAMES = Stream().times(3).frames
SIZE = sum(map(len, FRAMES))


def test_a_forged_segment_passes_if_nothing_is_wrong():
    """What the following tests begin from."""
    body, ref = forged(compressed(FRAMES))
    assert decode_segment(body, KEY, "s", ref, 3).frames == FRAMES


@pytest.mark.parametrize(
    ("content", "changes"),
    [
        (compressed(FRAMES[:2]), {"size": SIZE - len(FRAMES[2])}),
        (compressed(FRAMES[::-1]), {}),
        (compressed([*FRAMES[:2], FRAMES[2][:-1] + b"?"]), {}),
        (compressed(b"".join(FRAMES)), {}),
        (compressed({1: FRAMES}), {}),
        (compressed([*FRAMES, b""]), {}),
        (compressed([]), {}),
        (compressed([frame.decode("latin-1") for frame in FRAMES]), {}),
        (compressed(FRAMES), {"codec": "lz4"}),
        (compressed(FRAMES), {"size": SIZE - 10}),
        (compressed(FRAMES), {"size": SIZE + 20}),
        (compressed(FRAMES), {"parent_id": ident(7)}),
        (compressed(FRAMES, write_content_size=False), {}),
        (compressed(FRAMES) + compressed(FRAMES), {}),
        (compressed(FRAMES) + b"more", {}),
        (compressed(FRAMES)[:-1], {}),
        (compressed(FRAMES)[:6], {}),
        (b"", {}),
        (b"plain bytes, not zstd", {}),
    ],
)
def test_right_envelopes_around_wrong_content(content, changes):
    """Each is refused, with the key; none is guessed at."""
    body, ref = forged(content, **changes)
    with pytest.raises(CorruptData) as caught:
        decode_segment(body, KEY, "s", ref, 3)
    assert caught.value.key == KEY


@pytest.mark.parametrize("extra", [None, "text", 7, [b"frame"]], ids=shown)
def test_frames_that_are_no_bytes(extra):
    """The compressed frames are bytes, or nothing is."""
    body, ref, last = encoded(Stream().times(3))
    fields = decode_segment(body, KEY, "s", ref, last).fields
    with pytest.raises(CorruptData):
        decode_segment(codec.seal("segment", fields, extra), KEY, "s", ref, last)


FIELDS: dict[str, Any] = {
    "stream": "s",
    "first": 1,
    "id": ATTEMPT,
    "size": SIZE,
    "last": 3,
    "previous": None,
    "parent_id": None,
    "digest": NO_DIGEST,
    "codec": "zstd",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": b"s"},
        {"first": 0},
        {"id": b"short"},
        {"size": 0},
        {"size": limits.MAX_SEGMENT + 1},
        {"last": 10**16},
        {"previous": [0, ident(1), 5]},
        {"parent_id": b"short"},
        {"digest": bytes(31)},
        {"codec": None},
        {"previous": [1, ident(1), 5, 5]},
        {"unknown": 7},
    ],
    ids=shown,
)
def test_fields_out_of_range(changes):
    """Every field has its bounds, and there is no field more."""
    with pytest.raises(CorruptData, match="the segment cannot be decoded: "):
        by_hand(list((FIELDS | changes).values()))


def by_hand(fields: object) -> Segment:
    """A segment with these fields around the frames of these tests."""
    packed: Any = codec.pack(fields)
    return decode_segment(codec.seal("segment", packed, compressed(FRAMES)), KEY, "s", Ref(1, ATTEMPT, SIZE), 3)


def test_a_segment_by_hand():
    """What the test above begins from: an array of all the fields, in order."""
    assert tuple(FIELDS) == SegmentFields.__struct_fields__
    assert by_hand(list(FIELDS.values())).frames == FRAMES
    with pytest.raises(CorruptData, match="the segment cannot be decoded: "):
        by_hand(FIELDS)


def test_how_frames_are_compressed():
    """As the format says: with their size and a checksum, so that any tool can unpack and check them."""
    body, ref, _ = encoded(Stream().times(3))
    content = msgspec.msgpack.decode(body)[4]
    assert zstandard.get_frame_parameters(content).has_checksum
    assert zstandard.get_frame_parameters(content).content_size > ref.size
    assert msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(content)) == FRAMES


@given(st.binary(max_size=60))
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x91" * 10_000)
def test_hostile_frames(packed):
    """Whatever was compressed: a segment or :class:`CorruptData`, and nothing else."""
    content = zstandard.ZstdCompressor(write_checksum=True).compress(packed)
    body, ref = forged(content, size=max(1, len(packed) - 2))
    with pytest.raises(CorruptData):
        decode_segment(body, KEY, "s", ref, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="limits and measures memory as Linux does")
def test_a_bomb_is_not_unpacked():
    """A few bytes that claim, or unpack to, gigabytes: refused before memory is taken for them."""
    code = """
        import resource, sys
        import zstandard
        from headstream.errors import CorruptData
        from headstream.protocol import codec
        from headstream.protocol.segment import Ref, SegmentFields, decode_segment

        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        compressor = zstandard.ZstdCompressor()
        stream = compressor.compressobj(size=-1)
        bomb = b"".join([stream.compress(bytes(1 << 20)) for _ in range(4096)]) + stream.flush()
        honest = compressor.compress(bytes(1 << 20))
        liar = honest[:4] + bytes([0xE0]) + (1 << 62).to_bytes(8, "little") + honest[9:]
        known = zstandard.ZstdCompressor().compressobj(size=1 << 32)
        sized = b"".join([known.compress(bytes(1 << 20)) for _ in range(4096)]) + known.flush()
        for content in (bomb, liar, sized):
            assert len(content) < 1 << 20
            for size in (100, 17 << 20):
                fields = SegmentFields("s", 1, bytes(16), size, 1, None, None, bytes(32), "zstd")
                body = codec.seal("segment", fields, content)
                try:
                    decode_segment(body, "k", "s", Ref(1, bytes(16), size), 1)
                except CorruptData:
                    continue
                sys.exit("a bomb was taken for a segment")
        # The peak of this program; ru_maxrss would be that of the one that started it, if it was larger.
        (peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
        assert int(peak.split()[1]) < 200 << 10, peak
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


# --- index pages -------------------------------------------------------------------------------------------------

REFS = [Ref(1, ident(1), 10), Ref(4, ident(2), 20), Ref(9, ident(3), 30)]
PAGE = Ref(1, ATTEMPT, 60)
PAGE_KEY = "index/s/…"


def read_page(body: bytes) -> list[Ref]:
    """The page of these tests."""
    return decode_page(body, PAGE_KEY, "s", PAGE, 1)


def test_a_page_survives():
    """References come back as they were."""
    assert read_page(encode_page("s", 1, REFS)) == REFS


def test_every_damage_to_a_page_is_found():
    """Each changed byte, each truncation, each byte too many."""
    check_every_damage(encode_page("s", 1, REFS), PAGE_KEY, read_page, every=8)


@pytest.mark.parametrize(
    "body",
    [encode_page("other", 1, REFS), encode_page("s", 2, REFS), encode_page("s", 1, [Ref(2, ident(1), 10), *REFS[1:]])],
    ids=["stream", "level", "first"],
)
def test_a_page_in_another_place(body):
    """A whole page that is not the one that the reference means is refused."""
    with pytest.raises(CorruptData, match="belongs in another place") as caught:
        read_page(body)
    assert caught.value.key == PAGE_KEY


@pytest.mark.parametrize(
    "refs",
    [
        [REFS[0], REFS[2], REFS[1]],
        [REFS[0], REFS[1], REFS[1], Ref(9, ident(3), 10)],
        REFS[:2],
        [*REFS[:2], Ref(9, ident(3), 31)],
    ],
    ids=["unordered", "doubled", "lost", "sizes"],
)
def test_a_page_with_other_references(refs):
    """Ordered, each once, and with the size that the reference to the page says."""
    with pytest.raises(CorruptData, match="does not hold the references that it announces"):
        read_page(encode_page("s", 1, refs))


def test_an_empty_page():
    """No writer makes one."""
    with pytest.raises(CorruptData, match="cannot be decoded"):
        read_page(codec.seal("page", PageFields("s", 1, [])))


def test_kinds_are_not_confused():
    """A segment is no page, and a page no segment."""
    body, ref, last = encoded(Stream().times(3))
    with pytest.raises(CorruptData, match="no page"):
        read_page(body)
    with pytest.raises(CorruptData, match="no segment"):
        decode_segment(encode_page("s", 1, REFS), KEY, "s", ref, last)
