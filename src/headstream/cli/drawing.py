"""A stream as a drawing: the head, the chain of segments behind it, the index beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from rich.box import ROUNDED
from rich.panel import Panel
from rich.text import Text

from headstream.cli.output import Terminal, count, moment, printable, size, versions
from headstream.cli.walking import objects, segments, walk
from headstream.client import EventStore
from headstream.protocol.layout import Changeset, Layout, Reference

T = TypeVar("T")
Part = str | tuple[str, str]

NEWEST: Final = 4
OLDEST: Final = 2
"""How many of a long list are drawn at each end."""


class Drawing:
    """Draws one layout on a terminal."""

    def __init__(self, terminal: Terminal, store: EventStore, layout: Layout, *, everything: bool) -> None:
        self._terminal = terminal
        self._store = store
        self._layout = layout
        self._everything = everything
        self._pages: list[Reference] = []
        self._range = 2 * len(count(layout.version)) + 1
        fan_out = store.settings.fan_out
        self._segments = objects(layout.references, 0, fan_out)
        self._levels = {
            level: objects(layout.references, level, fan_out)
            for level in range(1, 1 + max((reference.level for reference in layout.references), default=0))
        }

    def draw(self) -> None:
        """The whole drawing."""
        self._draw_head()
        self._draw_segments()
        self._draw_index()

    # --- the head ------------------------------------------------------------------------------------------------

    def _draw_head(self) -> None:
        layout = self._layout
        facts = [
            self._fact("stream", (printable(layout.stream), "name"), f"  version {count(layout.version)}"),
            self._fact("object", layout.key, (f"  {size(layout.size)}", "quiet")),
            self._fact("etag", layout.etag),
            self._fact("newest", str(layout.changeset_id), (" changeset", "quiet")),
            self._fact(
                "parent",
                str(layout.parent_id) if layout.parent_id else "none: it is the first",
                (" changeset", "quiet") if layout.parent_id else "",
            ),
            self._fact("tail", *self._tail_facts()),
        ]
        facts.extend(self._tail())
        width = min(self._terminal.width, 100)
        box = Panel(
            Text("\n").join(facts), title="head", title_align="left", box=ROUNDED, border_style="cyan", width=width
        )
        self._terminal.print(box)

    def _fact(self, name: str, *parts: Part) -> Text:
        return Text.assemble((f"{name:<8}", "quiet"), *parts, no_wrap=True, overflow="ellipsis")

    def _tail_facts(self) -> Iterator[Part]:
        tail = self._layout.tail
        if not tail:
            yield ("empty: the newest changeset was sealed at once", "quiet")
            return
        total = sum(changeset.size for changeset in tail)
        yield f"{count(len(tail), 'changeset')}, "
        yield f"{_span(tail[0].first, tail[-1].last)}, {size(total)}"
        yield (f" of {size(self._store.settings.tail_bytes)}", "quiet")

    def _tail(self) -> Iterator[Text]:
        newest_first = self._layout.tail[::-1]
        for entry in _elided(newest_first, everything=self._everything):
            if isinstance(entry, Changeset):
                yield self._changeset(entry)
            else:
                yield Text(f"        {'┊':>{self._range}}  {count(entry, 'more changeset')}", "quiet")

    def _changeset(self, changeset: Changeset) -> Text:
        return Text.assemble(
            "        ",
            (f"{versions(changeset.first, changeset.last):>{self._range}}", "number"),
            "  ",
            (moment(changeset.recorded_at), "time"),
            (f"  {size(changeset.size):>8}", "default"),
            (f"  key {printable(changeset.key)}" if changeset.key is not None else "", "quiet"),
            no_wrap=True,
            overflow="ellipsis",
        )

    # --- the segments --------------------------------------------------------------------------------------------

    def _draw_segments(self) -> None:
        first = self._layout.references[0] if self._layout.references else None
        if first is None:
            self._terminal.show(("  ■ nothing was sealed yet: the whole stream is in its head", "quiet"))
            return
        for entry in self._chosen_segments():
            if isinstance(entry, Reference):
                self._draw_reference("  ▼", "segment", entry)
            else:
                skipped, newer, older = entry
                self._terminal.show(
                    ("  ┊ ", "cyan"), (f"{count(skipped, 'more segment')}, {_span(older, newer)}", "quiet")
                )
        self._terminal.show(("  ■ the beginning", "quiet"))

    def _chosen_segments(self) -> Iterator[Reference | tuple[int, int, int]]:
        """Segments, newest first; in the middle perhaps how many are left out, and the last and first version of those."""
        newest_first = self._noted(walk(self._store, self._layout.references, newest_first=True))
        if self._everything or self._segments <= NEWEST + OLDEST + 1:
            yield from segments(newest_first)
            return
        newest = list(islice(segments(newest_first), NEWEST))
        yield from newest
        oldest = list(islice(segments(walk(self._store, self._layout.references, newest_first=False)), OLDEST))
        yield self._segments - len(newest) - len(oldest), newest[-1].first - 1, oldest[-1].last + 1
        yield from reversed(oldest)

    def _noted(self, walked: Iterator[Reference]) -> Iterator[Reference]:
        """The same, while the index pages among them are kept for later."""
        for reference in walked:
            if reference.level > 0:
                self._pages.append(reference)
            yield reference

    def _draw_reference(self, mark: str, kind: str, reference: Reference) -> None:
        events = reference.last - reference.first + 1
        self._terminal.show(
            (mark, "cyan"),
            f" {kind}  ",
            (f"{versions(reference.first, reference.last):>{self._range}}", "number"),
            f"  {count(events, 'event'):>12}  {size(reference.size):>9}  ",
            (self._name(reference), "quiet"),
        )

    def _name(self, reference: Reference) -> str:
        """The key, or the two ends of the id where there is no room for more."""
        room = self._terminal.width - self._range - 41
        return reference.key if len(reference.key) <= room else f"{reference.id.hex[:8]}…{reference.id.hex[-8:]}"

    # --- the index -----------------------------------------------------------------------------------------------

    def _draw_index(self) -> None:
        if not self._levels:
            return
        self._terminal.show()
        for level, number in reversed(self._levels.items()):
            newest = next(reference for reference in reversed(self._layout.references) if reference.level >= level)
            self._terminal.show(
                ("index ", "quiet"),
                f"level {level}  ",
                (count(number, "page"), "number"),
                (f" of {self._store.settings.fan_out} references each, for {_span(1, newest.last)}", "quiet"),
            )
            if self._everything:
                for page in self._pages:
                    if page.level == level:
                        self._draw_reference("  ·", "page   ", page)


def _span(first: int, last: int) -> str:
    return f"version{'' if first == last else 's'} {versions(first, last)}"


def _elided(items: Sequence[T], *, everything: bool) -> Iterator[T | int]:
    """The items; of many the middle ones are left out, and how many they are stands in their place."""
    if everything or len(items) <= NEWEST + OLDEST + 1:
        yield from items
        return
    yield from items[:NEWEST]
    yield len(items) - NEWEST - OLDEST
    yield from items[-OLDEST:]
