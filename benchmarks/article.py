"""The protocol of the article of 2012, written plainly, with the client library that headstream has: see ``docs/article.md``.

An append is three requests, one after the other: the changeset's blob, its metadata, the head. obstore has no request for metadata alone, so the blob is
written once more, with them; it has 300 bytes. A load is a walk: the head, then one changeset after the other, each naming the one before it. The article asks for each
blob's attributes as well, in a request of their own; that is left out here, in its favour.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import msgspec

from benchmarks.rivals import TYPE
from headstream.backends.cloud.service import Address, Store, open_clients

HTTP = {"allow_http": True}


class Changeset(msgspec.Struct):
    """The body of a blob."""

    id: UUID
    parent: UUID | None
    version: int
    events: list[tuple[str, Any]]


class Head(msgspec.Struct, frozen=True):
    """What an append follows."""

    etag: str
    changeset: UUID
    version: int


def client(url: str, options: dict[str, Any]) -> Store:
    """A client of a bucket, that of headstream for writes: it sends each request once, as the article's does."""
    return open_clients(Address.parse(url), HTTP, None, options).writes


class Article:
    """Streams in a bucket."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def append(self, stream: str, follows: Head | None, data: Any) -> Head:
        """One event in one changeset. Raises what obstore raises; a conflict too."""
        version = follows.version + 1 if follows else 0
        changeset = Changeset(uuid4(), follows.changeset if follows else None, version, [(TYPE, data)])
        key, body = f"changesets/{changeset.id}", msgspec.json.encode(changeset)
        self._store.put(key, body, use_multipart=False)
        self._store.put(key, body, use_multipart=False, attributes=_metadata(stream, changeset))
        mode: Any = {"e_tag": follows.etag} if follows else "create"
        result = self._store.put(f"aggregates/{stream}", changeset.id.bytes, mode=mode, use_multipart=False)
        return Head(str(result["e_tag"]), changeset.id, version)

    def load(self, stream: str) -> list[tuple[str, Any]]:
        """The events, oldest first."""
        changesets: list[Changeset] = []
        at: UUID | None = UUID(bytes=self._get(f"aggregates/{stream}"))
        while at is not None:
            changesets.append(msgspec.json.decode(self._get(f"changesets/{at}"), type=Changeset))
            at = changesets[-1].parent
        return [event for changeset in reversed(changesets) for event in changeset.events]

    def _get(self, key: str) -> bytes:
        return self._store.get(key).bytes().to_bytes()


def _metadata(stream: str, changeset: Changeset) -> dict[str, str]:
    """The article's names; the first changeset has no parent."""
    parent = {"parentchangesetid": str(changeset.parent)} if changeset.parent else {}
    return {
        "aggregateid": stream,
        "aggregateversion": str(changeset.version),
        "changesetid": str(changeset.id),
        **parent,
    }
