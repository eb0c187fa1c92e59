"""What is checked with every write, not only at the end: no object may be lost or go back, at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from headstream.protocol import checkpoint, codec, gc, head, keys
from headstream.protocol.head import Span, State, spans, spans_of
from headstream.protocol.ops import Found
from headstream.protocol.segment import decode_page, decode_segment

Check = Callable[[bool, str], None]


class Watcher:
    """Sees every change of the storage as it takes effect."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self.objects: Mapping[str, Found] = {}
        self._heads: dict[str, State] = {}
        self._checkpoints: dict[str, int] = {}

    def saw(self, key: str, body: bytes | None) -> None:
        """An object was written (its body) or removed (``None``)."""
        folder = key.partition("/")[0]
        if folder == "heads":
            self._head(key, body)
        elif folder == "checkpoints":
            self._checkpoint(key, body)
        elif body is None and f"{folder}/" in gc.KINDS:
            stream = keys.unescape(key.split("/")[1])
            state = self._heads.get(stream)
            self._check(state is None or key not in self.reachable(state), f"{key} was removed, and {stream} needs it")

    def version(self, stream: str) -> int:
        """The version that a stream has right now."""
        state = self._heads.get(stream)
        return state.version if state is not None else 0

    def _head(self, key: str, body: bytes | None) -> None:
        stream = keys.stream_of_head(key)
        self._check(body is not None, f"the head of {stream} was removed")
        assert body is not None
        state = head.decode(body, key, stream)
        before = self._heads.get(stream)
        if before is not None:
            self._check(state.age > before.age, f"the head of {stream} went from {before.age} to {state.age}")
            self._check(state.version >= before.version, f"{stream} went back from {before.version} to {state.version}")
        self._heads[stream] = state
        for ref in spans(state.fields):
            self._check(ref.key(stream) in self.objects, f"the head of {stream} refers to an object that is not there")
        for name in _snapshots(state):
            self._check(name in self.objects, f"the head of {stream} names a snapshot that is not there")

    def _checkpoint(self, key: str, body: bytes | None) -> None:
        if body is not None:
            position = checkpoint.decode(body, key, "").position
            self._check(position >= self._checkpoints.get(key, 0), f"{key} went back to {position}")
            self._checkpoints[key] = position

    def reachable(self, state: State) -> set[str]:
        """The keys of all that a head refers to."""
        found = _snapshots(state)
        waiting = spans(state.fields)
        while waiting:
            span = waiting.pop()
            found.add(span.key(state.stream))
            if span.level:
                waiting += self._opened(state, span)
        return found

    def check_digests(self) -> None:
        """Every head has the digest of all changesets of its stream."""
        for stream, state in self._heads.items():
            frames: list[bytes] = []
            for span in self._segments(state):
                key = span.key(stream)
                frames += decode_segment(self.objects[key].body, key, stream, span.ref, span.last).frames
            digest = codec.chain_digest(codec.NO_DIGEST, (*frames, *state.tail))
            self._check(digest == state.fields.digest, f"the digest of {stream} is not that of its changesets")

    def _segments(self, state: State) -> Iterator[Span]:
        waiting = spans(state.fields)[::-1]
        while waiting:
            span = waiting.pop()
            if span.level:
                waiting += self._opened(state, span)[::-1]
            else:
                yield span

    def _opened(self, state: State, span: Span) -> list[Span]:
        key = span.key(state.stream)
        refs = decode_page(self.objects[key].body, key, state.stream, span.ref, span.level)
        return spans_of([(span.level - 1, ref) for ref in refs], span.last)

    def live(self) -> set[str]:
        """The keys of all that the heads refer to, and of the heads."""
        return {keys.head(stream) for stream in self._heads}.union(*map(self.reachable, self._heads.values()))


def _snapshots(state: State) -> set[str]:
    """The keys of the snapshots that are objects of their own."""
    return {key for entry in state.snapshots if (key := entry.key(state.stream)) is not None}
