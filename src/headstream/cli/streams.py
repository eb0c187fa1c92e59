"""``headstream streams``: the names of streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import rich_click as click

from headstream.cli.common import VERSION, Command, json_option, open_store, options_option, url_argument
from headstream.cli.output import Terminal, moment, printable, write_json
from headstream.client import EventStore
from headstream.model import RecordedEvent

EXAMPLES = (
    ("All streams", "headstream streams shop.db"),
    ("Those of orders, with their versions", "headstream streams shop.db --prefix order- --long"),
    ("The first hundred, for a program", "headstream streams shop.db --limit 100 --json"),
)


@click.command("streams", cls=Command, examples=EXAMPLES)
@url_argument
@click.option("--prefix", default="", metavar="TEXT", help="Only names that begin with this.")
@click.option("--limit", type=VERSION, metavar="N", help="At most so many.")
@click.option(
    "--long",
    "-l",
    "detailed",
    is_flag=True,
    help="Also each stream's version and the time of its newest event: a request more for each stream, or two.",
)
@options_option
@json_option
def streams(
    *, url: str, prefix: str, limit: int | None, detailed: bool, options: Sequence[tuple[str, Any]], as_json: bool
) -> None:
    """List the streams of a store, in the order of their names.

    headstream's own streams, whose names begin with $, are listed only for a prefix that begins with $.
    """
    with open_store(url, options) as store:
        names = islice(store.streams(prefix), limit)
        if as_json:
            write_json(_facts(store, names, detailed=detailed))
        else:
            _show(store, names, detailed=detailed)


def _facts(store: EventStore, names: Iterator[str], *, detailed: bool) -> Iterator[dict[str, object]]:
    for name in names:
        if detailed:
            newest = _newest(store, name)
            if newest is not None:
                yield {"stream": name, "version": newest.version, "recorded_at": newest.recorded_at}
        else:
            yield {"stream": name}


def _show(store: EventStore, names: Iterator[str], *, detailed: bool) -> None:
    terminal = Terminal()
    if detailed:
        terminal.show((f"{'version':>10}  {'newest (UTC)':<19}  stream", "quiet"))
    for name in names:
        newest = _newest(store, name) if detailed else None
        if newest is not None:
            time = moment(newest.recorded_at)
            terminal.show(
                (f"{newest.version:>10,}", "number"), "  ", (f"{time:<19}", "time"), "  ", (printable(name), "name")
            )
        elif not detailed:
            click.echo(printable(name))


def _newest(store: EventStore, name: str) -> RecordedEvent | None:
    """The last event of a stream, if it is still there."""
    return next(iter(store.read(name, backwards=True, limit=1)), None)
