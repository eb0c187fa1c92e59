"""What each failure of the client library means for the core.

=========================================  ======================  ===================  ===================
obstore says                               head of a commit        prelude of a commit  get, list, delete
=========================================  ======================  ===================  ===================
AlreadyExistsError, PreconditionError      ``Refused``             ``NotApplied``       ``Unknown``
(the service answered 409 or 412)
FileNotFoundError (404)                    ``Refused`` of a swap;  ``StoreNotFound``    missing: answered
                                           else ``StoreNotFound``
any of these, when the answer speaks of a  ``StoreNotFound``       ``StoreNotFound``    ``StoreNotFound``
missing container (CONTAINER_CODES)
PermissionDeniedError,                     ``AccessDenied``        ``AccessDenied``     ``AccessDenied``
UnauthenticatedError (401, 403)
another 4xx, or a redirect                 ``HeadstreamError``     ``HeadstreamError``  ``HeadstreamError``
no connection (refused, DNS, TLS, its      ``NotApplied``          ``NotApplied``       ``NotApplied``
time-out): nothing was sent
408, 425, 429, 5xx, a time-out, a dropped  ``Unknown``             ``NotApplied``       ``Unknown``
connection, whatever is not known here
=========================================  ======================  ===================  ===================

The writes of a commit run without retries, so 409 and 412 speak of the only request that was sent: with the library's
retries on they may be the echo of its own success. 429 and 503 can come from a proxy after the service has acted, so
they say nothing. A prelude has fresh keys that nothing refers to until the head is written: whatever became of it, the
commit is not applied. S3 answers 409 to some racing writes that it might accept a moment later; nothing was written, so
``Refused`` is true, and the core looks again.

The library has one exception type for most failures, so status, error code and phase are read from its text. They only
make an answer more certain: without them it is ``Unknown``. The text itself goes nowhere, neither in a message nor as a
cause or context: it holds URLs, and those may hold signatures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)

from headstream.errors import AccessDenied, HeadstreamError, InvalidInput, StoreNotFound
from headstream.protocol.ops import REFUSED, Always, Matches, NotApplied, Put, Refused, Unknown

ERRORS: Final = (BaseError, OSError)
"""What obstore raises: its own exceptions, and for a missing object ``FileNotFoundError``."""

CONFLICTS: Final = (AlreadyExistsError, PreconditionError)
DENIALS: Final = (PermissionDeniedError, UnauthenticatedError)
MISUSES: Final = (InvalidPathError, NotSupportedError, UnknownConfigurationKeyError)

CONTAINER_CODES: Final = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled", "NoSuchBucket"})
DENIAL_CODES: Final = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"})
"""Credentials that S3 refuses with 400."""
LATE_CODES: Final = frozenset({"RequestTimeout"})
"""S3's 400, and others' 408, for a request that took too long."""
UNDECIDED: Final = frozenset({404, 408, 409, 412, 425, 429})
"""4xx that do not say whether the request was carried out: those that a proxy or a busy service gives, and those that
answer the question of a condition where none was asked."""

Failure: TypeAlias = NotApplied | Unknown | HeadstreamError
FAILURES: Final = (NotApplied, Unknown, HeadstreamError)

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_NO_CONTAINER = re.compile(r"The specified container does not exist|The specified bucket does not exist")
# The client's own words for "while connecting": its kind of error, or the phase inside of a time-out. A key has no
# blank and no comma, so neither can be part of a URL.
_UNCONNECTED = re.compile(r"kind: Connect,|legacy::Error\(\s*Connect,")
_REDIRECTED = re.compile(r"Received redirect without LOCATION")
_PLAIN_HTTP = re.compile(r"HTTP error: builder error")


class Clues(NamedTuple):
    """What the text of a failure tells: ``None`` or false where it tells nothing."""

    status: int | None
    code: str | None
    no_container: bool
    unconnected: bool
    redirected: bool
    plain_http: bool

    @classmethod
    def of(cls, error: BaseException) -> Clues:
        """The clues in the text of an exception of obstore."""
        text = str(error)
        status, code = _STATUS.search(text), _CODE.search(text)
        answered = status is not None
        return cls(
            status=int(status[1]) if status else None,
            code=code[1] if code else None,
            no_container=bool(code and code[1] in CONTAINER_CODES) or bool(_NO_CONTAINER.search(text)),
            unconnected=not answered and bool(_UNCONNECTED.search(text)),
            redirected=not answered and bool(_REDIRECTED.search(text)),
            plain_http=not answered and bool(_PLAIN_HTTP.search(text)),
        )


def failure_of(error: BaseException, address: str, key: str) -> Failure:
    """What to raise for a failure that is no answer: the last rows of the table.

    ``address`` (the store's URL without its credentials) and ``key`` are the only names in the message.
    """
    clues = Clues.of(error)
    details = {"store": address, "key": key, "status": clues.status, "code": clues.code}
    details = {name: value for name, value in details.items() if value is not None}
    if clues.no_container:
        return no_container(address)
    if isinstance(error, DENIALS) or clues.status in (401, 403) or clues.code in DENIAL_CODES:
        return AccessDenied("the storage refused the credentials, or they do not permit this: check them", **details)
    if isinstance(error, MISUSES):
        return InvalidInput("the storage client cannot carry out this request", kind=type(error).__name__, **details)
    if clues.plain_http:
        return HeadstreamError(
            "the endpoint cannot be used: for one that starts with http://, pass client_options={'allow_http': True}",
            **details,
        )
    if clues.redirected or (clues.status is not None and 300 <= clues.status < 400):
        return HeadstreamError("the storage is elsewhere: set the region or the endpoint of the bucket", **details)
    if clues.unconnected:
        return NotApplied(_line("no connection to the storage", details))
    undecided = clues.status in UNDECIDED or clues.code in LATE_CODES
    if clues.status is not None and 400 <= clues.status < 500 and not undecided:
        return HeadstreamError("the storage rejected the request", **details)
    return Unknown(_line("no usable answer of the storage", details | {"kind": type(error).__name__}))


def put_failure(error: BaseException, put: Put, address: str) -> Refused | Failure:
    """What a failed write of an object means: the first rows of the table, for a head."""
    if not Clues.of(error).no_container:
        if isinstance(error, CONFLICTS):
            return NotApplied(f"the storage would not overwrite {put.key}") if put.when == Always() else REFUSED
        if isinstance(error, FileNotFoundError):
            return REFUSED if isinstance(put.when, Matches) else no_container(address)
    return failure_of(error, address, put.key)


def no_container(address: str) -> StoreNotFound:
    """The container or bucket of ``address`` is missing."""
    return StoreNotFound(f"the container or bucket does not exist: run `headstream init {address}`", store=address)


def _line(message: str, details: Mapping[str, object]) -> str:
    return f"{message} ({', '.join(f'{name}={value!r}' for name, value in details.items())})"
