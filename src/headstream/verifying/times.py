"""Repairing a stream, or the feed, in which a writer with a wrong clock left a time that cannot be stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from headstream.protocol import codec, head, keys, rebuild, repair, retime
from headstream.protocol.fault import Fault
from headstream.protocol.head import Known, Sealed, Span, State, spans, spans_of
from headstream.protocol.ops import Found, Put, Stamped
from headstream.protocol.retime import Retimed
from headstream.protocol.segment import Ref
from headstream.protocol.verify import START, Link, body_of, get_many, read_page
from headstream.verifying.bench import ELSEWHERE, Bench, Repair


class _Layer:
    """The segments of a stream, laid one after the other: those before the first wrong time stay, the others are made again."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._refs: list[Ref] = []
        self._link = START
        self.changed = 0
        """Changesets that have another time."""

    def lay(self, span: Span, found: Retimed, fresh: bytes) -> Put | None:
        """The next segment; the write of the one that replaces it, if there is one."""
        self.changed += found.changed
        if self.changed:
            ref, self._link, put = rebuild.seal(self._stream, self._refs, self._link, found.frames, fresh)
            self._refs.append(ref)
            return put
        last = rebuild.decode(self._stream, found.frames[-1], span.key(self._stream))
        digest = codec.chain_digest(self._link.digest, found.frames)
        self._refs.append(span.ref)
        self._link = Link(span.last, last.id, last.parent, digest, span.key(self._stream))
        return None

    def finish(self, known: Known, tail: Retimed, fan_out: int, stamp: Stamped) -> list[Put]:
        """Index pages, then the head, on the condition that it is still the one that was read."""
        self.changed += tail.changed
        assert known.etag is not None
        levels, pages = repair.shelve(self._stream, self._refs, fan_out, stamp.id)
        link, old = self._link, known.state.fields
        fields = msgspec.structs.replace(
            old,
            digest=codec.chain_digest(link.digest, tail.frames),
            fence=repair.fence_above(old.fence, stamp),
            sealed=Sealed(link.version, link.changeset_id, link.digest),
            levels=levels,
        )
        put = head.put(State(fields, tail.frames, sum(map(len, tail.frames))), known.etag)
        return [*pages, put]


class TimeRepair:
    """Gives changesets a time that can be stored, and writes again what follows them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._run = bench.run

    def repair(self, found: Fault) -> Repair:
        """One stream. Memory is bounded by a segment and its references."""
        stream = found.stream
        assert stream is not None
        key = keys.head(stream)
        (answer,) = self._run(get_many((key,)))
        if not isinstance(answer, Found):
            return self._bench.cannot(found, ELSEWHERE)
        known = Known(head.decode(answer.body, key, stream), answer.etag)
        layer = _Layer(stream)
        for span in self._segments(known):
            name = span.key(stream)
            (answer,) = self._run(get_many((name,)))
            frames = retime.in_segment(body_of(answer, name), name, stream, span.ref, span.last)
            put = layer.lay(span, frames, self._run(repair.fresh()).id)
            if put is not None and self._bench.write:
                self._run(repair.write([put]))
        tail = retime.retimed(known.state.tail, stream, key)
        puts = layer.finish(known, tail, self._bench.settings.fan_out, self._run(repair.fresh()))
        if not layer.changed:
            return self._bench.cannot(found, ELSEWHERE)
        return self._bench.put(
            found, puts, f"written again, with the nearest time that can be stored: {layer.changed} changesets"
        )

    def _segments(self, known: Known) -> Iterator[Span]:
        """All segments of a stream, oldest first."""
        stream = known.state.stream
        rest = deque(spans(known.state.fields))
        while rest:
            span = rest.popleft()
            if span.level == 0:
                yield span
                continue
            key = span.key(stream)
            (answer,) = self._run(get_many((key,)))
            refs = read_page(stream, span, answer, key)
            rest.extendleft(reversed(spans_of([(span.level - 1, ref) for ref in refs], span.last)))
