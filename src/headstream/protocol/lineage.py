"""Which segments a stream is made of, found out from the segments alone.

Rules:

* A segment names the one before it, and was made by an attempt that knew it from the head. So a segment that another one names was in the stream, and
  those that nothing names are the newest one, or what failed attempts left: *leaves*, all of which begin with the same version.
* Apart from its attempt's own changeset, a leaf holds only what was committed before it was made. Its attempt's own changeset has the same
  id as the segment.
* A survey looks at segments in the order of their versions, some at once. It keeps a reference to each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from headstream import limits
from headstream.errors import CorruptData, UnsupportedFormat
from headstream.protocol import codec, keys
from headstream.protocol.inventory import list_page
from headstream.protocol.ops import Found, Gen
from headstream.protocol.segment import Ref, Segment, SegmentFields, decode_segment
from headstream.protocol.verify import START, Link, get_many

AT_ONCE: Final = 8
"""Segments that are fetched together: nobody knows how large they are."""
_NAME: Final = re.compile(r"([0-9]{16})-[0-9a-f]{32}")
_fields: Final = msgspec.msgpack.Decoder(SegmentFields)


class Node(msgspec.Struct, frozen=True):
    """A segment, as it describes itself."""

    ref: Ref
    previous: Ref | None
    end: Link
    """Where it ends; the digest is that of its changesets after the one that it says it begins with."""
    committed: int
    """The version up to which what it holds was committed, for certain: to its end, or to its attempt's own changeset."""


class Survey(msgspec.Struct, frozen=True):
    """The rest of a survey."""

    stream: str
    last: int
    """Segments that begin after this version do not matter."""
    after: str
    names: tuple[str, ...] = ()
    """Keys that were listed and not looked at yet."""
    listed: bool = False
    """Whether there are no others."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self.listed and not self.names


def survey(stream: str, first: int = 1, last: int = limits.MAX_VERSION) -> Survey:
    """The segments that begin with versions ``first`` to ``last``."""
    return Survey(stream, last, keys.segment(stream, first, b"").rstrip("-"))


def step(rest: Survey) -> Gen[tuple[list[Node], Survey]]:
    """The next segments, and the rest. What cannot be read is left out. Raises :class:`Unavailable`."""
    if not rest.names:
        folder = keys.segment(rest.stream, 0, b"").rpartition("/")[0] + "/"
        page = yield from list_page(folder, rest.after)
        names = tuple([key for key in page.keys if _begins(key, folder) <= rest.last])
        listed = not page.more or len(names) < len(page.keys)
        after = page.keys[-1] if page.keys else rest.after
        return [], msgspec.structs.replace(rest, names=names, listed=listed, after=after)
    some = rest.names[:AT_ONCE]
    answers = yield from get_many(some)
    nodes: list[Node] = []
    for key, answer in zip(some, answers, strict=True):
        segment = read(answer.body, key, rest.stream) if isinstance(answer, Found) else None
        if segment is not None:
            nodes.append(node_of(segment, key))
    return nodes, msgspec.structs.replace(rest, names=rest.names[len(some) :])


def _begins(key: str, folder: str) -> int:
    """The first version of a segment; 0 for another name, which is not looked at any closer than to see that."""
    found = _NAME.fullmatch(key, len(folder))
    return int(found[1]) if found else 0


def read(body: bytes, key: str, stream: str) -> Segment | None:
    """The segment in an object, if it is the one that its key says."""
    try:
        fields, _ = codec.unseal("segment", body, key, _fields, extra=1)
        ref = Ref(fields.first, fields.id, fields.size)
        segment = decode_segment(body, key, stream, ref, fields.last)
    except (CorruptData, UnsupportedFormat):
        return None
    return segment if keys.segment(stream, ref.first, ref.id) == key else None


def node_of(segment: Segment, key: str) -> Node:
    """A segment without its changesets."""
    fields, newest = segment.fields, segment.chain[-1]
    digest = codec.chain_digest(fields.digest, segment.frames)
    end = Link(fields.last, newest.id, newest.parent, digest, key)
    committed = newest.follows if newest.id == fields.id else newest.version
    return Node(Ref(fields.first, fields.id, fields.size), fields.previous, end, committed)


class Lineage:
    """The segments of a stream from ``first`` on, put together from their descriptions in the order of their versions."""

    def __init__(self, first: int = 1) -> None:
        self._first = first
        self.chain: list[Ref] = []
        """Those that another segment names, oldest first: they were in the stream."""
        self.end: Link = START
        """Where they end."""
        self.leaves: list[Node] = []
        """Those after them, that nothing names."""
        self.loose = 0
        """How many follow none of these: a segment before them cannot be read."""

    def take(self, nodes: Iterable[Node]) -> Lineage:
        """The next segments."""
        for node in nodes:
            parent = next((leaf for leaf in self.leaves if leaf.ref == node.previous), None)
            if parent is not None:
                self.chain.append(parent.ref)
                self.end = parent.end
                self.leaves = [node]
            elif self._continues(node):
                self.leaves.append(node)
            else:
                self.loose += 1
        return self

    def _continues(self, node: Node) -> bool:
        if self.chain:
            return node.previous == self.chain[-1]
        return node.ref.first == self._first and (node.previous is None) == (self._first == 1)
