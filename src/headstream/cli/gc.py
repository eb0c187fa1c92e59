"""``headstream gc``: remove what failed appends left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import rich_click as click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from headstream.cli.common import Command, json_option, open_store, options_option, url_argument
from headstream.cli.failures import Stopped, code_of, say
from headstream.cli.output import Terminal, count, moment, printable, size, write_json
from headstream.client import EventStore
from headstream.collecting import MAX_JOBS, Collected, Found, Problem, Unknown, collect

EXAMPLES = (
    ("What would be removed", "headstream gc shop.db --dry-run"),
    ("Remove it", "headstream gc shop.db"),
    ("A large store, sixteen streams at once, for a program", "headstream gc az://events/shop --jobs 16 --json"),
)

SHOWN: Final = 20
"""Unknown names that are shown to people; all of them are in the JSON."""


@click.command("gc", cls=Command, examples=EXAMPLES)
@url_argument
@click.option("--dry-run", is_flag=True, help="Only look, and write nothing at all.")
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_JOBS),
    default=4,
    metavar="N",
    show_default=True,
    help=f"Streams that are looked through at once, 1 to {MAX_JOBS}.",
)
@options_option
@json_option
def gc(*, url: str, dry_run: bool, jobs: int, options: Sequence[tuple[str, Any]], as_json: bool) -> None:
    """Remove what no stream refers to any more: what failed appends and crashed processes left behind.

    It is safe while others write, and can be interrupted. What is younger than the store's grace period is left. First it moves into the feed
    what waits for it, as `headstream advance` does. Names that headstream does not make are reported and left. A stream that is damaged is
    left as it is, and the exit code says so; the others are looked through all the same.
    """
    notes = _Notes(as_json=as_json)
    with open_store(url, options) as store:
        total = _collect(store, notes, dry_run=dry_run, jobs=jobs)
    if as_json:
        write_json([{"found": "total", **msgspec.structs.asdict(total)}])
    else:
        _show(total, notes.unknown)
    if notes.problem is not None:
        raise Stopped(
            f"{count(total.problems, 'part')} of the store could not be looked through: `headstream verify {url}` says more",
            code_of(notes.problem.error),
        )


class _Notes:
    """What is found on the way: written at once for programs, and for people kept as far as it is shown."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.problem: Problem | None = None
        """The first."""
        self.unknown: list[str] = []
        """Some of the keys that headstream does not make."""

    def take(self, found: Found) -> None:
        """One thing."""
        if self._as_json:
            write_json([_facts(found)])
        if isinstance(found, Problem):
            self.problem = self.problem or found
            say(f"{found.what}: {found.error}")
        elif isinstance(found, Unknown) and len(self.unknown) < SHOWN:
            self.unknown.append(found.key)


def _facts(found: Found) -> dict[str, object]:
    if isinstance(found, Problem):
        return {
            "found": "problem",
            "what": found.what,
            "error": type(found.error).__name__,
            "message": str(found.error),
        }
    return {"found": type(found).__name__.lower(), **msgspec.structs.asdict(found)}


def _collect(store: EventStore, notes: _Notes, *, dry_run: bool, jobs: int) -> Collected:
    terminal = Terminal(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.fields[done]}"), TimeElapsedColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as shown:
        task = shown.add_task("", total=None, done="looking")

        def progress(total: Collected) -> None:
            garbage = count(total.removed.objects, "object")
            shown.update(task, done=f"{count(total.streams, 'stream')} looked through, {garbage} of garbage")

        return collect(store, dry_run=dry_run, jobs=jobs, on_found=notes.take, on_progress=progress)


# --- for people ----------------------------------------------------------------------------------------------------


def _show(total: Collected, unknown: Sequence[str]) -> None:
    terminal = Terminal()
    title = "would be removed" if total.dry_run else "removed"
    rows = [
        (name, count(tally.objects), size(tally.size))
        for name, tally in (
            ("segments", total.segments),
            ("index pages", total.pages),
            ("snapshots", total.snapshots),
            ("probes", total.probes),
            ("total", total.removed),
        )
    ]
    widths = [max(map(len, column)) for column in zip((title, "objects", "bytes"), *rows, strict=True)]
    terminal.show((f"{title:<{widths[0]}}  {'objects':>{widths[1]}}  {'bytes':>{widths[2]}}", "quiet"))
    for name, objects, weight in rows:
        terminal.show((f"{name:<{widths[0]}}", "name"), (f"  {objects:>{widths[1]}}  {weight:>{widths[2]}}", "number"))
    terminal.show(_looked(total))
    for remark in _remarks(total):
        terminal.show(remark)
    for key in unknown:
        terminal.show("  ", (printable(key), "name"))
    if total.unknown > len(unknown):
        terminal.show(f"  and {count(total.unknown - len(unknown))} more: --json lists them all")


def _looked(total: Collected) -> str:
    fenced = f", {count(total.fences, 'fence')}" if total.fences else ""
    return f"{count(total.looked, 'object')} of {count(total.streams, 'stream')} looked at{fenced}"


def _remarks(total: Collected) -> Iterator[str]:
    if total.published:
        yield f"{count(total.published, 'event')} moved into the feed"
    if total.stale:
        assert total.oldest is not None
        yield (
            f"{count(total.stale, 'intent')} older than the grace period, the oldest of {moment(total.oldest)} (UTC): "
            "`headstream advance` settles them"
        )
    if total.left:
        yield f"{count(total.left, 'object')} of garbage left: the storage did not answer; run this again later"
    if not total.headless:
        yield "streams without a head were not looked for: this storage does not list the folders of several streams in order"
    if total.unknown:
        yield f"{count(total.unknown, 'object')} that headstream does not make, left as they are:"
