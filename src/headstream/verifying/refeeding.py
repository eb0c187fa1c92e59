"""Laying the feed out anew, from where it cannot be read or is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from headstream import limits
from headstream.errors import CorruptData
from headstream.protocol import fault, inventory, keys, rebuild, refeed, repair
from headstream.protocol.census import Census
from headstream.protocol.codec import Frame
from headstream.protocol.fault import Fault
from headstream.protocol.head import Fields, Known, Sealed, State
from headstream.protocol.ops import Condition, Matches
from headstream.protocol.refeed import Entry, Kept
from headstream.protocol.segment import Ref
from headstream.protocol.verify import START, Opened, begin, open_head, step
from headstream.verifying.bench import ELSEWHERE, Bench, Repair
from headstream.verifying.heads import HeadRepair


class FeedRepair:
    """Keeps the feed as far as it is right, and publishes the rest again, in the order of the changesets' ids."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._run = bench.run

    def repair(self, lost: list[Fault]) -> Repair:
        """The whole of it."""
        found = lost[0]
        source, settled, when = self._source()
        kept, census = self._keep(source, min([_bound(one, source) for one in lost]))
        with closing(_Sorter()) as sorter:
            for stream in sorted(self._bench.verification.versions):
                if stream != keys.FEED:
                    self._collect(stream, census.of(stream).version, settled, sorter)
            events = sorter.events
            if self._bench.write and not self._publish(kept, sorter, settled, when):
                return self._bench.cannot(found, f"the feed was advanced meanwhile: stop its writers; {ELSEWHERE}")
        start = kept.end.version
        text = f"laid out anew after position {start}, with {events} events from their streams"
        return self._bench.can(
            found, f"{text}; whoever has read further starts over after {start}{self._readers(start)}"
        )

    # --- what stays --------------------------------------------------------------------------------------------------

    def _source(self) -> tuple[Known, list[bytes], Condition]:
        """The feed as far as its head, or what is left without it, leads to it; the intents that it settles; the condition of its replacement."""
        opened: Opened = self._run(open_head(keys.FEED, None))
        if opened.known is not None and opened.known.etag is not None:
            return opened.known, sorted(opened.known.state.settled), Matches(opened.known.etag)
        heads = HeadRepair(self._bench, accept_loss=False)
        wreck, base, _ = heads.salvage(keys.FEED)
        link, end = base.link, rebuild.end_of(base, keys.FEED)
        sealed = Sealed(link.version, link.changeset_id, link.digest)
        fields = Fields(
            keys.FEED,
            end.version,
            end.changeset_id,
            end.parent_id,
            end.digest,
            1,
            sealed,
            [list(base.refs)] if base.refs else [],
            {},
        )
        settled = rebuild.settled_by(heads.newest(keys.FEED, base)).get("settled", [])
        state = State(fields, base.frames, sum(map(len, base.frames)))
        return Known(state, None), settled, wreck.when

    def _keep(self, source: Known, bad: int) -> tuple[Kept, Census]:
        """The part before position ``bad`` that can be read, by whole segments; and what it has of each stream."""
        census, refs, sealed, end = Census(), list[Ref](), START, START
        tail: tuple[bytes, ...] = ()
        walk = begin(source)
        while not walk.ended:
            stride = self._run(step(walk))
            walk = stride.walk
            wrong = {one.key for one in stride.faults if one.kind is fault.Kind.CONTRADICTION}
            for part in stride.parts:
                if part.link.version >= bad or part.chain[0].follows != end.version or part.key in wrong:
                    return Kept(refs, sealed, tail, end, source.state.fields.fence), census
                if census.absorb(part):
                    raise CorruptData("the feed has faults that it had not a moment ago: verify again", key=part.key)
                end = part.link
                if part.ref is None:
                    tail = source.state.tail[: len(part.chain)]
                else:
                    refs.append(part.ref)
                    sealed = part.link
            if stride.faults:
                break
        return Kept(refs, sealed, tail, end, source.state.fields.fence), census

    # --- what is published again -------------------------------------------------------------------------------------

    def _collect(self, stream: str, after: int, settled: list[bytes], sorter: _Sorter) -> None:
        """The changesets of a stream after a version, up to the first that is announced: what follows is published after that one."""
        opened: Opened = self._run(open_head(stream, None))
        if opened.known is None:
            raise CorruptData("the head cannot be read", key=keys.head(stream))
        walk = begin(opened.known, after)
        while not walk.ended:
            stride = self._run(step(walk))
            walk = stride.walk
            if stride.faults:
                raise CorruptData(stride.faults[0].problem, key=stride.faults[0].key)
            for part in stride.parts:
                frames = [frame for frame in part.chain if isinstance(frame, Frame) and frame.follows >= after]
                names = tuple([keys.intent(frame.id, frame.follows, stream) for frame in frames])
                missing = self._run(inventory.missing_intents(names))
                for frame, is_missing in zip(frames, missing, strict=True):
                    if not is_missing and frame.id not in settled:
                        return
                    sorter.add(stream, frame)

    def _publish(self, kept: Kept, sorter: _Sorter, settled: list[bytes], when: Condition) -> bool:
        settings = self._bench.settings
        state: State = self._run(refeed.begin(kept, settings, self._run(repair.fresh())))
        for batch in sorter.batches():
            state = self._run(refeed.extend(state, batch, settings))
        done: bool = self._run(refeed.finish(state, settled, when))
        return done

    def _readers(self, start: int) -> str:
        """The checkpoints that are behind what stays."""
        ahead: list[str] = []
        after: str | None = ""
        while after is not None:
            page = self._run(inventory.checkpoints(after))
            after = page.rest
            ahead += [found.name for found in page.found if found.position > start]
        names = ", ".join(repr(name) for name in ahead)
        return f"; forget the checkpoints {names}, and begin them there" if ahead else ""


