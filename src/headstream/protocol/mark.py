"""Marks: a position of the feed, and the changeset of the feed that it lies in.

A position is a number, and numbers repeat: a feed that was restored from a copy, or rebuilt by a repair, has other events at the same
positions. Rules:

* A changeset of the feed has an id that no other write has, and names the one before it. So if the changeset at a position is the same as
  before, everything up to that position is the same.
* The changeset is compared with what a reader gets anyway: the head names the newest, and what follows a position lies in the same
  changeset or in the next one, which names the one before. So it costs no request.
* A mark without a changeset is a number only: it is compared with the length of the feed.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import Final, Self

import msgspec

from headstream import limits
from headstream.errors import FeedChanged, InvalidInput
from headstream.protocol.codec import Chain
from headstream.protocol.head import Known

_VERSION: Final = attrgetter("version")


class Mark(msgspec.Struct, frozen=True):
    """A position of the feed that says which feed it is of. ``str()`` is a text to keep, and :meth:`parse` reads it.

    Hand it to ``feed(after=…)`` or ``subscribe(after=…)``: a reader is told if the feed has other events up to there.
    """

    position: int
    """The number of an event in the feed; 0 for the beginning."""
    changeset: bytes | None = None
    """The id of the feed's changeset that holds that event, 16 bytes; ``None`` if it is not known, and at 0."""

    def __str__(self) -> str:
        return str(self.position) if self.changeset is None else f"{self.position}-{self.changeset.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The mark that ``str()`` made this text of. Raises :class:`InvalidInput`."""
        if not isinstance(text, str):
            raise InvalidInput(f"a mark is read from a string, not {type(text).__name__}")
        digits, dash, hexadecimal = text.partition("-")
        try:
            position = int(digits) if digits.isascii() and digits.isdecimal() else -1
            changeset = bytes.fromhex(hexadecimal) if dash else None
        except ValueError:
            position, changeset = -1, None
        if not 0 <= position <= limits.MAX_VERSION or (changeset is not None and len(changeset) != 16):
            raise InvalidInput("this text is not a mark: pass what str() of a mark returned")
        return cls(position, changeset)


START: Final = Mark(0)


def end_of(feed: Known) -> Mark:
    """The end of the feed, as a head of it shows it."""
    return Mark(feed.state.version, feed.state.fields.changeset_id)


def at(chain: Chain, position: int) -> Mark:
    """A position in consecutive changesets of the feed, of which it may be outside; then only the number is known."""
    number = bisect_right(chain, position - 1, key=_VERSION)  # the first that ends at the position, or behind it
    if number < len(chain) and chain[number].follows < position:
        return Mark(position, chain[number].id)
    return Mark(position)


def check_end(mark: Mark, feed: Known) -> None:
    """:class:`FeedChanged` if the feed is too short, or has another changeset at its end where the mark is."""
    end = end_of(feed)
    if end.position < mark.position:
        raise _changed("the feed ends before the position that was read", mark, end)
    if end.position == mark.position and mark.changeset not in (None, end.changeset):
        raise _changed("the feed has other events up to the position that was read", mark, end)


def check_next(mark: Mark, chain: Chain, feed: Known) -> None:
    """:class:`FeedChanged` if what follows the mark, which is in ``chain``, does not follow the changeset of the mark."""
    if mark.changeset is None:
        return
    frame = chain[bisect_right(chain, mark.position, key=_VERSION)]
    found = frame.parent if frame.follows == mark.position else frame.id
    if found != mark.changeset:
        raise _changed("the feed has other events up to the position that was read", mark, end_of(feed))


def _changed(what: str, mark: Mark, end: Mark) -> FeedChanged:
    return FeedChanged(
        f"{what}: the store was restored or repaired; rebuild the read model, or forget the checkpoint and begin again",
        position=mark.position,
        end=end.position,
    )
