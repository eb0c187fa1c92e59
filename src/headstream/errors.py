"""Every error that headstream raises on purpose, and what the caller does next.

::

    HeadstreamError
    ├── InvalidInput           the call is wrong: fix it; nothing was written
    ├── WrongExpectedVersion   somebody else appended: read again, decide again, append again
    ├── KeyReused              the key is that of an earlier append of other events: take another key
    ├── OutcomeUnknown         the append may or may not have happened: repeat it with the same ``key``
    ├── NotPublished           the append is done, and its events are not in the feed yet: see ``head``
    ├── CheckpointLost         another worker has the checkpoint: stop this one
    ├── FeedChanged            the feed is not the one that was read: rebuild the read model, or forget the checkpoint
    ├── ProjectionStopped      an event could not be projected: see ``position`` and the cause; mend the projection, run it again
    ├── Unavailable            the storage did not answer; nothing was written: try again later
    ├── StoreNotFound          no such container, bucket or store: run ``headstream init URL``
    ├── RequestRejected        the storage refuses it for good (a lease, a policy, an archive, a region): change what the message names
    ├── AccessDenied           the storage refused the credentials: check them
    ├── UnsuitableBackend      the storage ignores conditional writes: use another one
    ├── CorruptData            a stored object is not what was written: see ``details["key"]``
    └── UnsupportedFormat      the store was written by a newer headstream: upgrade

Any other exception that escapes from headstream is a bug; but for ``RecursionError`` and ``MemoryError``, which speak of the process that
called, not of what is stored.

Each error has a ``details`` dictionary (names to plain values) for logs and metrics. Neither it nor the message
ever holds event data or a credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Any


class HeadstreamError(Exception):
    """The base of all errors of headstream. ``str()`` is one line: the message, then the details as ``name=value``."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, object] = details

    def __str__(self) -> str:
        if not self.details:
            return self.message
        return f"{self.message} ({', '.join(f'{name}={_brief(value)}' for name, value in self.details.items())})"


def why(error: HeadstreamError) -> dict[str, Any]:
    """The ``reason`` and ``code`` of the failure behind an error, as far as they are known."""
    known: dict[str, Any] = {} if isinstance(error, Unavailable) else {"reason": error.message}
    return known | {name: error.details[name] for name in ("reason", "code") if name in error.details}


_SHOWN: Final = 3
"""Members of a tuple that are shown in a line; ``details`` has all of them."""


def _brief(value: object) -> str:
    if not isinstance(value, tuple) or len(value) <= _SHOWN:
        return repr(value)
    return f"({', '.join(map(repr, value[:_SHOWN]))}, … {len(value) - _SHOWN} more)"


class InvalidInput(HeadstreamError, ValueError):
    """An argument cannot be accepted. Raised before anything is written; the message says what would be accepted."""


class WrongExpectedVersion(HeadstreamError):
    """The stream is not at the version that the append expected: nothing was written.

    Read the stream again from ``actual``, decide again, and append again.
    """

    def __init__(self, message: str, *, stream: str = "", expected: int | str = 0, actual: int = 0) -> None:
        super().__init__(message, stream=stream, expected=expected, actual=actual)
        self.stream = stream
        #: The version that the caller expected, or ``"EXISTS"``.
        self.expected = expected
        #: A version that the stream has reached, as the client saw it last; 0 when it does not exist.
        self.actual = actual


class KeyReused(HeadstreamError):
    """The key belongs to an earlier append to this stream, of other events: nothing was written.

    To repeat that append, append the events that it had. These events are another append: give it a key of its own.
    Over HTTP this is status 422.
    """

    def __init__(self, message: str, *, stream: str = "", key: str = "", version: int = 0) -> None:
        super().__init__(message, stream=stream, key=key, version=version)
        self.stream = stream
        self.key = key
        #: The version of the stream after the earlier append.
        self.version = version


