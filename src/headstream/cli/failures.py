"""What the command line says and returns when something goes wrong."""

from __future__ import annotations

import enum
import logging
import os
import sys
from contextlib import suppress
from typing import Self

import rich_click as click

from headstream.cli.output import printable
from headstream.errors import (
    AccessDenied,
    CheckpointLost,
    CorruptData,
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
    OUTPUT = 9, "the output cannot be written: the disk is full"
    CHECKPOINT = 10, "another worker has the checkpoint: leave the work to it"
    UNPUBLISHED = 11, "the append is done, and not seen in the feed yet: do not repeat it"
    PROJECTION = 12, "a projection could not handle an event: mend it, and run it again"
    KEY_REUSED = 13, "the --key belongs to an earlier append of other events: take another"
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
    NotPublished: ExitCode.UNPUBLISHED,
    ProjectionStopped: ExitCode.PROJECTION,
    KeyReused: ExitCode.KEY_REUSED,
    RequestRejected: ExitCode.REJECTED,
}


class Stopped(Exception):
    """A command ends before its work is done, with a line for people and an exit code for programs."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: HeadstreamError) -> ExitCode:
    """The exit code for an error."""
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))


def say(message: str) -> None:
    """One line on stderr."""
    click.echo(f"{click.style('headstream:', fg='red', bold=True)} {printable(message)}", err=True)


class Warnings(logging.Handler):
    """Says what the library logs, in the form of an error: a subscription that waits for the storage, for example."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line on stderr."""
        say(record.getMessage())


def abandon_output() -> None:
    """Have the interpreter flush into nothing when it exits: whoever read the output has gone."""
    with suppress(OSError, ValueError):  # without a file descriptor there is nothing to flush into either
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
