"""The program: its commands, and what becomes of the errors that they raise."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import rich_click as click
from click.exceptions import Exit
from rich.padding import Padding
from rich.table import Table

import headstream
from headstream.cli.advance import advance
from headstream.cli.append import append
from headstream.cli.checkpoints import checkpoints
from headstream.cli.common import write_examples
from headstream.cli.demo import demo
from headstream.cli.doctor import doctor
from headstream.cli.failures import VOICE, ExitCode, Stopped, abandon_output, code_of, verbose
from headstream.cli.feed import feed
from headstream.cli.gc import gc
from headstream.cli.head import head
from headstream.cli.init import init
from headstream.cli.read import read
from headstream.cli.spending import Spending
from headstream.cli.streams import streams
from headstream.cli.verify import verify
from headstream.errors import HeadstreamError

EXAMPLES = (
    ("See what it is about, in a few seconds", "headstream demo"),
    ("Create a store in one file, and put an event into it", "headstream init shop.db"),
    ("", """headstream append shop.db order-1 OrderPlaced '{"sku": "mug"}'"""),
    ("Read it", "headstream read shop.db order-1"),
    ("See what happens in all streams, as it happens", "headstream feed shop.db --follow"),
    ("See which requests a command makes, counted or one by one", "headstream --stats read shop.db order-1"),
    ("", "headstream --verbose read shop.db order-1"),
)


_UNWRITABLE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO}
"""Of the file that stdout is sent to: what a backend meets is no ``OSError`` any more."""
_FIRST: Final = {"--stats", "--verbose", "-v"}
"""Options that stand before the command."""


class Program(click.RichGroup):
    """A group of commands that ends with an exit code and one line, never with a traceback, for whatever can be expected."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the options before the command; help and version are written here."""
        with _ending():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, make an exit code of what it raises, and tell what it did if that was asked for."""
        given = ctx.args[: ctx.args.index("--")] if "--" in ctx.args else ctx.args
        VOICE.as_json = "--json" in given  # of a command line that may be wrong, nothing else is known
        try:
            with verbose() if ctx.params.get("verbose") else nullcontext(), _ending():
                return super().invoke(ctx)
        finally:
            if ctx.params.get("stats"):
                ctx.ensure_object(Spending).show()

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order in which one meets them."""
        return list(self.commands)

    def format_epilog(self, ctx: click.RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        """Examples, and what the exit codes mean."""
        write_examples(EXAMPLES, formatter)
        table = Table.grid(padding=(0, 2))
        for code in ExitCode:
            table.add_row(f"  {code.value:>3}", code.meaning)
        formatter.write(Padding("[bold]Exit codes:[/bold]", (0, 1)))
        formatter.write(Padding(table, (0, 1, 1, 1)))
        super().format_epilog(ctx, formatter)


@contextmanager
def _ending() -> Iterator[None]:
    """What becomes of interruptions, and of output that cannot be written: a line and an exit code."""
    try:
        try:
            with _explaining():
                yield
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt as interruption:
        code = code_of(interruption)
    except BrokenPipeError:
        abandon_output()
        code = ExitCode.CLOSED_PIPE
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        abandon_output()
        code = ExitCode.OUTPUT
        VOICE.fail(Stopped(f"the output cannot be written: {error.strerror}", code), code)
    else:
        return
    raise Exit(code)


@contextmanager
def _explaining() -> Iterator[None]:
    """What becomes of errors: a line and an exit code."""
    error: Exception
    try:
        yield
    except HeadstreamError as failed:
        error, code = failed, code_of(failed)
    except Stopped as stopped:
        error, code = stopped, stopped.code
    except click.UsageError as wrong:
        error, code = _hinted(wrong), ExitCode.INVALID
        if not VOICE.as_json:
            raise error from None  # click shows it, with the usage
    else:
        return
    VOICE.fail(error, code)
    raise Exit(code)


def _hinted(error: click.UsageError) -> click.UsageError:
    """The error; for an option in the wrong place it says where the right one is."""
    if isinstance(error, click.NoSuchOption) and error.option_name in _FIRST:
        return click.UsageError(
            f"{error.option_name} stands before the command: headstream {error.option_name} …", error.ctx
        )
    return error


#: One wide column for the options, so that their help gets the rest.
HELP = {
    "append_metavars_help_string": "{}",
    "options_table_column_types": ["opt_all_metavar", "help"],
    "options_table_help_sections": ["help", "default", "required"],
}


@click.rich_config(HELP)
@click.group("headstream", cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    headstream.__version__, "-V", "--version", message="%(prog)s %(version)s", help="Show the version and exit."
)
@click.option(
    "--stats",
    is_flag=True,
    help="After the command, show on stderr what it asked of the storage: requests by kind, bytes, retries. With the command's --json it is one "
    "JSON object.",
)
@click.option(
    "--verbose",
    "-v",
    is_flag=True,
    help="Show on stderr what the command does: each request to the storage, what failed, and what was done about it. With the command's --json each "
    "line is a JSON object.",
)
def program(*, stats: bool, verbose: bool) -> None:
    """An event store that lives in a bucket, a folder or one file.

    Credentials and endpoints of the clouds come from the environment: AZURE_STORAGE_ACCOUNT_NAME, AWS_ACCESS_KEY_ID,
    GOOGLE_APPLICATION_CREDENTIALS and so on, under the names that obstore documents.

    With a command's --json its results are JSON on stdout, and its error, if it ends with one, is a JSON object on stderr: error (the class),
    message, details, exit_code.
    """


for command in (demo, init, append, read, streams, head, feed, checkpoints, advance, doctor, verify, gc):
    program.add_command(command)
