"""Runs commands of the command line in this process."""

from __future__ import annotations

from typing import Any

import msgspec
from click.testing import CliRunner, Result

from headstream.cli.app import program


class Commands:
    """Runs commands in this process."""

    def __call__(self, *args: object, code: int = 0, stdin: bytes | str | None = None) -> Result:
        """The result of ``headstream ARGS``, which must end with ``code`` and without a traceback."""
        result = CliRunner().invoke(program, [str(arg) for arg in args], input=stdin, prog_name="headstream")
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def json(self, *args: object, stdin: bytes | str | None = None) -> list[Any]:
        """The objects that ``headstream ARGS --json`` prints."""
        return [msgspec.json.decode(line) for line in self(*args, "--json", stdin=stdin).stdout.splitlines()]

    def error(self, *args: object, code: int, stdin: bytes | str | None = None) -> str:
        """The one line on stderr with which ``headstream ARGS`` ends."""
        result = self(*args, code=code, stdin=stdin)
        (line,) = result.stderr.splitlines()
        assert line.startswith("headstream: ")
        return line.removeprefix("headstream: ")
