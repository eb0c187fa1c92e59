"""``headstream head``: the linked list that a stream is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rich_click as click

from headstream.cli.common import Command, json_option, open_store, options_option, stream_argument, url_argument
from headstream.cli.drawing import Drawing
from headstream.cli.failures import ExitCode, Stopped
from headstream.cli.output import Terminal, write_json
from headstream.cli.walking import facts

EXAMPLES = (
    ("Where a stream ends, and what it is made of", "headstream head shop.db order-1"),
    ("Every object, however many", "headstream head shop.db order-1 --all"),
    ("For a program: the head, then an object a line", "headstream head shop.db order-1 --json"),
)


@click.command("head", cls=Command, examples=EXAMPLES)
@url_argument
@stream_argument
@click.option(
    "--all", "everything", is_flag=True, help="Leave nothing out: read every index page, and list every object."
)
@options_option
@json_option
def head(*, url: str, stream: str, everything: bool, options: Sequence[tuple[str, Any]], as_json: bool) -> None:
    """Draw a stream: its head, the changesets in it, the segments behind it and the index to them.

    Long lists are cut in the middle, and what is cut is counted. With --json the first object is the head; the objects that
    it references follow, newest first, and with --all those that its index pages reference too.
    """
    with open_store(url, options) as store:
        layout = store.layout(stream)
        if layout is None:
            raise Stopped(
                f"the stream {stream!r} does not exist: `headstream streams {url}` lists those that do",
                ExitCode.NO_ACCESS,
            )
        if as_json:
            write_json(facts(store, layout, everything=everything))
        else:
            Drawing(Terminal(), store, layout, everything=everything).draw()