def _bound(found: Fault, source: Known) -> int:
    """The first position that may be wrong because of a fault."""
    folder = keys.segment(keys.FEED, 1, b"").rpartition("/")[0] + "/"
    if found.key.startswith(folder):
        return int(found.key.removeprefix(folder).partition("-")[0])
    if found.stream == keys.FEED and found.first is not None:
        return found.first
    if found.stream == keys.FEED and found.kind is fault.Kind.CONTRADICTION:
        return 1  # nobody knows where
    if found.key == keys.head(keys.FEED) and found.kind is fault.Kind.CONTRADICTION:
        return source.state.fields.sealed.version + 1
    return limits.MAX_VERSION


class _Sorter:
    """Changesets, sorted by their ids on disk: there may be more than memory holds."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.execute(
            "CREATE TABLE entry (id BLOB, stream TEXT, follows INT, events INT, weight INT, PRIMARY KEY (id, stream))"
        )
        self.events = 0

    def add(self, stream: str, frame: Frame) -> None:
        """One more."""
        row = (frame.id, stream, frame.follows, len(frame.events), frame.weight)
        self._db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", row)
        self.events += len(frame.events)

    def batches(self) -> Iterator[list[Entry]]:
        """All of them in order, as many together as a batch of the feed has."""
        batch: list[Entry] = []
        events = weight = 0
        for changeset, stream, follows, more, heavier in self._db.execute(
            "SELECT id, stream, follows, events, weight FROM entry ORDER BY id"
        ):
            full = len(batch) == limits.FEED_BATCH_INTENTS or events + more > limits.FEED_BATCH_EVENTS
            if batch and (full or weight + heavier > limits.FEED_BATCH_BYTES):
                yield batch
                batch, events, weight = [], 0, 0
            batch.append(Entry(changeset, stream, follows))
            events, weight = events + more, weight + heavier
        if batch:
            yield batch

    def close(self) -> None:
        """Remove them."""
        self._db.close()
