"""``headstream init``: make a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import rich_click as click

from headstream.backends.provision import create_container
from headstream.cli.common import Command, check_lasting, json_option, options_option, url_argument
from headstream.cli.output import Terminal, count, size, write_json
from headstream.cli.spending import watched
from headstream.client import EventStore
from headstream.connecting import connect, locate
from headstream.errors import StoreNotFound
from headstream.model import Settings

EXAMPLES = (
    ("One SQLite file", "headstream init shop.db"),
    ("A container or bucket, made if there is none, and a path in it", "headstream init az://events/shop"),
    (
        "Every changeset an object of its own, as in the 2012 article",
        "headstream init shop.db --tail-bytes 0 --no-feed",
    ),
)


@click.command("init", cls=Command, examples=EXAMPLES)
@url_argument
@click.option(
    "--tail-bytes",
    type=int,
    metavar="N",
    help="How many bytes of the newest changesets travel inside a stream's head, 0 to 1048576. The default is what measurements favour "
    "on the storage; 0 makes every changeset its own object.",
)
@click.option(
    "--fan-out",
    type=int,
    metavar="N",
    help="How many references a head, or one index page, holds at each level, 2 to 1024; 64 if not given.",
)
@click.option(
    "--feed/--no-feed",
    default=None,
    help="Whether appends announce themselves for the feed of all events; they do if not said otherwise.",
)
@click.option(
    "--advance-every",
    type=int,
    metavar="N",
    help="After how many of its own appends a client advances the feed by itself, 0 to 1000000; 1000 if not given. 0: never; then somebody "
    "has to read the feed, or run `headstream advance`.",
)
@click.option(
    "--grace-seconds",
    type=int,
    metavar="N",
    help="How long an append may take before an advance of the feed may make it start over, 1 to 86400; 60 if not given. Longer than your slowest "
    "upload, and than your clocks differ.",
)
@options_option
@json_option
def init(
    *,
    url: str,
    tail_bytes: int | None,
    fan_out: int | None,
    feed: bool | None,
    advance_every: int | None,
    grace_seconds: int | None,
    options: Sequence[tuple[str, Any]],
    as_json: bool,
) -> None:
    """Create a store, and the container, bucket or folder that it lies in if there is none.

    The settings are fixed for as long as the store exists. Where a store exists already nothing is changed: its settings are
    shown, and asking for others is an error.
    """
    given = {
        "tail_bytes": tail_bytes,
        "fan_out": fan_out,
        "feed": feed,
        "advance_every": advance_every,
        "grace_seconds": grace_seconds,
    }
    wanted: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    check_lasting(url)
    Settings(**{"tail_bytes": 0, **wanted})  # so that a container is not made for nothing
    keywords = wanted | dict(options)
    try:
        store, container, created = connect(url, create=False, **keywords), False, False
    except StoreNotFound:
        container = create_container(url, **dict(options))
        store, created = connect(url, create=True, **keywords), True
    with watched(store):
        if as_json:
            write_json([_facts(store, created=created, container=container)])
        else:
            _show(store, created=created, container=container)


def _facts(store: EventStore, *, created: bool, container: bool) -> dict[str, object]:
    return {
        "url": store.url,
        "created": created,
        "created_container": container,
        "store_id": str(store.store_id),
        "settings": store.settings,
    }


def _show(store: EventStore, *, created: bool, container: bool) -> None:
    terminal, settings = Terminal(), store.settings
    made = f"created, in a new {_holder(store.url)}" if container else "created"
    state = (made, "good") if created else ("existed already; nothing was changed", "quiet")
    terminal.show(("store     ", "quiet"), (store.url, "name"), "  ", state)
    terminal.show(("id        ", "quiet"), str(store.store_id))
    for name, setting, meaning in _described(settings):
        terminal.show((f"{name:<10}", "quiet"), setting, (f"  {meaning}", "quiet"))


def _described(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Each setting: its name, its value, what it means."""
    yield "tail", size(settings.tail_bytes), "of the newest changesets ride in a stream's head"
    yield "fan-out", count(settings.fan_out), "references in a head or index page, at each level"
    if not settings.feed:
        yield "feed", "no", ""
        return
    yield "feed", "yes", "appends announce themselves for it"
    if settings.advance_every:
        yield "advance", count(settings.advance_every), "appends of a client, and it advances the feed by itself"
    else:
        yield "advance", "never", "by itself: read the feed, or run `headstream advance`"
    yield "grace", f"{settings.grace_seconds:,} s", "for an append, before an advance may make it start over"


def _holder(url: str) -> str:
    return {"az": "container", "s3": "bucket", "gs": "bucket"}.get(locate(url).kind, "folder")
