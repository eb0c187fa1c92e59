"""What each failure of the client library means for the core.

* An answer of the service that is not a success: the table in ``answers``, by service, operation, status and code.
* No answer: ``transport``. Nothing was sent while the connection was being made, so it is ``NotApplied``; else it is ``Unknown``.
* What the client library finds by itself, before it sends anything: the table of this module.

A meaning becomes what the core is told:

===============  ======================  ===================  ===================
meaning          head of a commit        prelude of a commit  get, list, delete
===============  ======================  ===================  ===================
``REFUSED``      ``Refused``             –                    –
``MISSING``      –                       –                    missing: answered
``NO_CONTAINER`` ``StoreNotFound``       ``StoreNotFound``    ``StoreNotFound``
``DENIED``       ``AccessDenied``        ``AccessDenied``     ``AccessDenied``
``REJECTED``     ``RequestRejected``     ``RequestRejected``  ``RequestRejected``
``UNSUITABLE``   ``UnsuitableBackend``   –                    –
``NOT_APPLIED``  ``NotApplied``          ``NotApplied``       ``NotApplied``
``UNKNOWN``      ``Unknown``             ``NotApplied``       ``Unknown``
===============  ======================  ===================  ===================

The writes of a commit run without retries, so 409 and 412 speak of the only request that was sent: with the library's
retries on they may be the echo of its own success. 429 and 503 can come from a proxy after the service has acted, so
they say nothing. A prelude has fresh keys that nothing refers to until the head is written: whatever became of it, the
commit is not applied.

The library has one exception type for most failures, so status and code are read from its text. The text itself goes nowhere, neither in a message
nor as a cause or context: it holds URLs, and those may hold signatures. The exception of a credential provider is the application's own, and becomes
the cause: of ``NotApplied``, since it may succeed a moment later, or of ``AccessDenied``, if it is that or a ``PermissionError``.
"""

from __future__ import annotations

import re
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

from headstream.backends.cloud.answers import Meaning, Operation, meaning_of
from headstream.backends.cloud.service import Address
from headstream.backends.cloud.transport import breakdown
from headstream.errors import (
    AccessDenied,
    HeadstreamError,
    InvalidInput,
    RequestRejected,
    StoreNotFound,
    UnsuitableBackend,
)
from headstream.protocol.ops import MISSING, Missing, NotApplied, Refused, Unknown

ERRORS: Final = (BaseError, OSError)
"""What obstore raises: its own exceptions, and for a missing object ``FileNotFoundError``."""

MISUSES: Final = (InvalidPathError, NotSupportedError, UnknownConfigurationKeyError)

Failure: TypeAlias = NotApplied | Unknown | HeadstreamError
FAILURES: Final = (NotApplied, Unknown, HeadstreamError)

_STATUS: Final = re.compile(r"non-2xx status code: (\d{3})")
_BATCH_STATUS: Final = re.compile(r"\(code: (\d{3})\)")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]{1,64})</Code>")
_OTHER_CODE: Final = re.compile(r'"reason":\s*"([A-Za-z0-9.]{1,64})"|\(code: ([A-Za-z.]{1,64})\)')
"""Google's JSON, and one key of a bulk delete of S3."""
_BY_TYPE: Final = {
    AlreadyExistsError: 409,
    PreconditionError: 412,
    FileNotFoundError: 404,
    UnauthenticatedError: 401,
    PermissionDeniedError: 403,
}
"""The status that an exception of the library stands for, where its text has none."""
_REDIRECTED: Final = re.compile(r"Received redirect without LOCATION")
_PLAIN_HTTP: Final = re.compile(r"HTTP error: builder error")
_PROVIDER: Final = re.compile(r"External \w+ credential provider")


class Clues(NamedTuple):
    """What the text of a failure tells: ``None`` or false where it tells nothing."""

    status: int | None
    code: str | None
    plain_http: bool
    provider: bool

    @classmethod
    def of(cls, error: BaseException) -> Clues:
        """The clues in the text of an exception of obstore."""
        text = str(error)
        status = _STATUS.search(text) or _BATCH_STATUS.search(text)
        code, other = _CODE.search(text), _OTHER_CODE.search(text)
        unanswered = _STATUS.search(text) is None
        redirected = unanswered and bool(_REDIRECTED.search(text))
        provider = unanswered and bool(_PROVIDER.search(text))
        by_type = (
            None if provider else next((number for kind, number in _BY_TYPE.items() if isinstance(error, kind)), None)
        )
        return cls(
            status=int(status[1]) if status else 301 if redirected else by_type,
            code=code[1] if code else other and (other[1] or other[2]),
            plain_http=unanswered and bool(_PLAIN_HTTP.search(text)),
            provider=provider,
        )


def outcome_of(
    error: BaseException, address: Address, operation: Operation, key: str, cause: BaseException | None = None
) -> Failure | Refused | Missing:
    """The answer that a failed request is, or what to raise for it.

    The store's URL, which has no credentials in it, and ``key`` are the only names in the message. ``cause`` is what the credential provider raised
    last, if anything.
    """
    clues = Clues.of(error)
    found = {"store": str(address), "key": key, "status": clues.status, "code": clues.code}
    details: dict[str, object] = {name: value for name, value in found.items() if value is not None}
    if clues.provider:
        return _provider_failed(cause, details)
    if isinstance(error, MISUSES):
        return InvalidInput("the storage client cannot carry out this request", kind=type(error).__name__, **details)
    if clues.plain_http:
        return RequestRejected(
            "the endpoint cannot be used: for one that starts with http://, pass client_options={'allow_http': True}",
            **details,
        )
    if clues.status is None and clues.code is None:
        broken = breakdown(str(error))
        return (Unknown if broken.sent else NotApplied)(broken.reason, code=broken.code)
    meaning, advice = meaning_of(address.scheme, operation, clues.status, clues.code, str(error))
    return _told(meaning, advice, address, details)


def _told(meaning: Meaning, advice: str, address: Address, details: dict[str, object]) -> Failure | Refused | Missing:
    if meaning is Meaning.REFUSED:
        return Refused(f"the storage answered {details.get('status')}", _text(details.get("code")))
    if meaning is Meaning.MISSING:
        return MISSING
    if meaning is Meaning.NO_CONTAINER:
        return no_container(address)
    if meaning in _LASTING:
        return _LASTING[meaning](advice, **details)
    fault = Unknown if meaning is Meaning.UNKNOWN else NotApplied
    status, code = details.get("status"), details.get("code")
    return fault(f"the storage answered {status or code}", code=_text(code) if status else None)


def _text(code: object) -> str | None:
    return str(code) if code else None


_LASTING: Final = {
    Meaning.DENIED: AccessDenied,
    Meaning.REJECTED: RequestRejected,
    Meaning.UNSUITABLE: UnsuitableBackend,
}


def no_container(address: Address) -> StoreNotFound:
    """The container or bucket of ``address`` is missing."""
    return StoreNotFound(f"the container or bucket does not exist: run `headstream init {address}`", store=str(address))


def _provider_failed(cause: BaseException | None, details: dict[str, object]) -> Failure:
    kind = "an exception" if cause is None else type(cause).__name__
    failure: Failure
    if isinstance(cause, AccessDenied | PermissionError):
        failure = AccessDenied(f"the credential provider has no credentials ({kind}): see its error", **details)
    else:
        failure = NotApplied(f"the credential provider failed with {kind}", code=kind if cause is not None else None)
    failure.__cause__ = cause
    return failure
