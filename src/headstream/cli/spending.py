"""What a command asked of its storage: ``headstream --stats``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import rich_click as click

from headstream.cli.output import Terminal, count, size
from headstream.client import EventStore
from headstream.stats import Stats


class Spending:
    """The stores that a command has opened, and how it tells what they did. There is one for each run of the program."""

    def __init__(self) -> None:
        self._stores: list[EventStore] = []
        self._as_json = False

    def watch(self, store: EventStore, *, as_json: bool) -> None:
        """Count what this store does, too; ``as_json``, if the command writes for programs."""
        self._stores.append(store)
        self._as_json = as_json

    def show(self) -> None:
        """All of it on stderr, where it is in the way of no output. Nothing if no store was opened."""
        if not self._stores:
            return
        total = sum([store.stats() for store in self._stores], start=Stats())
        with suppress(OSError):  # nobody reads it
            if self._as_json:
                print(msgspec.json.encode(total).decode(), file=sys.stderr)  # noqa: T201 - the output of a command
            else:
                terminal = Terminal(stderr=True)
                for name, text in _rows(total):
                    terminal.show((f"{name:<10}", "quiet"), text)


def watched(store: EventStore) -> EventStore:
    """The same store, whose requests ``--stats`` counts."""
    context = click.get_current_context(silent=True)
    if context is not None:  # else it is used as a function
        context.find_root().ensure_object(Spending).watch(store, as_json=context.params.get("as_json", False))
    return store


def _rows(total: Stats) -> Iterator[tuple[str, str]]:
    """What there was of each kind, for people; kinds of which there was nothing are left out."""
    parts = {
        "gets": (
            count(total.gets),
            _some(total.not_modified, "not modified"),
            _some(total.missing, "missing"),
            _some(total.together, "together"),
        ),
        "commits": (_some(total.commits, "written"), _some(total.refused, "refused")),
        "preludes": (count(total.preludes),),
        "lists": (count(total.lists),),
        "deletes": (count(total.deletes),),
        "bytes": (f"{size(total.bytes_read)} read", f"{size(total.bytes_written)} written"),
        "faults": (count(total.faults), _some(total.unknown, "of unknown outcome")),
        "conflicts": (count(total.conflicts),),
        "retries": (count(total.retries),),
        "heads": (_some(total.head_hits, "remembered"), _some(total.head_misses, "not remembered")),
        "states": (_some(total.state_hits, "remembered"), _some(total.state_misses, "not remembered")),
        "objects": (_some(total.object_hits, "from the cache"), _some(total.object_misses, "not in the cache")),
    }
    for name, texts in parts.items():
        said = [text for text in texts if text not in {"", "0"}]
        if said:
            yield name, ", ".join(said)


def _some(number: int, what: str) -> str:
    return f"{count(number)} {what}" if number else ""
