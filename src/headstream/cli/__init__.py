"""The ``headstream`` command."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Final

_EXTRA: Final = {"click", "rich", "rich_click"}
"""What ``headstream[cli]`` installs."""


def main() -> None:
    """Run the command line. What it needs is imported here, so that its absence is one line instead of a traceback."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that an old code page lacks shall not end a command
    try:
        from headstream.cli.app import program  # noqa: PLC0415 - needs an extra
        from headstream.cli.failures import Warnings  # noqa: PLC0415
        from headstream.cli.signals import heed  # noqa: PLC0415

        logging.getLogger("headstream").addHandler(Warnings(logging.WARNING))
        logging.getLogger("headstream.subscriptions.ends").disabled = True  # a command says itself how it ends
        heed()
        program(prog_name="headstream")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.exit('headstream: the command line needs an extra: pip install "headstream[cli]"')
    except KeyboardInterrupt:
        sys.exit(130)


def _open_streams() -> None:
    """Put something in the place of a standard stream that is closed, so that no file of a store takes its number.

    Reading stdin and writing stdout then fail as they would have; nothing is lost by leaving stderr out.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                opened = os.open(os.devnull, flags)
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
