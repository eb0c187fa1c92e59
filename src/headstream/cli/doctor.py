"""``headstream doctor``: whether a backend keeps its promises."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import rich_click as click
from click.exceptions import Exit

from headstream.cli.common import Command, json_option, options_option, url_argument
from headstream.cli.failures import ExitCode, say
from headstream.cli.output import Terminal, count, printable, size, write_json
from headstream.doctor import Bounds, Examination, Finding, Report, Verdict
from headstream.doctor.bounds import RANGES

_NAME_WIDTH: Final = 17
_VERDICT_WIDTH: Final = 11
_LEAST_TEXT: Final = 20
"""Columns for what was seen, however narrow the terminal is."""
_STYLES: Final = {
    Verdict.KEPT: "good",
    Verdict.NOT_APPLICABLE: "quiet",
    Verdict.WARNING: "type",
    Verdict.UNDECIDED: "type",
    Verdict.BROKEN: "bad",
}
_CODES: Final = {Verdict.BROKEN: ExitCode.UNSUITABLE, Verdict.UNDECIDED: ExitCode.UNAVAILABLE}

EXAMPLES = (
    ("Before a store is made in a bucket", "headstream doctor s3://events/shop"),
    ("Is this disk suitable? Nothing is left there", "headstream doctor file:///srv/events"),
    ("Look longer for a rare race", "headstream doctor s3://events/shop --rounds 500 --seconds 900"),
    ("For a program: the plan, a line for each check, the verdict", "headstream doctor az://events/shop --json"),
)


@click.command("doctor", cls=Command, examples=EXAMPLES)
@url_argument
@click.option(
    "--rounds",
    type=click.IntRange(*RANGES["rounds"]),
    default=Bounds().rounds,
    show_default=True,
    metavar="N",
    help="How often writers race for one object, if there is time; more find rarer faults.",
)
@click.option(
    "--seconds",
    type=click.IntRange(*RANGES["seconds"]),
    default=Bounds().seconds,
    show_default=True,
    metavar="N",
    help="How long it may take. On slow storage it does less in that time.",
)
@options_option
@json_option
def doctor(*, url: str, rounds: int, seconds: int, options: Sequence[tuple[str, Any]], as_json: bool) -> None:
    """Find out whether a storage keeps the promises that events depend on, by racing it from several connections.

    The bucket must exist; a store need not, and one that does can be in use: everything is written under probes/ and removed, also
    after Ctrl-C. Of a disk, a temporary folder beside the store is examined. It says nothing of the events in a store.

    Exit code 8 means that a promise is broken, and events would be lost; 5 that one could not be tried. Warnings do not fail.
    """
    examination = Examination(url, bounds=Bounds(rounds=rounds, seconds=seconds), **dict(options))
    with _cleanly(examination):
        if as_json:
            _write(url, examination)
        else:
            _show(url, examination)
    sys.stdout.flush()
    code = _CODES.get(examination.report().verdict)
    if code is not None:
        raise Exit(code)


@contextmanager
def _cleanly(examination: Examination) -> Iterator[None]:
    """An examination that may be stopped at any moment; says if something is left of it then."""
    try:
        with examination:
            yield
    except BaseException:
        if examination.left:
            say(f"{count(examination.left, 'object')} may be left under {examination.prefix}/: delete them")
        raise


# --- for programs ------------------------------------------------------------------------------------------------


def _write(url: str, examination: Examination) -> None:
    plan = {
        "object": "plan",
        "url": url,
        "prefix": examination.prefix,
        "requests": examination.requests,
        "transfer": examination.transfer,
        "seconds": examination.bounds.seconds,
    }
    write_json([plan])
    for finding in examination:
        write_json([{"object": "check", **_facts(finding)}])
    report = examination.report()
    verdict = {
        "object": "report",
        "url": url,
        "verdict": report.verdict,
        "suitable": report.suitable,
        "requests": report.requests,
        "transferred": report.transferred,
        "seconds": report.seconds,
    }
    write_json([verdict])


def _facts(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "seen": finding.seen,
        "essential": finding.essential,
        "figures": finding.figures,
    }


# --- for people --------------------------------------------------------------------------------------------------


def _show(url: str, examination: Examination) -> None:
    terminal = Terminal()
    terminal.show((printable(url), "name"))
    plan = f"about {count(examination.requests, 'request')} and {size(examination.transfer)}, at most {examination.bounds.seconds} s"
    terminal.show((plan, "quiet"))
    terminal.show((f"all under {examination.prefix}/, and removed at the end", "quiet"))
    terminal.show()
    terminal.show((f"{'check':<{_NAME_WIDTH}}{'verdict':<{_VERDICT_WIDTH}}seen", "quiet"))
    for finding in examination:
        _row(terminal, finding)
    report = examination.report()
    terminal.show()
    word, meaning = _conclusion(report)
    terminal.show((word, _STYLES[report.verdict]), f": {meaning}")
    done = f"{count(report.requests, 'request')}, {size(report.transferred)}, {report.seconds:.1f} s"
    terminal.show((done, "quiet"))


def _row(terminal: Terminal, finding: Finding) -> None:
    """A finding; on a terminal its text goes on below, if it has to."""
    indent = _NAME_WIDTH + _VERDICT_WIDTH
    text = printable(finding.seen)
    lines = textwrap.wrap(text, max(_LEAST_TEXT, terminal.width - indent)) if terminal.is_terminal else [text]
    terminal.show(
        (f"{finding.check:<{_NAME_WIDTH}}", "name"),
        (f"{finding.verdict:<{_VERDICT_WIDTH}}", _STYLES[finding.verdict]),
        lines[0],
    )
    for line in lines[1:]:
        terminal.show(" " * indent + line)
    terminal.file.flush()


def _conclusion(report: Report) -> tuple[str, str]:
    """The verdict in a word, and what it means."""
    names = ", ".join(finding.check for finding in report.broken or report.warnings)
    return {
        Verdict.KEPT: ("suitable", "every promise was kept, as often as it was tried"),
        Verdict.WARNING: ("suitable", f"every promise that events depend on was kept; to know: {names}"),
        Verdict.UNDECIDED: ("undecided", f"not everything could be tried: {names}: try again"),
        Verdict.BROKEN: ("unsuitable", f"events would be lost here, use another storage: {names}"),
    }[report.verdict]
