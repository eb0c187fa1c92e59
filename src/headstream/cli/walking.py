"""Walking what a head references, through its index pages, in either direction and without holding more than a path of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from headstream.client import EventStore
from headstream.protocol.layout import Layout, Reference


def walk(store: EventStore, references: Sequence[Reference], *, newest_first: bool) -> Iterator[Reference]:
    """Segments and index pages in order, each page just before what it references; a page is read when the walk gets there."""
    for reference in reversed(references) if newest_first else references:
        yield reference
        if reference.level > 0:
            yield from walk(store, store.references(reference), newest_first=newest_first)


def segments(walked: Iterable[Reference]) -> Iterator[Reference]:
    """The segments alone."""
    return (reference for reference in walked if reference.level == 0)


def objects(references: Sequence[Reference], level: int, fan_out: int) -> int:
    """How many objects of ``level`` there are, counted without reading a page: every page references just ``fan_out`` objects."""
    return sum(fan_out ** (reference.level - level) for reference in references if reference.level >= level)


def facts(store: EventStore, layout: Layout, *, everything: bool) -> Iterator[dict[str, object]]:
    """A layout for programs: the head, then the references, newest first; those of index pages only if ``everything`` is asked for."""
    yield {
        "object": "head",
        "key": layout.key,
        "stream": layout.stream,
        "version": layout.version,
        "etag": layout.etag,
        "size": layout.size,
        "changeset_id": layout.changeset_id,
        "parent_id": layout.parent_id,
        "digest": layout.digest,
        "fence": layout.fence,
        "tail": layout.tail,
    }
    run = walk(store, layout.references, newest_first=True) if everything else reversed(layout.references)
    for reference in run:
        yield {
            "object": "page" if reference.level else "segment",
            "key": reference.key,
            "level": reference.level,
            "first": reference.first,
            "last": reference.last,
            "size": reference.size,
        }
