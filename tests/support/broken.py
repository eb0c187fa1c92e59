"""Backends that break one promise each, for whoever has to notice. Each is one connection to objects in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from headstream.backends.memory import MemoryBackend
from headstream.protocol.ops import (
    ALWAYS,
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    Absent,
    Found,
    Get,
    GetAnswer,
    Matches,
    Missing,
    Page,
    Put,
    Refused,
    Stored,
    Unknown,
)

MOMENT = 0.004
"""Seconds between the check and the write of a server that takes no lock."""


class Honest:
    """A connection that breaks nothing."""

    keeps_metadata = True
    default_tail = MemoryBackend.default_tail
    default_poll = MemoryBackend.default_poll

    def __init__(self, inner: MemoryBackend) -> None:
        self.inner = inner

    def get(self, get: Get) -> GetAnswer:
        """One object."""
        return self.inner.get(get)

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects."""
        return tuple(self.get(get) for get in gets)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """A commit."""
        return self.inner.commit(prelude, head)

    def delete(self, keys: Sequence[str]) -> None:
        """Removal."""
        self.inner.delete(keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """A page of keys."""
        return self.inner.list(prefix, after, limit)

    def close(self) -> None:
        """Nothing to let go of."""


def connections(kind: Callable[[MemoryBackend], Any]) -> tuple[Callable[[], Any], MemoryBackend]:
    """What opens connections of this kind to one memory, and that memory."""
    inner = MemoryBackend()
    return lambda: kind(inner), inner


# --- conditions ------------------------------------------------------------------------------------------------------


def forced(put: Put) -> Put:
    """The write without its condition."""
    return Put(put.key, put.body, ALWAYS, put.about)


class IgnoresAbsent(Honest):
    """Creates what exists."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        return super().commit(prelude, forced(head) if isinstance(head.when, Absent) else head)


class IgnoresMatch(Honest):
    """Swaps by any etag."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        return super().commit(prelude, forced(head) if isinstance(head.when, Matches) else head)


class IgnoresMatchAndFailsDeletes(IgnoresMatch):
    """And knows no way to delete."""

    def delete(self, keys: Sequence[str]) -> None:
        raise Unknown("not implemented")


class SwapsNothing(Honest):
    """Compares etags only where there is one."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        return super().commit(prelude, forced(head) if self.inner.get(Get(head.key)) == MISSING else head)


class ChecksThenWrites(Honest):
    """Keeps every condition, but for a moment after it has looked."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        found = self.inner.get(Get(head.key))
        holds = {
            Absent: found == MISSING,
            Matches: isinstance(found, Found) and found.etag == getattr(head.when, "etag", None),
        }
        if not holds.get(type(head.when), True):
            return REFUSED
        time.sleep(MOMENT)
        return super().commit(prelude, forced(head))


class RefusesAndWrites(Honest):
    """Says no, and writes."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        answer = super().commit(prelude, head)
        if answer == REFUSED:
            super().commit((), forced(head))
        return answer


class RefusesCreates(Honest):
    """Takes every key for one that exists."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        return REFUSED if isinstance(head.when, Absent) else super().commit(prelude, head)


class RefusesSwaps(Honest):
    """Gives weak etags, which no condition accepts."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        return REFUSED if isinstance(head.when, Matches) else super().commit(prelude, head)


class RefusesAll(Honest):
    """Is read-only, and says so in the wrong way."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        return REFUSED


# --- etags and bodies ------------------------------------------------------------------------------------------------


class NeverFinds(Honest):
    """Reads from where nothing arrives."""

    def get(self, get: Get) -> GetAnswer:
        return MISSING


class EtagsOfSizes(Honest):
    """Etags that change only when the size of the body does."""

    def get(self, get: Get) -> GetAnswer:
        answer = super().get(Get(get.key))
        if not isinstance(answer, Found):
            return answer
        etag = str(len(answer.body))
        return NOT_MODIFIED if etag == get.if_none_match else Found(answer.body, etag, answer.metadata)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        if isinstance(head.when, Matches):
            found = self.inner.get(Get(head.key))
            same = isinstance(found, Found) and str(len(found.body)) == head.when.etag
            head = Put(head.key, head.body, Matches(found.etag if same and isinstance(found, Found) else ""))
        answer = super().commit(prelude, head)
        return Stored(str(len(head.body))) if isinstance(answer, Stored) else answer


class OtherEtagsInReads(Honest):
    """A get gives the etag in another form than conditions want."""

    def get(self, get: Get) -> GetAnswer:
        answer = super().get(get)
        return Found(answer.body, f"W/{answer.etag}", answer.metadata) if isinstance(answer, Found) else answer


class SaysNotModified(Honest):
    """Whatever the etag is."""

    def get(self, get: Get) -> GetAnswer:
        answer = super().get(get)
        return NOT_MODIFIED if isinstance(answer, Found) and get.if_none_match else answer


class SendsWhole(Honest):
    """Whatever the etag is."""

    def get(self, get: Get) -> GetAnswer:
        return super().get(Get(get.key))


class DropsMetadata(Honest):
    """Stores bodies only, and does not say so."""

    def get(self, get: Get) -> GetAnswer:
        answer = super().get(get)
        return Found(answer.body, answer.etag) if isinstance(answer, Found) else answer


class CutsBodies(Honest):
    """Stores the first 100,000 bytes."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        return super().commit(prelude, Put(head.key, head.body[:100_000], head.when, head.about))


# --- consistency -----------------------------------------------------------------------------------------------------


class RemembersObjects(Honest):
    """Reads an object once."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.seen: dict[str, GetAnswer] = {}

    def get(self, get: Get) -> GetAnswer:
        answer = super().get(get)
        return self.seen.setdefault(get.key, answer) if isinstance(answer, Found) else answer


class RemembersMissing(RemembersObjects):
    """Does not look again for what was not there."""

    def get(self, get: Get) -> GetAnswer:
        answer = Honest.get(self, get)
        if isinstance(answer, Missing):
            self.seen[get.key] = answer
        return self.seen.get(get.key, answer)


class RemembersLists(Honest):
    """Lists a prefix once."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.seen: dict[tuple[str, str, int], Page] = {}

    def list(self, prefix: str, after: str, limit: int) -> Page:
        return self.seen.setdefault((prefix, after, limit), super().list(prefix, after, limit))


# --- lists and deletes -----------------------------------------------------------------------------------------------


class ListsBackwards(Honest):
    """The keys of a page, from the last to the first."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        page = super().list(prefix, after, limit)
        return Page(page.keys[::-1], more=False)


class ListsOnePage(Honest):
    """Ends after 15 keys, as if there were no others."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        return Page(super().list(prefix, after, 15).keys, more=False)


class ListsFromTheStart(Honest):
    """Ignores where to begin."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        return super().list(prefix, "", limit)


class ListsEmptyPages(Honest):
    """Ends with a page of nothing that says that more follows."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        page = super().list(prefix, after, limit)
        return Page(page.keys, more=True)


class ListsTooMuch(Honest):
    """Ignores how many are wanted."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        return super().list(prefix, after, 10_000)


class ListsBeyond(Honest):
    """Ignores all of the prefix after its folder."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        return super().list(prefix.rpartition("/")[0] + "/", after, limit)


class ListsFolders(Honest):
    """In the order of folders' names, as a file system does."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        keys = sorted(super().list(prefix, "", 10_000).keys, key=lambda key: key.split("/"))
        keys = [key for key in keys if key.split("/") > after.split("/")]
        return Page(tuple(keys[:limit]), more=len(keys) > limit)


class StopsAtMissing(Honest):
    """Deletes up to the first key that is not there."""

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            if self.inner.get(Get(key)) == MISSING:
                return
            super().delete([key])


class Hides(Honest):
    """A delete takes the key out of lists, and leaves the object."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.hidden: set[str] = getattr(inner, "hidden", set())
        inner.hidden = self.hidden  # type: ignore[attr-defined]  # all connections share it

    def delete(self, keys: Sequence[str]) -> None:
        self.hidden.update(keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        page = super().list(prefix, after, 10_000)
        return Page(tuple(key for key in page.keys if key not in self.hidden)[:limit], more=False)


# --- faults ----------------------------------------------------------------------------------------------------------


class Faulty(Honest):
    """Raises what it is told to, at requests that it is told to: ``fault(kind of request, number of it)``."""

    def __init__(self, inner: MemoryBackend, fault: Callable[[str, int], BaseException | None]) -> None:
        super().__init__(inner)
        self.fault = fault
        self.counts: dict[str, int] = {}

    def _meet(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        fault = self.fault(kind, self.counts[kind])
        if fault is not None:
            raise fault

    def get(self, get: Get) -> GetAnswer:
        self._meet("get")
        return super().get(get)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        self._meet("commit")
        answer = super().commit(prelude, head)
        self._meet("committed")
        return answer

    def delete(self, keys: Sequence[str]) -> None:
        self._meet("delete")
        super().delete(keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        self._meet("list")
        return super().list(prefix, after, limit)
