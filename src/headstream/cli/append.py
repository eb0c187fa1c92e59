"""``headstream append``: one event from the command line, or many from a file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import IO, Any, Final

import rich_click as click

from headstream import limits
from headstream.cli import texts
from headstream.cli.common import VERSION, Command, json_option, open_store, options_option, read_file, url_argument
from headstream.cli.importing import Import
from headstream.cli.output import Terminal, count, printable, write_json
from headstream.errors import InvalidInput
from headstream.model import ANY, EXISTS, NO_STREAM, Event, Expectation

_HINT: Final = """; a text stands in double quotes, '"like this"', and --bytes keeps what is no JSON"""
_NEGATIVE: Final = re.compile(r"-[0-9][0-9.eE+-]*")
_NAMES: Final = {"any": ANY, "none": NO_STREAM, "exists": EXISTS}

EXAMPLES = (
    ("One event", """headstream append shop.db order-1 OrderPlaced '{"sku": "mug"}'"""),
    ("Only if the stream is at version 1", "headstream append shop.db order-1 OrderPaid --expected 1"),
    (
        "Bytes from a file, safe to repeat",
        "headstream append shop.db order-1 Bill @bill.pdf --bytes --key bill-1",
    ),
    ("Many events, a hundred in one append", "headstream append shop.db --from events.jsonl"),
    (
        "A long import that can simply be run again",
        "headstream append shop.db sensor-7 --from day.jsonl --expected none --key 1",
    ),
)


def _expectation(_ctx: click.Context, _param: click.Parameter, text: str) -> Expectation:
    name = text.lower()
    if name in _NAMES:
        return _NAMES[name]
    if name.isascii() and name.isdigit():
        return int(name)
    raise click.BadParameter("it is any, none, exists or a version")


class _Append(Command):
    """A command whose last argument may be a negative number, which looks like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, with a negative number that is no option's value at their end."""
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption as error:
            numbers = [place for place, arg in enumerate(args) if _NEGATIVE.fullmatch(arg)]
            numbers = [place for place in numbers if args[place].startswith(error.option_name)]
            if not numbers or "--" in args:
                raise
        place = numbers[-1]
        return super().parse_args(ctx, [*args[:place], *args[place + 1 :], "--", args[place]])


@click.command("append", cls=_Append, examples=EXAMPLES)
@url_argument
@click.argument(
    "stream",
    required=False,
    help="The name of the stream. With --from it may be left out, and then stands on every line.",
)
@click.argument("type", required=False, help="The type of the event, such as OrderPlaced.")
@click.argument(
    "data", required=False, help="The data of the event: JSON, @FILE for what is in a file, or - for stdin."
)
@click.option("--bytes", "raw", is_flag=True, help="Keep DATA as the bytes that it is, instead of JSON.")
@click.option("--metadata", metavar="JSON", help="A JSON object about the event: who, why, a trace.")
@click.option("--id", "event_id", metavar="TEXT", help="An id of your own for the event.")
@click.option(
    "--expected",
    callback=_expectation,
    default="any",
    metavar="WHAT",
    show_default=True,
    help="Where the stream must end: any, none (it does not exist), exists, or a version. With --from it is where the first append begins; "
    "each later one follows the one before it.",
)
@click.option(
    "--key",
    metavar="TEXT",
    help="Makes the append safe to repeat: one with the same key and events that already follows the expected version is not made again; "
    "for any and exists it is looked for among the newest changesets only. With --from every append has its own, made of this and its first line.",
)
@click.option(
    "--from",
    "source",
    type=click.File("rb"),
    metavar="FILE",
    help='Append the JSON Lines of a file, or of stdin for -: {"type": …, "data": …, "data_base64": …, "metadata": …, "id": …, "stream": …}, '
    "of which only type is needed. STREAM, if given, is where all of them go.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, limits.MAX_EVENTS),
    default=100,
    metavar="N",
    show_default=True,
    help="With --from: so many consecutive lines of one stream, or fewer if they are large, are one append: all or none.",
)
@click.option("--skip", type=VERSION, default=0, metavar="N", help="With --from: leave out the first N lines.")
@options_option
@json_option
def append(
    *,
    url: str,
    stream: str | None,
    type: str | None,  # noqa: A002 - the name that the help shows
    data: str | None,
    raw: bool,
    metadata: str | None,
    event_id: str | None,
    expected: Expectation,
    key: str | None,
    source: IO[bytes] | None,
    batch: int,
    skip: int,
    options: Sequence[tuple[str, Any]],
    as_json: bool,
) -> None:
    """Append events to a stream: one from the command line, or many from JSON Lines.

    JSON is kept as it is written: numbers of any length, 1.10, the order of names, escapes. Only blanks and line breaks between its parts
    are left out. It is UTF-8; a byte-order mark at its beginning is skipped.

    An append is durable when it is reported. An import that stops says at which line, and how to go on.
    """
    if source is not None:
        if type is not None or raw or metadata is not None or event_id is not None:
            raise click.UsageError("--from takes types, data, metadata and ids from the lines of the file")
        with open_store(url, options) as store:
            Import(store, source, stream, expected=expected, key=key, batch=batch, skip=skip).run(as_json=as_json)
        return
    if stream is None or type is None:
        raise click.UsageError("name the stream and the event's type, or a file with --from")
    event = Event(type, _data(data, raw=raw), _metadata(metadata), event_id)
    with open_store(url, options) as store:
        head = store.append(stream, event, expected=expected, key=key)
    if as_json:
        facts = {"stream": stream, "version": head.version, "changeset_id": head.changeset_id, "etag": head.etag}
        write_json([facts])
    else:
        changeset = (f"  changeset {head.changeset_id}", "quiet")
        Terminal().show((printable(stream), "name"), " is at version ", (count(head.version), "number"), changeset)


def _data(text: str | None, *, raw: bool) -> Any:
    if text is None:
        if raw:
            raise click.UsageError("--bytes needs DATA")
        return None
    if text == "-":
        body = read_file("-")
    elif text.startswith("@"):
        body = read_file(text[1:])
    else:
        body = os.fsencode(text)
    return body if raw else texts.data(_json(body, "the data", _HINT))


def _metadata(text: str | None) -> dict[str, Any]:
    return {} if text is None else texts.members(_json(os.fsencode(text), "the metadata", ""), "the metadata")


def _json(body: bytes, what: str, hint: str) -> bytes:
    body = texts.without_mark(body, what)
    if not body.strip():
        raise InvalidInput(f"{what} is empty, which is not JSON: leave it out, or write null{hint}")
    try:
        return texts.compact(body)
    except texts.NOT_JSON as error:
        raise InvalidInput(f"{what} is not JSON: {error}{hint}") from None
