"""Every decoder of the protocol, with a real body to begin from: for tests of hostile bytes, and for the fuzzer in ``fuzz/``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID
from zlib import crc32

import msgspec
import zstandard

from headstream import limits
from headstream.model import Settings
from headstream.protocol import checkpoint, codec, head, intent, keys, snapshot, store
from headstream.protocol.codec import FORMAT, NO_DIGEST
from headstream.protocol.intent import Intent
from headstream.protocol.read import tail_chain
from headstream.protocol.segment import (
    LEVEL,
    PageFields,
    Ref,
    SegmentFields,
    decode_page,
    decode_segment,
    encode_page,
    encode_segment,
)
from headstream.protocol.snapshot import Kept
from support.feeds import feed_stream
from support.script import MICROS, ident
from support.streams import TAIL, Stream

KEY: Final = "the/key"
SMALL: Final = Settings(tail_bytes=600, fan_out=3, feed=False)

pack: Final = msgspec.msgpack.Encoder().encode
_compress: Final = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress
_segment: Final = msgspec.msgpack.Decoder(SegmentFields)
_page: Final = msgspec.msgpack.Decoder(PageFields)


HOSTILE = [
    b"",
    b"\xc0",
    b"\xc1",
    b"\xc2",
    b"\x00",
    b"\xff",
    b"\xcc\x01",
    b"\xcd\x00\x01",
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7),
    pack(10**16),
    pack(10**16 - 1),
    pack(math.nan),
    pack(math.inf),
    pack(1.0),
    b"\xca\x3f\x80\x00\x00",
    b"\xa0",
    b"\xa1\xff",
    b"\xa3\xed\xa0\x80",
    b"\xa2\n\x00",
    pack("x" * 300),
    pack("😀" * 256),
    b"\xd9\x01s",
    *(pack(bytes(size)) for size in (0, 1, 15, 16, 17, 31, 32, 33, 300)),
    b"\xc5\x00\x10" + bytes(16),
    b"\x90",
    b"\x91\x90",
    b"\xdc\x00\x00",
    b"\x80",
    b"\x81\xa1a\xc0",
    b"\x82\xa7settled\x90\xa7settled\x91\xc4\x10" + bytes(16),
    b"\x81\xa7pending\x80",
    b"\x81\xa9snapshots\x90",
    b"\x81\xa9snapshots\x91\x96\xa1d\x01\x01\x01\xc4\x01s\xc0",
    b"\x81\xa9snapshots\x92" + b"\x96\xa1d\x01\x01\x01\xc4\x01s\xc0" * 2,
    b"\x81\xa9snapshots\x91\x96\xa1d\x01\x01\x01\xc0\xc0",
    b"\x81\xa9snapshots\x91\x96\xa1d\x01\x01\x02\xc4\x01s\xc0",
    b"\x81\xa7settled\x91\x80",
    b"\x81\x80\xc0",
    b"\x81\x91\x80\xc0",
    b"\x81\x90\xc0",
    b"\x81\xc0\xc0",
    b"\xd4\x05\x00",
    b"\xc7\x00\x05",
    b"\xd6\xff" + bytes(4),
    b"\xd7\xff" + b"\xff" * 8,
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x05",
    b"\x91" * 3000 + b"\xc0",
    b"\x81\xa0" * 3000 + b"\xc0",
]
"""MessagePack that no writer makes where it is put: every type, numbers out of range or in another width, text that is none, keys twice or not
hashable, lengths that lie, depth."""


class Target(NamedTuple):
    """A decoder, and what a writer hands it."""

    name: str
    read: Callable[[bytes], bytes]
    """Decodes a body and encodes it again."""
    inner: bytes
    """What lies under the checksums of a real body: MessagePack, JSON or the name in a key."""
    wrap: Callable[[bytes], bytes]
    """Puts something in its place, with right checksums around it."""
    key: str | None = KEY
    """The key that errors name; ``None`` where the body is the key itself."""

    @property
    def body(self) -> bytes:
        """A real body."""
        return self.wrap(self.inner)


def packed_already(inner: bytes) -> Any:
    """Fields as :func:`codec.seal` takes them, and puts them in as they are."""
    return msgspec.Raw(inner)


# --- heads -------------------------------------------------------------------------------------------------------


def _head(name: str, stream: Stream) -> Target:
    """The head that a stream has, around its tail."""
    _, _, _, fields, loose = msgspec.msgpack.decode(head.encode(stream.known.state))

    def wrap(inner: bytes) -> bytes:
        return codec.seal("head", packed_already(inner), loose)

    return Target(name, partial(_head_again, stream.name), fields, wrap)


def _head_again(stream: str, body: bytes) -> bytes:
    return head.encode(head.decode(body, KEY, stream))


def _packed_tail() -> Target:
    """What is compressed in a head: the list of its oldest changesets, under zstd's checksum and that of the fields. It is compressed again here,
    for a writer may do so in many ways."""
    stream = Stream(TAIL).grow(200).grow(300, 1).grow(9)
    state = stream.known.state
    assert state.packed_tail is not None
    key = keys.head(stream.name)
    frames = state.tail[: state.packed_tail.frames]

    def wrap(inner: bytes) -> bytes:
        fields = msgspec.structs.replace(state.fields, extensions={"packed_tail": _compress(inner)})
        return codec.seal("head", fields, state.tail[len(frames) :])

    def read(body: bytes) -> bytes:
        found = head.decode(body, key, stream.name)
        tail_chain(head.Known(found, "e"))
        if found.packed_tail is None:
            return head.encode(found)
        return wrap(pack(found.tail[: found.packed_tail.frames]))

    return Target("compressed tail", read, pack(frames), wrap, key)


# --- frames ------------------------------------------------------------------------------------------------------


def framed(inner: bytes) -> bytes:
    """A changeset under its checksum."""
    return crc32(inner).to_bytes(4, "big") + inner


def _frame_again(changeset: codec.Frame | codec.Batch) -> bytes:
    rows = pack(changeset.events)
    return codec.encode_frame(
        changeset.id, changeset.parent, changeset.follows, changeset.micros, key=changeset.key, rows=rows
    )


# --- segments ----------------------------------------------------------------------------------------------------


def segment_of(content: bytes, *, size: int, last: int, stream: str = "s") -> bytes:
    """A segment with this content, of which it says that it holds ``size`` bytes of frames."""
    fields = SegmentFields(stream, 1, ident(99), size, last, None, None, NO_DIGEST, "zstd")
    return codec.seal("segment", fields, _compress(content))


def size_of(content: bytes) -> int:
    """The bytes of all frames in a content, or of what else is in it, as a segment may announce it."""
    try:
        size = sum(map(len, msgspec.msgpack.decode(content, type=list[bytes])))
    except (msgspec.DecodeError, RecursionError):
        size = len(content) - 2
    return min(max(1, size), limits.MAX_SEGMENT)


def read_segment(body: bytes) -> bytes:
    """A segment of any stream in any place: whoever forges a segment may have forged the reference to it."""
    fields, _ = codec.unseal("segment", body, KEY, _segment, extra=1)
    ref = Ref(fields.first, fields.id, fields.size)
    segment = decode_segment(body, KEY, fields.stream, ref, fields.last)
    return encode_segment(
        stream=fields.stream,
        ref=ref,
        last=fields.last,
        previous=fields.previous,
        parent_id=fields.parent_id,
        digest=fields.digest,
        frames=tuple(segment.frames),
    )


def _segments(stream: Stream) -> list[Target]:
    """A segment of all changesets: its fields, its list of frames, and the first of them."""
    frames, name, last = stream.frames, stream.name, stream.version
    content = pack(frames)
    fields = SegmentFields(name, 1, ident(99), size_of(content), last, None, None, NO_DIGEST, "zstd")

    def around_fields(inner: bytes) -> bytes:
        packed = _compress(content)
        return codec.seal("segment", packed_already(inner), packed)

    def around_content(inner: bytes) -> bytes:
        return segment_of(inner, size=size_of(inner), last=last, stream=name)

    def around_frame(inner: bytes) -> bytes:
        return around_content(pack([framed(inner), *frames[1:]]))

    return [
        Target(f"segment of {name}, fields", read_segment, pack(fields), around_fields),
        Target(f"segment of {name}, content", read_segment, content, around_content),
        Target(f"segment of {name}, changeset", read_segment, frames[0][4:], around_frame),
    ]


# --- other objects -----------------------------------------------------------------------------------------------


def _read_page(body: bytes) -> bytes:
    fields, _ = codec.unseal("page", body, KEY, _page)
    ref = Ref(fields.refs[0].first, ident(1), sum(entry.size for entry in fields.refs))
    return encode_page(fields.stream, fields.level, decode_page(body, KEY, fields.stream, ref, fields.level))


def _sealed(kind: str) -> Callable[[bytes], bytes]:
    return lambda inner: codec.seal(kind, packed_already(inner))


def _page_target() -> Target:
    refs = [Ref(1, ident(1), 10), Ref(4, ident(2), 200), Ref(90_000, ident(3), 30)]
    return Target("page", _read_page, pack(PageFields("s", 1, refs)), _sealed("page"))


def _intent_target() -> Target:
    objects = [keys.segment("é/1", 3, ident(7)), keys.page("é/1", 1, 1, ident(7))]
    fields = Intent(ident(7), "é/1", 6, MICROS, objects)
    key = keys.intent(fields.id, fields.follows, fields.stream)
    return Target(
        "intent", lambda body: codec.seal("intent", intent.decode(body, key)), pack(fields), _sealed("intent"), key
    )


def _checkpoint_target(name: str, fields: checkpoint.Fields, written: int = 7) -> Target:
    """A checkpoint of which so many fields are in the object: one that was written before there were marks and standbys has five."""
    key = keys.checkpoint(fields.name)

    def read(body: bytes) -> bytes:
        found = checkpoint.decode(body, key, "etag")
        again = (found.name, found.id, found.position, found.owner, found.micros, found.mark.changeset, found.released)
        stored, _ = codec.unseal("checkpoint", body, key, msgspec.msgpack.Decoder(list))  # type: ignore[type-var]  # to count them
        return codec.seal("checkpoint", again[: len(stored)])

    first = pack(msgspec.structs.astuple(fields)[:written])
    return Target(name, read, first, _sealed("checkpoint"), key)


def _snapshot_target() -> Target:
    fields, state = snapshot.Fields("é/1", 9, ident(7), 6, "orders", 2), b"a state" * 9
    key = keys.snapshot(fields.stream, fields.at, fields.id)

    def read(body: bytes) -> bytes:
        return codec.seal("snapshot", *snapshot.decode(body, key, "é/1"))

    def wrap(inner: bytes) -> bytes:
        return codec.seal("snapshot", packed_already(inner), state)

    return Target("snapshot", read, pack(fields), wrap, key)


def _store_target() -> Target:
    settings = Settings(tail_bytes=65536)
    body = msgspec.json.encode(store.Description(FORMAT, UUID(int=1), "2026-11-24T15:27:36+00:00", settings))
    return Target("store.json", lambda body: msgspec.json.encode(store.decode(body)), body, bytes, keys.STORE)


# --- keys --------------------------------------------------------------------------------------------------------


def _key(folder: str, body: bytes) -> str:
    return folder + body.decode("utf-8", "surrogateescape")


def _read_intent_key(body: bytes) -> bytes:
    entry = intent.announced(_key(keys.INBOX, body))
    return keys.intent(entry.id, entry.follows, entry.stream).removeprefix(keys.INBOX).encode()


def _read_head_key(body: bytes) -> bytes:
    return keys.escape(keys.stream_of_head(_key(keys.HEADS, body))).encode()


def _key_targets() -> list[Target]:
    announced = keys.intent(ident(7), 6, "[a]_b/é.1~ {x}").removeprefix(keys.INBOX)
    return [
        Target("key of an intent", _read_intent_key, announced.encode(), bytes, None),
        Target("key of a head", _read_head_key, keys.escape("[a]_b/é.1~ {x}").encode(), bytes, None),
    ]


def _all() -> list[Target]:
    stream = Stream(TAIL).grow(5, 1).grow(3, key="pay-17").grow(60)
    feed = feed_stream(3, TAIL)
    keeping = Stream(TAIL).grow(kept=Kept("d", 1, b"[1]")).grow(5, kept=Kept("é", 2, bytes(5000)))
    fenced = Stream(TAIL)
    fenced.known = head.Known(head.fenced(fenced.known.state), "e")
    return [
        _head("head without segments", stream),
        _head("head with an index", Stream(SMALL).times(40)),
        _head("head of nothing, fenced", fenced),
        _head("head of the feed", feed_stream(9, SMALL)),
        _head("head with snapshots", keeping),
        *_segments(stream),
        *_segments(feed),
        Target("changeset", lambda raw: _frame_again(codec.decode_frame(raw, KEY)), stream.frames[0][4:], framed),
        Target(
            "changeset of the feed", lambda raw: _frame_again(codec.decode_batch(raw, KEY)), feed.frames[0][4:], framed
        ),
        _page_target(),
        _intent_target(),
        _checkpoint_target(
            "checkpoint", checkpoint.Fields("projection 1", ident(5), 42, "host:1", MICROS, ident(6), released=True)
        ),
        _checkpoint_target("old checkpoint", checkpoint.Fields("mailer", ident(5), 42, "host:1", MICROS), 5),
        _snapshot_target(),
        _store_target(),
        *_key_targets(),
        _head("head with a compressed tail", Stream(TAIL).times(30)),
        _packed_tail(),
    ]


TARGETS: Final = tuple(_all())
"""In an order that does not change from run to run: the fuzzer's corpus names them by their number."""
