"""A feed that grows in memory, as the streams of :mod:`support.streams` do."""

from __future__ import annotations

import msgspec

from headstream.model import Settings
from headstream.protocol import codec, head, keys
from headstream.protocol.head import Change, Known
from support.script import MICROS, ident
from support.streams import Stream


def feed_stream(count: int, settings: Settings) -> Stream:
    """A feed of so many changesets. Number *n* has the two events of stream ``s<n>``, whose changeset is ``ident(1000 + n)``."""
    stream = Stream(settings, keys.FEED)
    frame = codec.decode_frame(Stream().grow(1, 1).frames[0], "")
    for number in range(1, count + 1):
        state = stream.known.state
        events = msgspec.structs.replace(frame, id=ident(1000 + number)).published(f"s{number}", state.version + 1)
        raw = codec.encode_frame(
            ident(number),
            state.fields.changeset_id,
            state.version,
            MICROS,
            key=None,
            rows=codec.encode_published(events),
        )
        change = Change(ident(number), raw, 2, (ident(1000 + number),))
        grown, stream.puts = head.follow(state, change, settings)
        stream._write(Known(grown, f"e{number}"))
        stream.frames.append(raw)
    return stream