class OutcomeUnknown(HeadstreamError):
    """A commit was sent and no answer tells whether it counts; looking at the stream was not possible either.

    Append again with the same ``key``: if the first attempt did count, its result is returned. Without a key, read the
    stream after version ``follows`` and look for an event whose ``changeset_id`` is among ``changeset_ids``.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str = "",
        follows: int = 0,
        changeset_ids: tuple[str, ...] = (),
        reason: str | None = None,
        code: str | None = None,
    ) -> None:
        why = {name: value for name, value in (("reason", reason), ("code", code)) if value is not None}
        super().__init__(message, stream=stream, follows=follows, changeset_ids=changeset_ids, **why)
        #: What failed last, in words, and the name that the storage or the system has for it; ``None`` if there is none.
        self.reason = reason
        self.code = code
        self.stream = stream
        #: The version that the changeset follows, if it was committed.
        self.follows = follows
        #: The ids that the changeset may have, one for each attempt, as UUID strings.
        self.changeset_ids = changeset_ids


class NotPublished(HeadstreamError):
    """``append(publish=True)`` appended the events, durably, and could not see them in the feed in time.

    Do not append them again. They will be in the feed as soon as somebody advances it: wait, or call ``advance``.
    """

    def __init__(self, message: str, *, head: object = None) -> None:
        super().__init__(message)
        #: The :class:`~headstream.Head` after the append.
        self.head = head


class CheckpointLost(HeadstreamError):
    """Another worker uses the checkpoint of this name, or somebody removed it: this worker has to stop.

    What it handled since it last saved will be handled again by the other.
    """

    def __init__(self, message: str, *, name: str = "", owner: str = "", position: int = 0) -> None:
        super().__init__(message, name=name, owner=owner, position=position)
        self.name = name
        #: Who has it now; ``""`` if nobody does.
        self.owner = owner
        #: How far it has come.
        self.position = position


class FeedChanged(HeadstreamError):
    """The feed is not the one that the reader has read so far: the store was restored from a copy, or its feed was rebuilt by a repair.

    Compare what the reader has with the store. Then rebuild the projection, or ``forget`` the checkpoint and begin again
    with ``after`` a position that both have; ``after=0`` reads everything.
    """

    def __init__(self, message: str, *, position: int = 0, end: int = 0) -> None:
        super().__init__(message, position=position, end=end)
        #: The position up to which the reader has read.
        self.position = position
        #: The last position of the feed.
        self.end = end


class ProjectionStopped(HeadstreamError):
    """A projection met an event that it could not handle; the error is the cause of this one.

    Everything before ``position`` is in the read model, and nothing of that event.
    """

    def __init__(self, message: str, *, name: str = "", position: int = 0, stream: str = "", version: int = 0) -> None:
        super().__init__(message, name=name, position=position, stream=stream, version=version)
        self.name = name
        #: The event's number in the feed.
        self.position = position
        self.stream = stream
        self.version = version


class Unavailable(HeadstreamError):
    """The storage cannot be reached, or asks to slow down, for longer than headstream retries. Nothing was written.

    ``details`` have the ``reason`` of the last failure in words, and its ``code``, if the storage or the system has one.
    """


class RequestRejected(HeadstreamError):
    """The storage refuses the request for good, as long as nothing is changed there: a lease, a retention policy, an archived object, a
    wrong region; in a file system, a name that is too long, or a FIFO or a loop of links where a file should be. Nothing was written by the request; ``details`` have the ``status`` and the ``code`` of the answer, or the
    ``code`` of the system.
    """


class StoreNotFound(HeadstreamError):
    """The container, bucket or folder does not exist, or holds no store. ``headstream init URL`` creates both."""


class AccessDenied(HeadstreamError):
    """The storage refused the credentials, or they do not permit the operation."""


class UnsuitableBackend(HeadstreamError):
    """The storage does not keep a promise that headstream needs: above all, that conditional writes are conditional."""


class CorruptData(HeadstreamError):
    """A stored object is damaged, missing or in the wrong place. It is never skipped and never guessed at."""

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message, key=key)
        #: The key of the object, relative to the store.
        self.key = key


class UnsupportedFormat(HeadstreamError):
    """The store, or one of its objects, has a format that this version of headstream does not know. Upgrade it."""
