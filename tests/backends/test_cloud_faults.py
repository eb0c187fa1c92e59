"""What a failure of the client library means: the table of ``headstream.backends.cloud.faults``, row by row."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from obstore import exceptions as obstore

from headstream.backends.cloud.dialect import Dialect
from headstream.backends.cloud.faults import Clues
from headstream.backends.cloud.service import Address
from headstream.errors import AccessDenied, HeadstreamError, InvalidInput, RequestRejected, StoreNotFound
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    Get,
    Matches,
    NotApplied,
    Put,
    Stored,
    Unknown,
)

DIALECT = Dialect(Address.parse("az://shop/events"))
CREATE = Put("heads/a", b"", ABSENT)
SWAP = Put("heads/a", b"", Matches('"0x1"'))
OVERWRITE = Put("inbox/1", b"", ALWAYS)
GET = Get("heads/a")
SECRET = "SiGnAtUrE%2Fof%3D"
URI = f"https://shop.blob.core.windows.net/shop/events/heads/a?sv=2024-01-01&sig={SECRET}"


def answered(kind: type[Exception], status: int, code: str = "", message: str = "") -> Exception:
    """What obstore 0.12 raises when the service answered."""
    body = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message} {SECRET}</Message></Error>" if code else ""
    )
    return kind(
        f"Object at location heads/a: Error performing PUT {URI} in 3ms - Server returned non-2xx status code: {status} X: {body}"
        f"\n\nDebug source:\nRetryErrorImpl {{ uri: Some({URI}), inner: Status {{ status: {status}, body: Some({body!r}) }} }}"
    )


def unanswered(inner: str) -> Exception:
    """What obstore 0.12 raises when no answer came."""
    return obstore.GenericError(
        f"Generic S3 error: Error performing PUT {URI} in 3ms - HTTP error: error sending request"
        f"\n\nDebug source:\nRetryErrorImpl {{ uri: Some({URI}), inner: Http(HttpError {{ {inner} }}) }}"
    )


CONNECTION_REFUSED = unanswered("kind: Connect, source: reqwest::Error { kind: Request }")
CONNECTION_TIMED_OUT = unanswered(
    "kind: Timeout, source: reqwest::Error { source: hyper_util::client::legacy::Error(\n    Connect,\n    ConnectError("
)
TIMED_OUT = unanswered("kind: Timeout, source: reqwest::Error { kind: Request, source: TimedOut }")
DROPPED = unanswered("kind: Interrupted, source: hyper::Error(IncompleteMessage)")
NOT_MODIFIED_304 = answered(obstore.NotModifiedError, 304)
EXISTS_409 = answered(obstore.AlreadyExistsError, 409, "BlobAlreadyExists")
RACING_409 = answered(obstore.AlreadyExistsError, 409, "ConditionalRequestConflict")
PRECONDITION_412 = answered(obstore.PreconditionError, 412, "ConditionNotMet")
NO_KEY_404 = answered(FileNotFoundError, 404, "BlobNotFound")
NO_CONTAINER_404 = answered(FileNotFoundError, 404, "ContainerNotFound")
NO_BUCKET_404 = answered(obstore.PreconditionError, 404, "NoSuchBucket")
NO_CONTAINER_LISTED = answered(obstore.GenericError, 404, "ContainerNotFound")
CONTAINER_GOING_409 = answered(obstore.AlreadyExistsError, 409, "ContainerBeingDeleted")
NO_CONTAINER_BATCH = FileNotFoundError(
    "Object at location heads/a not found: Bulk delete request failed for key heads/a: The specified container does not exist. (code: 404)"
)
NO_KEY_BATCH = FileNotFoundError(
    "Object at location heads/a not found: Bulk delete request failed for key heads/a: The specified blob does not exist. (code: 404)"
)
DENIED_403 = answered(obstore.PermissionDeniedError, 403, "AuthorizationFailure")
DENIED_401 = answered(obstore.UnauthenticatedError, 401, "NoAuthenticationInformation")
DENIED_LIST = answered(obstore.GenericError, 403, "AccessDenied")
EXPIRED_400 = answered(obstore.GenericError, 400, "ExpiredToken")
REJECTED_400 = answered(obstore.GenericError, 400, "InvalidRequest")
LATE_400 = answered(obstore.GenericError, 400, "RequestTimeout")
REDIRECTED = obstore.GenericError(
    "Generic S3 error: Received redirect without LOCATION, this normally indicates an incorrectly configured region"
)
REDIRECTED_301 = answered(obstore.GenericError, 301)
PLAIN_HTTP = obstore.GenericError(
    "Generic S3 error: Error performing PUT http://s3/a in 8µs - HTTP error: builder error"
)
ETAG_LACKING = obstore.GenericError("Generic S3 error: ETag Header missing from response")
BUSY = [answered(obstore.GenericError, status) for status in (408, 425, 429, 500, 502, 503, 504)]
BAD_PATH = obstore.InvalidPathError("Path //a contained empty path segment")

# error, create of a head, swap of a head, prelude, get
TABLE = [
    (EXISTS_409, REFUSED, REFUSED, NotApplied, Unknown),
    (RACING_409, REFUSED, REFUSED, NotApplied, Unknown),
    (PRECONDITION_412, REFUSED, REFUSED, NotApplied, Unknown),
    (NO_KEY_404, StoreNotFound, REFUSED, StoreNotFound, MISSING),
    (NO_CONTAINER_404, StoreNotFound, StoreNotFound, StoreNotFound, StoreNotFound),
    (NO_BUCKET_404, StoreNotFound, StoreNotFound, StoreNotFound, StoreNotFound),
    (NO_CONTAINER_LISTED, StoreNotFound, StoreNotFound, StoreNotFound, StoreNotFound),
    (CONTAINER_GOING_409, StoreNotFound, StoreNotFound, StoreNotFound, StoreNotFound),
    *((error, *[AccessDenied] * 4) for error in (DENIED_401, DENIED_403, DENIED_LIST, EXPIRED_400)),
    *((error, *[RequestRejected] * 4) for error in (REJECTED_400, REDIRECTED, REDIRECTED_301, PLAIN_HTTP)),
    *((error, *[NotApplied] * 4) for error in (CONNECTION_REFUSED, CONNECTION_TIMED_OUT)),
    *((error, Unknown, Unknown, NotApplied, Unknown) for error in (TIMED_OUT, DROPPED, ETAG_LACKING, LATE_400, *BUSY)),
    (ConnectionResetError("connection reset by peer"), Unknown, Unknown, NotApplied, Unknown),
    (BAD_PATH, InvalidInput, InvalidInput, InvalidInput, InvalidInput),
]


def prelude_fault(error: Exception) -> Any:
    """What a commit raises when one object of its prelude was stored and the other failed."""
    with pytest.raises((NotApplied, Unknown, HeadstreamError)) as raised:
        DIALECT.check_prelude([Stored("etag"), DIALECT.put_failure(OVERWRITE, error)])
    return raised.value


def is_kind(outcome: object, expected: object) -> bool:
    """Whether an outcome is that answer, or an error of exactly that type."""
    return type(outcome) is expected if isinstance(expected, type) else outcome == expected


@pytest.mark.parametrize(("error", "create", "swap", "prelude", "get"), TABLE)
def test_the_table_holds(error: Exception, create: object, swap: object, prelude: object, get: object) -> None:
    """Each failure means what the table says, for a head, a prelude and a get."""
    assert is_kind(DIALECT.put_failure(CREATE, error), create)
    assert is_kind(DIALECT.put_failure(SWAP, error), swap)
    assert is_kind(prelude_fault(error), prelude)
    assert is_kind(DIALECT.get_failure(GET, error), get)


def test_not_modified_is_an_answer() -> None:
    """304 answers a get that named an etag."""
    assert DIALECT.get_failure(GET, NOT_MODIFIED_304) == NOT_MODIFIED


@pytest.mark.parametrize("error", [NO_CONTAINER_LISTED, NO_CONTAINER_404])
def test_a_list_without_a_container_is_no_store(error: Exception) -> None:
    """A list names the missing container as other requests do."""
    assert is_kind(DIALECT.list_failure("heads/", error), StoreNotFound)


def test_a_delete_tells_a_missing_key_from_a_missing_container() -> None:
    """Azure answers a bulk delete in words, without a code."""
    assert DIALECT.delete_failure(["heads/a"], NO_KEY_BATCH) == MISSING
    assert DIALECT.delete_failure(["heads/a"], NO_KEY_404) == MISSING
    assert is_kind(DIALECT.delete_failure(["heads/a"], NO_CONTAINER_BATCH), StoreNotFound)


def test_a_lasting_error_of_the_prelude_comes_first() -> None:
    """Of several failures, the one that no retry mends is raised."""
    outcomes = [DIALECT.put_failure(OVERWRITE, error) for error in (TIMED_OUT, DENIED_403, PRECONDITION_412)]
    with pytest.raises(AccessDenied):
        DIALECT.check_prelude(outcomes)
    DIALECT.check_prelude([])


def test_a_stored_prelude_is_no_failure() -> None:
    """Nothing is raised when everything was stored."""
    DIALECT.check_prelude([Stored("a"), Stored("b")])


@pytest.mark.parametrize("word", ["kind: Connect,", "Received redirect without LOCATION", "HTTP error: builder error"])
def test_the_words_of_a_server_are_not_taken_for_the_clients(word: str) -> None:
    """A 503 whose body sounds like a connection that was never made stays unknown."""
    error = obstore.GenericError(f"Server returned non-2xx status code: 503 X: {word}")
    assert is_kind(DIALECT.put_failure(SWAP, error), Unknown)
    assert Clues.of(error).status == 503


@pytest.mark.parametrize("error", [row[0] for row in TABLE])
def test_no_secret_leaves_with_an_error(error: Exception) -> None:
    """What obstore says holds signed URLs: nothing of it is in the message, the details, or the chain."""
    for outcome in (
        DIALECT.put_failure(CREATE, error),
        DIALECT.put_failure(OVERWRITE, error),
        DIALECT.get_failure(GET, error),
        DIALECT.list_failure("heads/", error),
        DIALECT.delete_failure(["heads/a"], error),
        prelude_fault(error),
    ):
        if not isinstance(outcome, BaseException):
            continue
        text = f"{outcome} {outcome!r} {vars(outcome)} " + "".join(traceback.format_exception(outcome))
        assert SECRET not in text
        assert "sig=" not in text
        assert "\n" not in str(outcome)
        assert outcome.__cause__ is None
        assert outcome.__context__ is None


def test_errors_name_what_helps() -> None:
    """An error carries the store, the key, the status and the service's own code."""
    outcome = DIALECT.put_failure(CREATE, REJECTED_400)
    assert isinstance(outcome, HeadstreamError)
    assert outcome.details == {"store": "az://shop/events", "key": "heads/a", "status": 400, "code": "InvalidRequest"}
    missing = DIALECT.put_failure(CREATE, NO_CONTAINER_404)
    assert "headstream init az://shop/events" in str(missing)
    assert "answered 503" in str(DIALECT.put_failure(CREATE, BUSY[5]))
