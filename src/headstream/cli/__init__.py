"""The ``headstream`` command."""

from __future__ import annotations

import logging
import sys
from io import TextIOWrapper
from typing import Final

_EXTRA: Final = {"click", "rich", "rich_click"}
"""What ``headstream[cli]`` installs."""


def main() -> None:
    """Run the command line. What it needs is imported here, so that its absence is one line instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that an old code page lacks shall not end a command
    try:
        from headstream.cli.app import program  # noqa: PLC0415 - needs an extra
        from headstream.cli.failures import Warnings  # noqa: PLC0415

        logging.getLogger("headstream").addHandler(Warnings(logging.WARNING))
        program(prog_name="headstream")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.exit('headstream: the command line needs an extra: pip install "headstream[cli]"')
    except KeyboardInterrupt:
        sys.exit(130)
