"""One page of a list.

The client library lists whole folders: asked for ``heads/order-`` it looks in the folder of that name. So the parent
folder is listed, from just before the prefix, and reading stops behind it: the cost is that of the answer. Not every
server honours where to begin, so what comes is filtered again.

All of it needs the order of whole keys' bytes, which Azure, S3 and GCS promise. Servers that keep folders as folders
(SeaweedFS, Azure with a hierarchical namespace) sort ``a/`` before ``a-b/``, though ``-`` is the lower byte. That is an
error as soon as it is seen: going on would miss keys. A list within one folder has one order everywhere.

A service does not say how many keys follow a page unless one asks for the next. A page that is full and took all that the
service sent says ``more`` without asking; if nothing followed, the next page is empty.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from headstream.backends.cloud.service import Service
from headstream.errors import UnsuitableBackend
from headstream.protocol.ops import Page

ALPHABET: Final = "!-./0123456789=ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
"""The bytes of keys, in their order."""


class Scan:
    """Gathers at most ``limit`` keys that start with ``prefix`` and sort after ``after``, from chunks of a folder's list."""

    def __init__(self, prefix: str, after: str, limit: int, service: Service) -> None:
        self._prefix, self._after, self._limit = prefix, after, limit
        self._keys: list[str] = []
        self._more: bool | None = None
        #: The folder to list; ``None`` for all of the store.
        self.folder = prefix.rpartition("/")[0] or None
        #: The key to list after; ``None`` for the beginning of the folder.
        self.offset = max(after, before(prefix)).strip("/") or None
        self._last = (self.offset or "") if service.seeks else ""
        #: How many keys to take from the client library at a time: one to leave out, the page, and one to see that others
        #: follow, where that does not cost another request.
        self.chunk_size = limit + 2 if limit + 2 <= service.list_page else limit

    def take(self, keys: Iterable[str]) -> bool:
        """Take the next keys of the folder; whether the page is complete, so that no others are needed."""
        for key in keys:
            if key <= self._last:
                raise UnsuitableBackend("the storage does not list keys in the order of their bytes", key=key)
            self._last = key
            if key <= self._after or key < self._prefix:
                continue
            if not key.startswith(self._prefix):
                self._more = False
            elif len(self._keys) == self._limit:
                self._more = True
            else:
                self._keys.append(key)
                continue
            return True
        if len(self._keys) == self._limit:
            self._more = True
        return self._more is not None

    def page(self) -> Page:
        """The page, when it is complete or the folder's list has ended."""
        return Page(tuple(self._keys), more=self._more is True)


def before(prefix: str) -> str:
    """A string that sorts before ``prefix``, with few keys or none in between; ``""`` when the list begins with its folder.

    It is the prefix with its last byte one lower, and then as high as keys go.
    """
    last = prefix[-1:]
    if not last or last == "/":
        return ""
    place = bisect_left(ALPHABET, last) - 1
    if place >= 0 and ALPHABET[place] == "/" and prefix[-2:-1] in ("", "/"):
        place -= 1  # no key has an empty segment
    return prefix[:-1] + (ALPHABET[place] + "~~~~" if place >= 0 else "")
