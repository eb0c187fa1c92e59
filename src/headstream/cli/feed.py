"""``headstream feed``: the events of all streams in one order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import rich_click as click

from headstream.cli.common import VERSION, Command, json_option, open_store, options_option, url_argument
from headstream.cli.ending import Ending
from headstream.cli.failures import ExitCode, Stopped, note
from headstream.cli.lines import line_of
from headstream.cli.output import Terminal, count, write_json
from headstream.cli.rows import FeedRows
from headstream.client import EventStore
from headstream.following import Exactly
from headstream.model import FeedEvent
from headstream.subscribing import Subscription

_BATCH: Final = 100
"""Events that are written together, if they are at hand."""

EXAMPLES = (
    ("Everything that happened", "headstream feed shop.db"),
    ("What happened last, newest first", "headstream feed shop.db --backwards --limit 10"),
    (
        "What happens to orders and carts, as it happens",
        "headstream feed shop.db --follow --streams order- --streams cart-",
    ),
    (
        "A worker that goes on where it stopped",
        "headstream feed shop.db --follow --checkpoint mailer --json",
    ),
    ("The same from cron, until there is nothing more", "headstream feed shop.db --checkpoint mailer --json"),
    ("A copy of the whole store", "headstream feed shop.db --json | headstream append copy.db --from -"),
)

Write = Callable[[list[FeedEvent]], None]
"""Writes some events out."""


class Wanted(msgspec.Struct, frozen=True):
    """Which part of the feed was asked for."""

    after: int
    limit: int | None
    streams: tuple[str | Exactly, ...] | None
    types: tuple[str, ...] | None
    advance: bool


@click.command("feed", cls=Command, examples=EXAMPLES)
@url_argument
@click.option(
    "--after",
    type=VERSION,
    default=0,
    metavar="N",
    help="Only events after position N. With --checkpoint it counts only the first time.",
)
@click.option("--limit", type=VERSION, metavar="N", help="At most N events: the first, or the last if backwards.")
@click.option("--backwards", is_flag=True, help="Newest first.")
@click.option(
    "--streams",
    multiple=True,
    metavar="PREFIX",
    help="Only events of streams whose names begin with this; may be repeated, for others too.",
)
@click.option(
    "--exactly",
    multiple=True,
    metavar="NAME",
    help="Only events of the stream with this whole name; may be repeated, and adds to --streams.",
)
@click.option("--types", multiple=True, metavar="TYPE", help="Only events of this type; may be repeated.")
@click.option("--follow", is_flag=True, help="Then wait for more, and show it as it comes.")
@click.option(
    "--checkpoint",
    metavar="NAME",
    help="Go on where the worker of this name stopped. The store keeps how far it has come: everything that was written out. After a crash "
    "what was written in the last second or so comes again. Of two workers with one name the first is told to stop.",
)
@click.option(
    "--no-advance",
    "advance",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Show what others moved into the feed, and move nothing: for readers that may not write.",
)
@options_option
@json_option
def feed(
    *,
    url: str,
    after: int,
    limit: int | None,
    backwards: bool,
    streams: tuple[str, ...],
    exactly: tuple[str, ...],
    types: tuple[str, ...],
    follow: bool,
    checkpoint: str | None,
    advance: bool,
    options: Sequence[tuple[str, Any]],
    as_json: bool,
) -> None:
    """Show the events of all streams in one order, the feed.

    What was appended before is there: the feed is advanced first. On a terminal what is too long is cut; elsewhere it is shown
    whole. With --json each line is an event in the form that `headstream append --from` takes.

    With --follow it ends by Ctrl-C (exit code 130), by SIGTERM (0), or when nobody reads its output any more (141), and the
    checkpoint is saved.
    """
    subscribed = follow or checkpoint is not None
    if backwards and subscribed:
        raise click.UsageError(f"--backwards cannot go with {'--follow' if follow else '--checkpoint'}")
    chosen: tuple[str | Exactly, ...] = (*streams, *[Exactly(name) for name in exactly])
    wanted = Wanted(after, limit, chosen or None, types or None, advance)
    write = _write_lines if as_json else FeedRows(Terminal()).write
    with open_store(url, options) as store:
        if subscribed:
            empty = _subscribe(store, wanted, write, follow=follow, checkpoint=checkpoint)
        else:
            empty = _read(store, wanted, write, backwards=backwards)
    if empty is not None and not as_json:
        note(empty)


def _write_lines(events: list[FeedEvent]) -> None:
    write_json(map(line_of, events))


def _read(store: EventStore, wanted: Wanted, write: Write, *, backwards: bool) -> str | None:
    """Write what there is; returns what to say if that is nothing."""
    reading = store.feed(
        after=wanted.after,
        limit=wanted.limit,
        backwards=backwards,
        streams=wanted.streams,
        types=wanted.types,
        advance=wanted.advance,
    )
    # Of a filtered feed nobody knows how long the next event takes to be found: it does not wait for others.
    filtered = wanted.streams is not None or wanted.types is not None
    some = 1 if filtered else _BATCH
    empty = True
    while batch := list(islice(reading, some)):
        write(batch)
        empty = False
    return f"the feed has no {'such ' if reading.position() else ''}events" if empty else None


def _subscribe(store: EventStore, wanted: Wanted, write: Write, *, follow: bool, checkpoint: str | None) -> str | None:
    """Write what there is and what comes; returns what to say if that was nothing, and nothing is waited for."""
    with store.subscribe(
        after=wanted.after,
        checkpoint=checkpoint,
        streams=wanted.streams,
        types=wanted.types,
        follow=follow,
        advance=wanted.advance,
    ) as subscription:
        empty = True
        with Ending(subscription) as ending:
            for batch in _batches(subscription, wanted.limit):
                write(batch)
                empty = False
        if checkpoint is not None and not empty:
            subscription.save()  # the last batch too: it is written
    if ending.signal == signal.SIGINT:
        raise KeyboardInterrupt
    if ending.signal is not None and not follow:
        raise Stopped(f"stopped at position {subscription.position}, before the end", ExitCode.TERMINATED)
    if ending.unread:
        raise BrokenPipeError
    return None if follow or not empty else f"nothing new after position {count(subscription.position)}"


def _batches(subscription: Subscription, limit: int | None) -> Iterator[list[FeedEvent]]:
    """The events as they come, ``limit`` at most. Those of a batch count as handled when the next is asked for."""
    while limit is None or limit > 0:
        size = _BATCH if limit is None else min(limit, _BATCH)
        batch = next(subscription.batches(size), None)
        if batch is None:
            return
        yield batch
        subscription.acknowledge()  # it is written
        if limit is not None:
            limit -= len(batch)
