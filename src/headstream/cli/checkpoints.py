"""``headstream checkpoints``: how far the readers of the feed have come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rich_click as click

from headstream.cli.common import Command, feed_end, json_option, open_store, options_option, url_argument
from headstream.cli.failures import ExitCode, Stopped, note
from headstream.cli.output import Terminal, count, moment, printable, shortened, write_json
from headstream.client import EventStore
from headstream.protocol.checkpoint import Checkpoint

EXAMPLES = (
    ("How far everybody has come", "headstream checkpoints shop.db"),
    ("For a program that watches the lag", "headstream checkpoints shop.db --json"),
    ("Have a worker begin anew", "headstream checkpoints shop.db --forget mailer"),
)


@click.command("checkpoints", cls=Command, examples=EXAMPLES)
@url_argument
@click.option(
    "--forget",
    metavar="NAME",
    help="Remove this checkpoint: a subscription of this name begins anew, and one that runs is told to stop.",
)
@options_option
@json_option
def checkpoints(*, url: str, forget: str | None, options: Sequence[tuple[str, Any]], as_json: bool) -> None:
    """List the checkpoints that subscriptions keep in the store, by name: position, lag, time and owner.

    The lag is how many events the feed has after the position, whether the subscription wants them or not. What was appended and is not
    in the feed yet is not counted: `headstream advance` moves it there.
    """
    with open_store(url, options) as store:
        if forget is not None:
            _forget(store, forget, as_json=as_json)
            return
        end = feed_end(store)
        found = list(store.checkpoints())
    if as_json:
        write_json([_facts(checkpoint, end) for checkpoint in found])
    elif found:
        _show(found, end)
    else:
        note("the store has no checkpoints")


def _forget(store: EventStore, name: str, *, as_json: bool) -> None:
    found = next((checkpoint for checkpoint in store.checkpoints() if checkpoint.name == name), None)
    if found is None:
        raise Stopped(
            f"there is no checkpoint {name!r}: `headstream checkpoints` lists those that there are", ExitCode.NO_ACCESS
        )
    store.forget(name)
    if as_json:
        write_json([{"name": name, "position": found.position, "forgotten": True}])
    else:
        Terminal().show(
            (printable(name), "name"), " is forgotten; it was at position ", (count(found.position), "number")
        )


def _lag(checkpoint: Checkpoint, end: int) -> int:
    return max(0, end - checkpoint.position)  # it may have moved past the end that was seen before


def _facts(checkpoint: Checkpoint, end: int) -> dict[str, object]:
    return {
        "name": checkpoint.name,
        "position": checkpoint.position,
        "lag": _lag(checkpoint, end),
        "owner": checkpoint.owner,
        "saved_at": checkpoint.saved_at,
    }


def _show(found: Sequence[Checkpoint], end: int) -> None:
    terminal = Terminal()
    names = [printable(checkpoint.name) for checkpoint in found]
    if terminal.is_terminal:
        names = [shortened(name, terminal.width // 4) for name in names]
    lags = [count(_lag(checkpoint, end)) for checkpoint in found]
    positions = [count(checkpoint.position) for checkpoint in found]
    name_width = max(len("name"), *map(len, names))
    position_width = max(len("position"), *map(len, positions))
    lag_width = max(len("lag"), *map(len, lags))
    title = f"{'name':<{name_width}}  {'position':>{position_width}}  {'lag':>{lag_width}}  {'saved (UTC)':<19}  owner"
    terminal.show((title, "quiet"))
    for checkpoint, name, position, lag in zip(found, names, positions, lags, strict=True):
        terminal.show(
            (f"{name:<{name_width}}", "name"),
            (f"  {position:>{position_width}}  {lag:>{lag_width}}", "number"),
            (f"  {moment(checkpoint.saved_at)}", "time"),
            (f"  {printable(checkpoint.owner)}", "quiet"),
        )
