"""The table of ``headstream.backends.cloud.answers``, a test a row: a server answers what the services answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest

from headstream.backends.cloud import CloudBackend
from headstream.backends.cloud.answers import ROWS, Meaning, Operation, meaning_of
from headstream.errors import AccessDenied, RequestRejected, StoreNotFound, UnsuitableBackend
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    MISSING,
    REFUSED,
    Get,
    Matches,
    NotApplied,
    Put,
    Unknown,
)
from servers.answering import AnsweringServer, Saying

ASK: Final[dict[Operation, Callable[[CloudBackend], Any]]] = {
    Operation.CREATE: lambda backend: backend.commit((), Put("heads/a", b"x", ABSENT)),
    Operation.SWAP: lambda backend: backend.commit((), Put("heads/a", b"x", Matches('1/"0x1"'))),
    Operation.OVERWRITE: lambda backend: backend.commit(
        (Put("inbox/1", b"x", ALWAYS),), Put("heads/a", b"x", Matches('1/"0x1"'))
    ),
    Operation.GET: lambda backend: backend.get(Get("heads/a")),
    Operation.LIST: lambda backend: backend.list("heads/", "", 10),
    Operation.DELETE: lambda backend: backend.delete(["inbox/1"]),
}
NO_RETRY: Final = {"max_retries": 0}
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "az": {"account_name": "shop", "account_key": "c2VjcmV0"},
    "s3": {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"},
    "gs": {},
}
LEASES = ("LeaseIdMissing", "LeaseIdMismatchWithBlobOperation", "LeaseLost")
CREATE, SWAP, OVERWRITE, GET, LIST, DELETE = Operation
WRITES = (CREATE, SWAP, OVERWRITE)
KEPT_BY_GOOGLE = (
    "Object 'shop/a' is subject to bucket's retention policy and cannot be deleted or overwritten until 2027"
)
HELD_BY_GOOGLE = "Object 'shop/a' is under active Temporary hold and cannot be deleted, overwritten or archived"
LOCKED_BY_S3 = (
    "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
)
OLD_DATE = "Server failed to authenticate the request. Request date header too old: 'Tue, 01 Dec 2026 00:00:00 GMT'"


class Case(NamedTuple):
    """An answer to some operations, and what comes of it."""

    scheme: str
    operations: tuple[Operation, ...]
    status: int
    code: str
    expected: Any
    word: str
    """Of the message."""
    text: str
    """Of the answer."""


CASES: Final = [
    Case(*case)
    for case in (
        *[("az", tuple(Operation), 404, code, StoreNotFound, "init", "") for code in ("ContainerNotFound",)],
        *[
            ("az", WRITES, 409, code, StoreNotFound, "init", "")
            for code in ("ContainerBeingDeleted", "ContainerDisabled")
        ],
        ("s3", tuple(Operation), 404, "NoSuchBucket", StoreNotFound, "init", ""),
        ("az", (GET, DELETE), 404, "", StoreNotFound, "init", "The specified container does not exist."),
        ("gs", (CREATE, GET, LIST), 404, "NoSuchBucket", StoreNotFound, "init", ""),
        ("s3", (CREATE, GET), 400, "RequestTimeout", Unknown, "400", ""),
        ("s3", (CREATE,), 400, "BadDigest", Unknown, "400", ""),
        ("az", (SWAP,), 400, "Md5Mismatch", Unknown, "400", ""),
        ("az", (CREATE, SWAP), 409, "AccountBeingCreated", NotApplied, "409", ""),
        *[("az", (SWAP, OVERWRITE), 412, code, RequestRejected, "lease", "") for code in LEASES],
        ("az", (SWAP,), 409, "LeaseIdMismatchWithBlobOperation", RequestRejected, "lease", ""),
        *[
            ("az", (SWAP, OVERWRITE), 409, code, RequestRejected, "legal hold", "")
            for code in ("BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold")
        ],
        ("gs", (SWAP, DELETE), 403, "RetentionPolicyNotMet", RequestRejected, "retention", ""),
        ("gs", (SWAP, DELETE), 403, "AccessDenied", RequestRejected, "retention", KEPT_BY_GOOGLE),
        ("gs", (SWAP,), 403, "AccessDenied", RequestRejected, "retention", HELD_BY_GOOGLE),
        ("s3", (SWAP,), 403, "ObjectLocked", RequestRejected, "object lock", ""),
        ("s3", (CREATE, SWAP), 400, "InvalidRequest", RequestRejected, "object lock", LOCKED_BY_S3),
        ("az", (GET, SWAP), 409, "BlobArchived", RequestRejected, "archive", ""),
        ("az", (GET,), 409, "BlobBeingRehydrated", RequestRejected, "archive", ""),
        ("s3", (GET,), 403, "InvalidObjectState", RequestRejected, "archive", ""),
        ("az", (SWAP,), 409, "InvalidBlobType", RequestRejected, "another kind", ""),
        ("az", (DELETE,), 409, "SnapshotsPresent", RequestRejected, "snapshots", ""),
        ("s3", (GET, SWAP, LIST), 403, "RequestTimeTooSkewed", AccessDenied, "clock", ""),
        ("az", (GET, SWAP), 403, "AuthenticationFailed", AccessDenied, "clock", OLD_DATE),
        ("az", (GET, SWAP), 403, "AuthenticationFailed", AccessDenied, "credentials", ""),
        ("az", (GET,), 403, "AccountIsDisabled", AccessDenied, "disabled", ""),
        ("s3", (GET,), 403, "AllAccessDisabled", AccessDenied, "disabled", ""),
        ("gs", (GET,), 403, "UserProjectAccountProblem", AccessDenied, "disabled", ""),
        ("s3", (GET, SWAP), 400, "ExpiredToken", AccessDenied, "credentials", ""),
        ("s3", (GET, SWAP, LIST), 301, "", RequestRejected, "region", ""),  # the client tells no code of it
        ("s3", (GET, SWAP), 400, "AuthorizationHeaderMalformed", RequestRejected, "region", ""),
        ("s3", (CREATE,), 400, "KeyTooLongError", RequestRejected, "shorter", ""),
        ("az", (CREATE,), 400, "OutOfRangeInput", RequestRejected, "shorter", ""),
        ("s3", (CREATE,), 414, "", RequestRejected, "shorter", ""),
        *[
            (service, (CREATE, SWAP), 413, "RequestBodyTooLarge", RequestRejected, "size", "")
            for service in ("az", "s3")
        ],
        ("s3", (CREATE,), 400, "EntityTooLarge", RequestRejected, "size", ""),
        ("s3", (CREATE, OVERWRITE), 507, "XMinioStorageFull", RequestRejected, "quota", ""),
        ("s3", (CREATE,), 403, "QuotaExceeded", RequestRejected, "quota", ""),
        ("s3", (GET,), 400, "KMS.DisabledException", RequestRejected, "encrypts", ""),
        ("az", (GET,), 403, "KeyVaultEncryptionKeyNotFound", RequestRejected, "encrypts", ""),
        *[
            (service, (CREATE, SWAP), 501, "NotImplemented", UnsuitableBackend, "conditional", "")
            for service in OPTIONS
        ],
        ("s3", (LIST, DELETE), 501, "NotImplemented", RequestRejected, "rejected", ""),
        ("s3", (CREATE, SWAP), 409, "ConditionalRequestConflict", REFUSED, "", ""),
        ("s3", (CREATE, SWAP), 412, "PreconditionFailed", REFUSED, "", ""),
        ("az", (CREATE,), 409, "BlobAlreadyExists", REFUSED, "", ""),
        ("az", (SWAP,), 412, "ConditionNotMet", REFUSED, "", ""),
        ("gs", (CREATE, SWAP), 412, "PreconditionFailed", REFUSED, "", ""),
        ("az", (SWAP,), 404, "BlobNotFound", REFUSED, "", ""),
        ("az", (OVERWRITE,), 412, "ConditionNotMet", NotApplied, "412", ""),
        ("az", (CREATE, OVERWRITE), 404, "ResourceNotFound", StoreNotFound, "init", ""),
        ("az", (GET,), 404, "BlobNotFound", MISSING, "", ""),
        ("gs", (DELETE,), 404, "NoSuchKey", None, "", ""),
        *[(service, (GET, SWAP, LIST), 403, "AccessDenied", AccessDenied, "credentials", "") for service in OPTIONS],
        ("az", (GET,), 401, "NoAuthenticationInformation", AccessDenied, "credentials", ""),
        *[("gs", (SWAP, GET), 429, code, Unknown, "429", "") for code in ("rateLimitExceeded", "SlowDown")],
        ("s3", (LIST,), 409, "OperationAborted", Unknown, "409", ""),
        ("s3", (GET, SWAP), 400, "InvalidRequest", RequestRejected, "rejected", ""),
        ("s3", (SWAP,), 411, "MissingContentLength", RequestRejected, "rejected", ""),
        ("s3", (SWAP,), 405, "MethodNotAllowed", RequestRejected, "rejected", ""),
        ("s3", (SWAP, GET), 503, "SlowDown", Unknown, "503", ""),
        ("az", (SWAP, GET), 500, "OperationTimedOut", Unknown, "500", ""),
    )
]


@pytest.fixture(scope="module")
def service() -> Iterator[AnsweringServer]:
    """It says what a test lets it say."""
    with AnsweringServer() as server:
        yield server


def backend_of(scheme: str, service: AnsweringServer) -> CloudBackend:
    """A backend of that service, without retries."""
    given: dict[str, Any] = dict(OPTIONS[scheme])
    if scheme == "gs":
        account = {"gcs_base_url": service.address, "disable_oauth": True, "client_email": "", "private_key": ""}
        given["service_account_key"] = json.dumps(account | {"private_key_id": ""})
    else:
        given["endpoint"] = service.address
    return CloudBackend(f"{scheme}://shop/a", client_options={"allow_http": True}, retry_config=NO_RETRY, **given)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.scheme}-{case.status}-{case.code or 'none'}")
def test_what_an_answer_means(service: AnsweringServer, case: Case) -> None:
    """Each operation tells the service's answer as the table has it, with its code; no write is sent twice."""
    scheme, operations, status, code, expected, word, text = case
    service.saying = Saying.xml(status, code, text)
    backend = backend_of(scheme, service)
    for operation in operations:
        service.requests.clear()
        wanted = NotApplied if operation is OVERWRITE and expected is Unknown else expected
        if not isinstance(wanted, type):
            assert ASK[operation](backend) == wanted
            continue
        with pytest.raises(wanted) as raised:
            ASK[operation](backend)
        assert type(raised.value) is wanted
        assert word in str(raised.value)
        error: Any = raised.value
        if wanted in (RequestRejected, AccessDenied, UnsuitableBackend):
            assert error.details["status"] == status
            assert error.details.get("code") == (code or None)
        elif wanted in (Unknown, NotApplied):
            assert error.code == (code or None)
        if operation in WRITES:
            assert len(service.requests) == 1


def test_every_row_of_the_table_is_tried() -> None:
    """No row is dead: each decides one of the cases above."""
    decided = set()
    for scheme, operations, status, code, _expected, _word, text in CASES:
        for operation in operations:
            deciding = [row for row in ROWS if row.fits(scheme, operation, status, code or None, text)]
            decided.update(deciding[:1])
    assert [row for row in ROWS if row not in decided] == []


@pytest.mark.parametrize("scheme", OPTIONS)
@pytest.mark.parametrize("operation", Operation)
def test_what_no_row_names_is_told_by_its_status(scheme: str, operation: Operation) -> None:
    """A code that is not known here changes nothing: 5xx is unknown, another 4xx is refused for good."""
    for status, meaning in (
        (500, Meaning.UNKNOWN),
        (418, Meaning.REJECTED),
        (403, Meaning.DENIED),
        (503, Meaning.UNKNOWN),
    ):
        assert meaning_of(scheme, operation, status, "Unheard")[0] is meaning
    assert meaning_of(scheme, operation, None)[0] is Meaning.UNKNOWN
