"""The requests that the core makes of its driver, and their answers.

The core is plain generators: it yields an operation and is sent the answer. It imports no clock, no randomness, no
threads and no I/O; what it needs of them are operations too. Every protocol is written once and driven by a sync
driver, an async driver, or a simulator.

Rules:

* Expected outcomes (missing, not modified, refused) are answers. Faults are thrown in, as one of two types:
  :class:`NotApplied` (the request certainly had no effect) and :class:`Unknown` (it may have had one, even later).
  Errors that no retry mends (access denied, no such container) are thrown in as the ``HeadstreamError`` they are.
* Nothing is yielded while an exception unwinds.
* Concurrency exists only inside one operation (:class:`Commit`, :class:`GetMany`), so that a simulator orders it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from headstream.errors import Unavailable

R = TypeVar("R")
T = TypeVar("T")


class Fault(Exception):
    """A request failed, and a later one may succeed.

    ``reason`` says in a few words why, and is shown to the user: no URL, no credential and no event data is in it. ``code`` is the name that the
    storage or the system has for it, if there is one: ``"ENOSPC"``, ``"SlowDown"``, ``"dns"``.
    """

    def __init__(self, reason: str = "", *, code: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code

    def __str__(self) -> str:
        return f"{self.reason} ({self.code})" if self.code else self.reason


class NotApplied(Fault):
    """The request certainly had no effect: refused, throttled, or never sent."""


class Unknown(Fault):
    """The request may have taken effect, or may still do so: a time-out, a dropped connection, a 5xx after sending."""


FAULTS: Final = (NotApplied, Unknown)


def unavailable(message: str, fault: Fault | None, **details: object) -> Unavailable:
    """The error of a call that gives up after ``fault``, with the reason of it; ``fault`` should be its cause, too."""
    if fault is not None:
        details |= {"reason": fault.reason or type(fault).__name__, "code": fault.code}
    return Unavailable(message, **{name: value for name, value in details.items() if value is not None})


class Op(msgspec.Struct, Generic[R], frozen=True, eq=False):
    """One request. ``answer = yield from op`` is typed: the answer has the type that the operation names."""

    def __iter__(self) -> Generator[Op[Any], Any, R]:
        answer: R = yield self
        return answer


Gen: TypeAlias = Generator[Op[Any], Any, T]
"""A step of the core: yields operations, is sent answers, returns a ``T``."""


# --- reads -------------------------------------------------------------------------------------------------------


class Found(msgspec.Struct, frozen=True):
    """An object: its body and the etag to swap it by. Metadata is for people; a backend may have none to give."""

    body: bytes
    etag: str
    metadata: Mapping[str, str] | None = None


class Missing(msgspec.Struct, frozen=True):
    """No object has that key."""


class NotModified(msgspec.Struct, frozen=True):
    """The object still has the etag that the request named."""


MISSING: Final = Missing()
NOT_MODIFIED: Final = NotModified()

GetAnswer: TypeAlias = Found | Missing | NotModified


class Get(Op[GetAnswer], frozen=True):
    """One object. With ``if_none_match``, an object that still has this etag is answered by :class:`NotModified`."""

    key: str
    if_none_match: str | None = None


class GetMany(Op[tuple[GetAnswer, ...]], frozen=True):
    """Several objects at once; the answers come in the order of the requests."""

    gets: tuple[Get, ...]


class Page(msgspec.Struct, frozen=True):
    """Some keys in ascending order of their UTF-8 bytes; ``more`` says whether others follow the last one."""

    keys: tuple[str, ...]
    more: bool


class List(Op[Page], frozen=True):
    """One page of the keys that start with ``prefix`` and sort after ``after`` (``""``: from the first)."""

    prefix: str
    after: str = ""


# --- writes ------------------------------------------------------------------------------------------------------


class Always(msgspec.Struct, frozen=True):
    """Write, whatever is there."""


class Absent(msgspec.Struct, frozen=True):
    """Write only if no object has the key: ``If-None-Match: *``."""


class Matches(msgspec.Struct, frozen=True):
    """Write only if the object has this etag: ``If-Match: <etag>``."""

    etag: str


ALWAYS: Final = Always()
ABSENT: Final = Absent()
Condition: TypeAlias = Always | Absent | Matches


class About(msgspec.Struct, frozen=True):
    """What an object tells people in a storage browser, in the words of the 2012 article. The body is the truth."""

    stream: str
    version: int
    changeset_id: bytes
    parent_id: bytes | None


class Put(msgspec.Struct, frozen=True):
    """One write: part of a :class:`Commit`."""

    key: str
    body: bytes
    when: Condition
    about: About | None = None


class Stored(msgspec.Struct, frozen=True):
    """The head was written; its new etag."""

    etag: str


class Refused(msgspec.Struct, frozen=True, eq=False):
    """The head's condition did not hold: nothing of the commit counts. Refusals are equal, whatever the storage says with them."""

    reason: str = "the write was refused, although the object is as its condition says"
    """What was answered, in a few words; as in :class:`Fault`, it is told if the refusal turns out to be untrue."""
    code: str | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refused)

    def __hash__(self) -> int:
        return hash(Refused)

    @property
    def fault(self) -> Unknown:
        """The same as a fault, where the condition did hold."""
        return Unknown(self.reason, code=self.code)


REFUSED: Final = Refused()


class Commit(Op[Stored | Refused], frozen=True):
    """Write ``prelude``, then ``head``: all of the prelude is durable before the head is tried.

    Prelude objects have fresh keys, so a commit that fails leaves at most orphans. None of these writes is ever sent
    again by the layers below: a late duplicate of an intent would announce a changeset twice.
    :class:`Unknown` speaks of the head only; a prelude that fails in any way is :class:`NotApplied`.
    """

    prelude: tuple[Put, ...]
    head: Put


class Delete(Op[None], frozen=True):
    """Remove objects; a key that is not there is no error. May be repeated."""

    keys: tuple[str, ...]


# --- time and chance ---------------------------------------------------------------------------------------------


class Stamped(msgspec.Struct, frozen=True):
    """A new UUIDv7 (16 bytes) and the time: microseconds since 1970-01-01 UTC, by this machine's clock."""

    id: bytes
    micros: int


class Stamp(Op[Stamped], frozen=True):
    """A fresh id, which sorts after the id ``after`` whatever the clock says, and the time."""

    after: bytes | None = None


class Pause(Op[None], frozen=True):
    """Wait for a random part of ``at_most`` seconds, before something is tried again.

    With ``trips``: of so many round trips instead, if the driver has measured how long one takes.
    """

    at_most: float
    trips: float = 0.0


class GiveWay(Op[None], frozen=True):
    """Let other clients go first, for ``trips`` round trips; not at all where the driver has not measured how long one takes."""

    trips: float
