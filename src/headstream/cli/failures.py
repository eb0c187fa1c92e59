"""What the command line says and returns when something goes wrong."""

from __future__ import annotations

import enum
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Final, Self

import rich_click as click

from headstream.cli.output import printable
from headstream.errors import (
    AccessDenied,
    CheckpointLost,
    CorruptData,
    FeedChanged,
    HeadstreamError,
    InvalidInput,
    KeyReused,
    NotPublished,
    OutcomeUnknown,
    ProjectionStopped,
    RequestRejected,
    StoreNotFound,
    Unavailable,
    UnsuitableBackend,
    UnsupportedFormat,
    WrongExpectedVersion,
)


class ExitCode(enum.IntEnum):
    """The exit codes of every command; :attr:`meaning` says what each means."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """A code with its meaning."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    DONE = 0, "done"
    BUG = 1, "a bug in headstream: please report the traceback"
    INVALID = 2, "the command or its input is wrong"
    CONFLICT = 3, "the stream is not at the expected version"
    UNKNOWN = 4, "an append may or may not have happened: repeat it with the same --key"
    UNAVAILABLE = 5, "the storage did not answer: try again later"
    NO_ACCESS = 6, "no such store, container, stream or checkpoint, or no access to it"
    DAMAGED = 7, "a stored object is damaged, or was written by a newer headstream"
    UNSUITABLE = 8, "the storage ignores conditional writes: use another one"
    OUTPUT = 9, "the output cannot be written; what was appended is there"
    CHECKPOINT = 10, "another worker has the checkpoint: leave the work to it"
    UNPUBLISHED = 11, "the append is done, and not seen in the feed yet: do not repeat it"
    PROJECTION = 12, "a projection could not handle an event: mend it, and run it again"
    KEY_REUSED = 13, "the --key belongs to an earlier append of other events: take another"
    FEED_CHANGED = 14, "the feed is not the one that was read: the store was restored"
    REJECTED = 15, "the storage refuses it for good: change what the message names"
    INTERRUPTED = 130, "Ctrl-C"
    CLOSED_PIPE = 141, "whoever read the output closed it"
    TERMINATED = 143, "SIGTERM, before the work was done"


_CODES: dict[type[HeadstreamError], ExitCode] = {
    InvalidInput: ExitCode.INVALID,
    WrongExpectedVersion: ExitCode.CONFLICT,
    OutcomeUnknown: ExitCode.UNKNOWN,
    Unavailable: ExitCode.UNAVAILABLE,
    StoreNotFound: ExitCode.NO_ACCESS,
    AccessDenied: ExitCode.NO_ACCESS,
    CorruptData: ExitCode.DAMAGED,
    UnsupportedFormat: ExitCode.DAMAGED,
    UnsuitableBackend: ExitCode.UNSUITABLE,
    CheckpointLost: ExitCode.CHECKPOINT,
    FeedChanged: ExitCode.FEED_CHANGED,
    NotPublished: ExitCode.UNPUBLISHED,
    ProjectionStopped: ExitCode.PROJECTION,
    KeyReused: ExitCode.KEY_REUSED,
    RequestRejected: ExitCode.REJECTED,
    HeadstreamError: ExitCode.INVALID,  # itself: what the storage rejects, as the endpoint of another region
}
"""For an error, that of the first of its classes here."""


class Stopped(Exception):
    """A command ends before its work is done, with a line for people and an exit code for programs."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does, with a code of its own."""


def code_of(error: BaseException) -> ExitCode:
    """The exit code for an error or an interruption."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.TERMINATED if isinstance(error, Terminated) else ExitCode.INTERRUPTED
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))


class Voice:
    """How a command speaks on stderr: in lines for people, or with ``--json`` in lines that are JSON objects."""

    def __init__(self) -> None:
        #: Whether the command writes for programs.
        self.as_json = False

    def say(self, message: str) -> None:
        """A line that is no error of the command's."""
        if self.as_json:
            self._write({"message": message})
        else:
            _line(message)

    def fail(self, error: Exception, code: ExitCode) -> None:
        """Why the command ends with ``code``."""
        if not self.as_json:
            _line(error.format_message() if isinstance(error, click.ClickException) else str(error))
            return
        cause = error.__cause__ if isinstance(error, Stopped) else error
        found = cause if isinstance(cause, HeadstreamError) else None
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        self._write(
            {
                "error": type(found or error).__name__,
                "message": error.message if isinstance(error, HeadstreamError) else message,
                "details": found.details if found else {},
                "exit_code": code.value,
            }
        )

    def log(self, record: logging.LogRecord) -> None:
        """What the library does, for ``--verbose``."""
        name = record.name.removeprefix("headstream.")
        if self.as_json:
            self._write({"log": name, "level": record.levelname, "message": record.getMessage()})
        else:
            time = datetime.fromtimestamp(record.created, UTC)
            note(click.style(f"{time:%H:%M:%S.%f}"[:-3] + f"  {name:<9} {printable(record.getMessage())}", dim=True))

    @staticmethod
    def _write(line: dict[str, object]) -> None:
        note(json.dumps(line, default=str, separators=(",", ":")))  # in ASCII: a terminal may show it


VOICE: Final = Voice()
"""That of this process: a program runs one command at a time."""


def say(message: str) -> None:
    """One line on stderr."""
    VOICE.say(message)


def _line(message: str) -> None:
    note(f"{click.style('headstream:', fg='red', bold=True)} {printable(message)}")


def note(line: str | bytes) -> None:
    """A line on stderr. That it cannot be written changes nothing about what the command does."""
    with suppress(OSError, ValueError):
        click.echo(line, err=True)


class Warnings(logging.Handler):
    """Says what the library logs, in the form of an error: a subscription that waits for the storage, for example."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line on stderr."""
        say(record.getMessage())


class Details(logging.Handler):
    """Says what the library does: requests, failures, retries."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line on stderr; warnings have one already."""
        if record.levelno < logging.WARNING:
            VOICE.log(record)


@contextmanager
def verbose() -> Iterator[None]:
    """Have everything said that the library logs."""
    logger, handler = logging.getLogger("headstream"), Details()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def abandon_output() -> None:
    """Have the interpreter flush into nothing when it exits: whoever read the output has gone."""
    with suppress(OSError, ValueError):  # without a file descriptor there is nothing to flush into either
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
