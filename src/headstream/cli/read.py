"""``headstream read``: the events of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import rich_click as click

from headstream.cli.common import (
    VERSION,
    Command,
    json_option,
    open_store,
    options_option,
    stream_argument,
    url_argument,
)
from headstream.cli.failures import note
from headstream.cli.lines import line_of
from headstream.cli.output import Terminal, count, printable, write_json
from headstream.cli.rows import WIDEST, Rows
from headstream.readings import Reading

_SAMPLE = 100
"""Events that decide how wide the column of types is."""

EXAMPLES = (
    ("A whole stream", "headstream read shop.db order-1"),
    ("Its newest three events, newest first", "headstream read shop.db order-1 --backwards --limit 3"),
    ("Events 101 to 200", "headstream read shop.db order-1 --after 100 --before 201"),
    ("A copy in another store", "headstream read shop.db order-1 --json | headstream append copy.db --from -"),
)


@click.command("read", cls=Command, examples=EXAMPLES)
@url_argument
@stream_argument
@click.option("--after", type=VERSION, default=0, metavar="N", help="Only events after version N.")
@click.option("--before", type=VERSION, metavar="N", help="Only events before version N.")
@click.option("--limit", type=VERSION, metavar="N", help="At most N events: the first, or the last if backwards.")
@click.option("--backwards", is_flag=True, help="Newest first.")
@options_option
@json_option
def read(
    *,
    url: str,
    stream: str,
    after: int,
    before: int | None,
    limit: int | None,
    backwards: bool,
    options: Sequence[tuple[str, Any]],
    as_json: bool,
) -> None:
    """Show the events of a stream.

    On a terminal the data is cut to the width; elsewhere it is shown whole. With --json each line is an event in the form that
    `headstream append --from` takes.
    """
    with open_store(url, options) as store:
        reading = store.read(stream, after=after, before=before, limit=limit, backwards=backwards)
        if as_json:
            write_json(map(line_of, reading))
        else:
            show(Terminal(), reading)


def show(terminal: Terminal, reading: Reading) -> None:
    """The events as rows of a table, printed as they come."""
    head = reading.head()
    if not head.exists:
        note(f"the stream {head.stream!r} has no events")
        return
    events = iter(reading)
    sample = list(islice(events, _SAMPLE))
    number_width = max(len("version"), len(count(head.version)))
    type_width = max([len("type"), *(len(printable(event.type)) for event in sample)])
    rows = Rows(terminal, number_width, min(type_width, WIDEST))
    rows.title()
    for event in chain(sample, events):
        rows.add(event)
