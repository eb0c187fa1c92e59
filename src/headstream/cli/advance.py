"""``headstream advance``: move what was appended into the feed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rich_click as click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from headstream.cli.common import Command, feed_end, json_option, open_store, options_option, url_argument
from headstream.cli.output import Terminal, count, write_json
from headstream.client import EventStore

EXAMPLES = (
    ("Move what waits into the feed", "headstream advance shop.db"),
    ("From cron, for a bucket that is only written to", "headstream advance az://events/shop"),
    ("For a program", "headstream advance shop.db --json"),
)


@click.command("advance", cls=Command, examples=EXAMPLES)
@url_argument
@options_option
@json_option
def advance(*, url: str, options: Sequence[tuple[str, Any]], as_json: bool) -> None:
    """Move into the feed what was appended and is not there yet.

    Nobody has to: whoever reads the feed does it first, and writers do it after every so many appends. It keeps the inbox of a store short
    that is written to by many short-lived processes and seldom read. It can be interrupted at any time, and any number may run at once.
    """
    with open_store(url, options) as store:
        moved = _advance(store)
        end = feed_end(store)
    if as_json:
        write_json([{"events": moved, "position": end}])
    else:
        Terminal().show(
            (count(moved, "event"), "number"), " moved into the feed, which ends at position ", (count(end), "number")
        )


def _advance(store: EventStore) -> int:
    terminal = Terminal(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.fields[events]}"), TimeElapsedColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as shown:
        task = shown.add_task("", total=None, events="looking")
        return store.advance(lambda moved: shown.update(task, events=f"{count(moved, 'event')} moved into the feed"))
