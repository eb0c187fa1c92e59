"""``headstream verify``: whether everything in a store is what it must be, and the repair of what can be rebuilt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import rich_click as click
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from headstream import verifying
from headstream.cli.common import Command, json_option, open_store, options_option, url_argument
from headstream.cli.failures import ExitCode, Stopped
from headstream.cli.output import Terminal, count, printable, size, versions, write_json
from headstream.client import EventStore
from headstream.protocol.keys import FEED
from headstream.verifying import Fault, Progress, Repair, Report
from headstream.verifying.verification import JOBS, MAX_JOBS

ROUNDS: Final = 4
"""Of repairs: behind what is repaired, more may be found."""
NAMES: Final = 8
"""Faults, by whose keys the command ends."""

EXAMPLES = (
    ("Check everything in a store; writers may go on", "headstream verify shop.db"),
    ("Rebuild what can be rebuilt from what is intact", "headstream verify shop.db --repair"),
    ("From cron, for a program: a fault a line, then the summary", "headstream verify az://events/shop --json"),
)


@click.command("verify", cls=Command, examples=EXAMPLES)
@url_argument
@click.option(
    "--repair",
    "mend",
    is_flag=True,
    help="Rebuild what can be rebuilt from what is intact, then verify again. Without it, it is only said what this would do.",
)
@click.option(
    "--repair-feed",
    is_flag=True,
    help="Also lay the feed out anew from where its order is lost. Positions change after that, and readers that are behind it have to "
    "start over from there. Stop the writers first.",
)
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Also rebuild heads that may lack the newest events, which are then lost for ever. Stop the writers first.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_JOBS),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="How many streams are checked at once.",
)
@options_option
@json_option
def verify(
    *,
    url: str,
    mend: bool,
    repair_feed: bool,
    accept_loss: bool,
    jobs: int,
    options: Sequence[tuple[str, Any]],
    as_json: bool,
) -> None:
    """Check everything in a store: streams, index, feed, inbox, checkpoints; and name what is wrong, what is lost and what to do.

    Every object is read and compared with the others: digests, links, versions, the index, the feed against the streams. Nothing is written
    without --repair, and writers may go on meanwhile. It ends with exit code 7 when something is wrong that is more than information.
    """
    with open_store(url, options) as store:
        checkup = _Checkup(store, jobs, feed=repair_feed, accept_loss=accept_loss, write=mend)
        if as_json:
            write_json(checkup.rows())
        else:
            checkup.show()
        grave = checkup.report.grave
    if grave:
        names = ", ".join([found.key for found in grave[:NAMES]]) + (", …" if len(grave) > NAMES else "")
        raise Stopped(f"{count(len(grave), 'fault')}: {names}", ExitCode.DAMAGED)


class _Checkup:
    """Verifies a store, and repairs it, in as many rounds as it takes."""

    def __init__(self, store: EventStore, jobs: int, *, feed: bool, accept_loss: bool, write: bool) -> None:
        self._store = store
        self._jobs = jobs
        self._feed = feed
        self._accept_loss = accept_loss
        self._write = write
        #: Of the newest round.
        self.report = Report()

    def _results(self, progress: _Bar | None = None) -> Iterator[Fault | Repair | Report]:
        """What is found, and what is done about it; each round ends with its report."""
        for _ in range(ROUNDS if self._write else 1):
            verification = verifying.verify(self._store, jobs=self._jobs, progress=progress)
            self.report = verification.report
            yield from verification
            done = False
            for one in verifying.repair(
                verification, feed=self._feed, accept_loss=self._accept_loss, write=self._write
            ):
                done = done or one.done
                yield one
            yield self.report
            if not done:
                return

    def rows(self) -> Iterator[dict[str, object]]:
        """For programs."""
        for result in self._results():
            if isinstance(result, Report):
                facts = {name: value for name, value in msgspec.structs.asdict(result).items() if name != "faults"}
                yield {"object": "summary", **facts, "faults": len(result.grave), "clean": result.clean}
            else:
                kind = "fault" if isinstance(result, Fault) else "repair"
                yield {"object": kind, **msgspec.structs.asdict(result)}

    def show(self) -> None:
        """For people."""
        terminal = Terminal()
        console = terminal if terminal.is_terminal else Terminal(stderr=True)
        with _Bar(console) as bar:
            for result in self._results(bar):
                if isinstance(result, Fault):
                    _show_fault(terminal, result)
                elif isinstance(result, Repair):
                    _show_repair(terminal, result)
                else:
                    _show_report(terminal, result)


class _Bar(Bars):
    """How far it has come, on a terminal."""

    def __init__(self, console: Terminal) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self.add_task("", total=None)

    def __call__(self, progress: Progress) -> None:
        """One step more."""
        self.update(self._task, description=progress.phase, completed=progress.done, total=progress.total)


def _show_fault(terminal: Terminal, found: Fault) -> None:
    style = "bad" if found.grave else "quiet"
    _say(terminal, Text.assemble((f"{found.kind:<14}", style), (printable(found.key), "name")))
    _detail(terminal, found.problem)
    if found.stream is not None:
        unit = "position" if found.stream == FEED else "version"
        first, last = found.first, found.last
        touched = (
            "" if first is None or last is None else f", {unit}{'s' if last > first else ''} {versions(first, last)}"
        )
        _detail(terminal, f"touches the stream {found.stream}{touched}")
    if found.lost is not None:
        _detail(terminal, f"lost: {found.lost}")
    _detail(terminal, f"do: {found.remedy}")


def _show_repair(terminal: Terminal, done: Repair) -> None:
    word, style = (
        ("repaired", "good") if done.done else ("would repair", "quiet") if done.possible else ("not repaired", "bad")
    )
    _say(terminal, Text.assemble((f"{word:<14}", style), (printable(done.key), "name")))
    _detail(terminal, done.text)


def _show_report(terminal: Terminal, report: Report) -> None:
    rows = (
        (
            "streams",
            f"{count(report.streams)}  {count(report.events, 'event')} in {count(report.changesets, 'changeset')}",
        ),
        ("objects", f"{count(report.segments, 'segment')}, {count(report.pages, 'index page')}, {size(report.size)}"),
        ("feed", count(report.positions, "event")),
        ("inbox", count(report.intents, "intent")),
        ("checkpoints", count(report.checkpoints)),
        ("garbage", count(report.garbage, "object")),
    )
    for name, value in rows:
        terminal.show((f"{name:<14}", "quiet"), (value, "number"))
    verdict = ("clean", "good") if report.clean else (count(len(report.grave), "fault"), "bad")
    terminal.show((f"{'verdict':<14}", "quiet"), verdict)


def _say(terminal: Terminal, text: Text) -> None:
    terminal.print(text, soft_wrap=not terminal.is_terminal)


def _detail(terminal: Terminal, text: str) -> None:
    """A line below that of a key, wrapped on a terminal only."""
    text = printable(text)
    if terminal.is_terminal:
        terminal.print(Padding(Text(text), (0, 0, 0, 14)))
    else:
        terminal.show(" " * 14, text)
