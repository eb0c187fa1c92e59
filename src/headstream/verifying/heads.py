"""Rebuilding the head of a stream."""

from __future__ import annotations

import msgspec

from headstream.errors import CorruptData
from headstream.protocol import inventory, keys, rebuild, repair
from headstream.protocol.codec import Batch, Frame
from headstream.protocol.fault import Fault
from headstream.protocol.feed import feed_settings
from headstream.protocol.intent import announced
from headstream.protocol.lineage import Lineage, survey
from headstream.protocol.lineage import read as read_segment
from headstream.protocol.ops import Found
from headstream.protocol.rebuild import Base, Rebuilt, Wreck
from headstream.protocol.segment import Segment
from headstream.protocol.verify import Link, Opened, get_many, open_head, read_tail
from headstream.verifying.bench import ELSEWHERE, Bench, Repair


class HeadRepair:
    """Rebuilds heads from their segments, from what can be read of them, and from the feed."""

    def __init__(self, bench: Bench, *, accept_loss: bool) -> None:
        self._bench = bench
        self._run = bench.run
        self._accept_loss = accept_loss

    def repair(self, found: Fault) -> Repair:
        """One head, unless events might be missing in it."""
        stream = found.stream
        assert stream is not None
        if not self._is_broken(stream):
            return self._bench.cannot(found, ELSEWHERE)
        wreck, base, loose = self.salvage(stream)
        kept = rebuild.end_of(base, stream)
        base = rebuild.joined(wreck, self._with_feed(stream, base, kept))
        rebuilt = self._rebuild(wreck, base)
        if rebuilt is None:
            return self._bench.cannot(found, "nothing of the stream is left")
        version = rebuilt.state.version
        if version < self._published(stream):
            return self._bench.cannot(
                found, f"the feed has more of the stream than version {version}, and cannot be read"
            )
        whole = rebuilt.whole or (not loose and self._ends_at(stream, version, wreck))
        if stream == keys.FEED and not whole:
            return self._bench.cannot(found, "its newest changesets are lost: --repair-feed lays the feed out anew")
        if not whole and not self._accept_loss:
            return self._bench.cannot(
                found,
                f"versions up to {version} are intact, and newer ones may be lost: --accept-loss rebuilds it with those",
            )
        text = f"rebuilt, with version {version}"
        if version > kept.version and (wreck.fields is None or wreck.fields.digest != rebuilt.state.fields.digest):
            text += f"; what is after version {kept.version} is from the feed: its idempotency keys, if it had any, are lost"
        if whole:
            return self._bench.put(found, rebuilt.puts, text)
        done = self._bench.put(found, rebuilt.puts, f"{text}; newer ones, if there were any, are lost")
        if done.possible and self._bench.write:
            self._forget(stream, version)
        return done

    def _forget(self, stream: str, version: int) -> None:
        """Remove the snapshots of what is lost: they would say for ever that the stream was longer."""
        folder = f"{keys.SNAPSHOTS}{keys.escape(stream)}/"
        after: str | None = ""
        while after is not None:
            page = self._run(inventory.list_page(folder, after))
            after = inventory.rest_of(page)
            for key in page.keys:
                if key[len(folder) :].partition("-")[0] > f"{version:016d}":
                    self._run(repair.remove(key))

    def salvage(self, stream: str) -> tuple[Wreck, Base, int]:
        """What can be believed of what is there instead of a head; what is behind it; how many segments cannot be linked to that."""
        wreck: Wreck = self._run(rebuild.examine(stream))
        segments = self._bench.survey(Lineage(), survey(stream))
        committed = self._published(stream)
        leaf = rebuild.leaf_of(wreck, segments, committed)
        frames = self._segment(stream, leaf.end.key).frames if leaf is not None else []
        return wreck, rebuild.base_of(wreck, segments, leaf, frames, committed), segments.loose

    def newest(self, stream: str, base: Base) -> Frame | Batch | None:
        """The newest changeset, of which the feed's head says what it settled."""
        if base.frames:
            return rebuild.decode(stream, base.frames[-1], keys.head(stream))
        return self._segment(stream, base.link.key).chain[-1] if base.refs else None

    def _rebuild(self, wreck: Wreck, base: Base) -> Rebuilt | None:
        settings = self._bench.settings
        if wreck.stream == keys.FEED:
            settings = feed_settings(settings)
        return rebuild.rebuild(wreck, base, settings, self._run(repair.fresh()), self.newest(wreck.stream, base))

    def _is_broken(self, stream: str) -> bool:
        opened: Opened = self._run(open_head(stream, None))
        known = opened.known
        return known is None or known.state.version == 0 or read_tail(known)[1] is not None

    def _segment(self, stream: str, key: str) -> Segment:
        """A segment that was looked at before."""
        (answer,) = self._run(get_many((key,)))
        segment = read_segment(answer.body, key, stream) if isinstance(answer, Found) else None
        if segment is None:
            raise CorruptData("the segment could be read a moment ago", key=key)
        return segment

    # --- the feed ----------------------------------------------------------------------------------------------------

    def _published(self, stream: str) -> int:
        """How many events of a stream the feed has."""
        return 0 if stream == keys.FEED else self._bench.verification.census.of(stream).version

    def _with_feed(self, stream: str, base: Base, end: Link) -> Base:
        """And with the events that only the feed has."""
        published = self._published(stream)
        if published <= end.version:
            return base
        events = self._bench.copies(stream, end.version + 1, published)
        return msgspec.structs.replace(base, frames=(*base.frames, *rebuild.from_feed(events, end)))

    def _ends_at(self, stream: str, version: int, wreck: Wreck) -> bool:
        """Whether the feed says that the stream ends there: it has all of it, and no later append was announced."""
        census = self._bench.verification.census
        if stream == keys.FEED or census.gaps or census.of(stream).version != version:
            return False
        if not self._bench.settings.feed or (wreck.fields is not None and wreck.fields.version != version):
            return False
        after: str | None = ""
        while after is not None:
            page = self._run(inventory.list_page(keys.INBOX, after))
            after = inventory.rest_of(page)
            for key in page.keys:
                entry = announced(key)
                if entry.stream == stream and entry.follows >= version:
                    return False
        return True
