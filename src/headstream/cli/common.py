"""What the commands share: how they show help, their common arguments, and how they open a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click
from rich.padding import Padding
from rich.text import Text

from headstream.cli.spending import watched
from headstream.client import EventStore
from headstream.connecting import connect, locate
from headstream.errors import InvalidInput
from headstream.model import Settings
from headstream.protocol.keys import FEED

F = TypeVar("F", bound=Callable[..., Any])

_RESERVED: Final = {"url", "create", "cache_bytes", "object_cache_bytes", "object_cache", *Settings.__struct_fields__}
"""Parameters of ``connect`` that are no options of a storage client."""

Example = tuple[str, str]
"""What it does, and the command line."""


class Command(click.RichCommand):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[Example] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        """The examples, then whatever click puts at the end."""
        write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


def write_examples(examples: Sequence[Example], formatter: click.RichHelpFormatter) -> None:
    """Examples as a part of the help."""
    if examples:
        text = Text("Examples:\n", "bold")
        for purpose, line in examples:
            text.append(f"  # {purpose}\n" if purpose else "", "bright_black")
            text.append(f"  {line}\n", "cyan")
        formatter.write(Padding(text, (0, 1)))


# --- arguments and options that several commands have --------------------------------------------------------------


def _pairs(_ctx: click.Context, _param: click.Parameter, texts: Sequence[str]) -> list[tuple[str, Any]]:
    """``NAME=VALUE`` as pairs. A message never repeats a value: it may be a secret."""
    pairs: list[tuple[str, Any]] = []
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.BadParameter("write NAME=VALUE")
        if name in _RESERVED:
            raise click.BadParameter(f"{name} is no option of a storage client")
        pairs.append((name, _value(name, value)))
    return pairs


def _value(name: str, text: str) -> Any:
    if name == "timeout":
        try:
            return float(text)
        except ValueError:
            raise click.BadParameter("timeout is a number of seconds: how long a call may take") from None
    if not text.startswith("{"):
        return text
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise click.BadParameter(f"the value of {name} begins with a brace, but is no JSON object") from None


def url_argument(function: F) -> F:
    """The store's URL."""
    return click.argument(
        "url",
        help="Where the store is: shop.db, sqlite:///shop.db, file:///folder, az://container/path, s3://bucket/path or gs://bucket/path.",
    )(function)


def stream_argument(function: F) -> F:
    """A stream's name."""
    return click.argument("stream", help="The name of the stream.")(function)


def options_option(function: F) -> F:
    """What the storage client is told."""
    return click.option(
        "--option",
        "options",
        callback=_pairs,
        multiple=True,
        metavar="NAME=VALUE",
        help="An option of the storage client, such as endpoint=http://127.0.0.1:9000 or client_options={…}, or timeout=SECONDS, which bounds each call; may be repeated. Give secrets by the environment: "
        "other users of the machine can see a command line.",
    )(function)


def json_option(function: F) -> F:
    """Output for programs."""
    return click.option("--json", "as_json", is_flag=True, help="JSON for programs: one object per line.")(function)


VERSION: Final = click.IntRange(min=0)
"""A version of a stream, a position in the feed, or a number of events."""


def open_store(url: str, options: Sequence[tuple[str, Any]]) -> EventStore:
    """The store at ``url``, which must exist: a mistyped URL shall not make a new one."""
    return watched(connect(url, create=False, **dict(options)))


def feed_end(store: EventStore) -> int:
    """How many events the feed has now; it is not advanced."""
    head = store.head(FEED)
    return 0 if head is None else head.version


def check_lasting(url: str) -> None:
    """:class:`InvalidInput` for a store that would end with the connection to it."""
    if locate(url).kind == "memory":
        raise InvalidInput("a memory:// store ends with the connection to it: name a file, a folder or a bucket")


def read_file(path: str) -> bytes:
    """What is in a file, or on stdin for ``-``."""
    try:
        with click.open_file(path, "rb") as file:
            return file.read()  # type: ignore[no-any-return]  # a binary file
    except OSError as error:
        raise InvalidInput(f"{'stdin' if path == '-' else path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise InvalidInput("a file cannot have a NUL character in its name") from None
