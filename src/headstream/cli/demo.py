"""``headstream demo``: what the store does, told by running it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import uuid4

import rich_click as click

from headstream.cli.common import Command, check_lasting, options_option
from headstream.cli.narrator import Narrator, Place
from headstream.cli.output import Terminal
from headstream.errors import InvalidInput

FAN_OUT: Final = 4
"""Of the demo's own store: so small that even a short story grows an index."""
WIDTH: Final = 100

EXAMPLES = (
    ("In a temporary file, which is removed", "headstream demo"),
    ("Keep the file, to look around in it afterwards", "headstream demo --keep demo.db"),
    ("In a bucket, with its own streams", "headstream demo --url az://events/shop"),
)


@click.command("demo", cls=Command, examples=EXAMPLES)
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="FILE", help="Make the store in this new file, and keep it."
)
@click.option(
    "--url",
    metavar="URL",
    help="Tell the story in this store, on streams with new names, which stay there. It is created if there is none.",
)
@options_option
def demo(*, keep: Path | None, url: str | None, options: Sequence[tuple[str, Any]]) -> None:
    """Tell a short story: an append, a conflict, a retry, reads, the feed, and where it all lies.

    The code that is shown is the code that runs, and every number is measured while you watch.
    """
    terminal = Terminal()
    terminal.width = min(terminal.width, WIDTH)
    with ExitStack() as stack:
        narrator = Narrator(terminal, _place(stack, keep, url, dict(options)))
        narrator.tell()


def _place(stack: ExitStack, keep: Path | None, url: str | None, options: dict[str, Any]) -> Place:
    if url is not None:
        if keep is not None:
            raise click.UsageError("--keep names a new file and --url another place: give one of them")
        check_lasting(url)
        suffix = uuid4().hex[:6]
        return Place(
            url=url,
            order=f"order-{suffix}",
            sensor=f"sensor-{suffix}",
            parcel=f"parcel-{suffix}",
            worker=f"mailer-{suffix}",
            kept=True,
            keywords=options,
        )
    if options:
        raise click.UsageError("--option is for the storage of --url")
    path = keep if keep is not None else Path(stack.enter_context(TemporaryDirectory(prefix="headstream-"))) / "demo.db"
    if path.exists():
        raise InvalidInput(f"{path} exists: name a new file, or tell the story in that store with --url {path}")
    return Place(
        url=str(path),
        order="order-1",
        sensor="sensor-7",
        parcel="parcel-3",
        worker="mailer",
        kept=keep is not None,
        file=path,
        keywords={"fan_out": FAN_OUT},
    )
