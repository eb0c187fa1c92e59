"""The program: its commands, and what becomes of the errors that they raise."""

from __future__ import annotations

import errno
import sys
from typing import Any, Final

import rich_click as click
from rich.padding import Padding
from rich.table import Table

import headstream
from headstream.cli.advance import advance
from headstream.cli.append import append
from headstream.cli.checkpoints import checkpoints
from headstream.cli.common import write_examples
from headstream.cli.demo import demo
from headstream.cli.doctor import doctor
from headstream.cli.failures import ExitCode, Stopped, abandon_output, code_of, say
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
    ("See which requests a command makes", "headstream --stats read shop.db order-1"),
)


_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Of the file that stdout is sent to: what a backend meets is no ``OSError`` any more."""


class Program(click.RichGroup):
    """A group of commands that ends with an exit code and one line, never with a traceback, for whatever can be expected."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, make an exit code of what it raises, and tell what it did if that was asked for."""
        try:
            return self._invoke(ctx)
        finally:
            if ctx.params.get("stats"):
                ctx.ensure_object(Spending).show()

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except HeadstreamError as error:
            say(str(error))
            ctx.exit(code_of(error))
        except Stopped as stop:
            say(str(stop))
            ctx.exit(stop.code)
        except KeyboardInterrupt:
            ctx.exit(ExitCode.INTERRUPTED)
        except BrokenPipeError:
            abandon_output()
            ctx.exit(ExitCode.CLOSED_PIPE)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            say(f"the output cannot be written: {error.strerror}")
            abandon_output()
            ctx.exit(ExitCode.OUTPUT)
        return result

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
def program(*, stats: bool) -> None:
    """An event store that lives in a bucket, a folder or one file.

    Credentials and endpoints of the clouds come from the environment: AZURE_STORAGE_ACCOUNT_NAME, AWS_ACCESS_KEY_ID,
    GOOGLE_APPLICATION_CREDENTIALS and so on, under the names that obstore documents.
    """


for command in (demo, init, append, read, streams, head, feed, checkpoints, advance, doctor, verify, gc):
    program.add_command(command)
