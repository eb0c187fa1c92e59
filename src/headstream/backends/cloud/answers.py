"""What an answer of a service means that is not a success: one table of (service, operation, status, code).

The first row that fits decides. Statuses and codes come from the documentation of the services; the code is a service's own name for a failure. A row
with words fits only an answer that has one of them, where services have no code of their own for a case.

What no row names falls to the last rows, by its status alone: 401 and 403 are :attr:`Meaning.DENIED`, 408, 425, 429 and 5xx say nothing about
whether the request was carried out, and every other answer from 300 to 499 is :attr:`Meaning.REJECTED`.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple


class Operation(enum.Enum):
    """What was asked of the service."""

    CREATE = "create"
    """A write on condition that there is no object."""
    SWAP = "swap"
    """A write on condition of an etag or a generation."""
    OVERWRITE = "overwrite"
    """A write without condition."""
    GET = "get"
    LIST = "list"
    DELETE = "delete"


class Meaning(enum.Enum):
    """What an answer is for the core."""

    REFUSED = "the condition did not hold"
    NOT_APPLIED = "nothing was done; it may succeed later"
    UNKNOWN = "it may have been done, or may succeed later"
    MISSING = "there is no object of that key"
    NO_CONTAINER = "there is no container or bucket"
    DENIED = "no access"
    REJECTED = "nothing was done, and it will not succeed later"
    UNSUITABLE = "the service cannot do what headstream needs"


class Row(NamedTuple):
    """Answers that mean the same. ``None`` stands for all."""

    services: frozenset[str] | None
    """Schemes: ``az``, ``s3``, ``gs``."""
    operations: frozenset[Operation] | None
    statuses: frozenset[int] | None
    codes: frozenset[str] | None
    meaning: Meaning
    advice: str = ""
    """What happened, and what to do."""
    words: str | None = None
    """A regular expression; some of it must be in the answer."""

    def fits(self, scheme: str, operation: Operation, status: int | None, code: str | None, text: str) -> bool:
        """Whether the answer is of this row."""
        return (
            (self.services is None or scheme in self.services)
            and (self.operations is None or operation in self.operations)
            and (self.statuses is None or status in self.statuses)
            and (self.codes is None or code in self.codes)
            and (self.words is None or re.search(self.words, text) is not None)
        )


_SCHEMES: Final = frozenset({"az", "s3", "gs"})
_CONDITIONAL: Final = frozenset({Operation.CREATE, Operation.SWAP})
_WRITES: Final = _CONDITIONAL | {Operation.OVERWRITE}
_OPERATIONS: Final = {
    "create": frozenset({Operation.CREATE}),
    "swap": frozenset({Operation.SWAP}),
    "overwrite": frozenset({Operation.OVERWRITE}),
    "get": frozenset({Operation.GET}),
    "list": frozenset({Operation.LIST}),
    "delete": frozenset({Operation.DELETE}),
    "conditional": _CONDITIONAL,
    "write": _WRITES,
    "change": _WRITES | {Operation.DELETE},
}

_LEASE: Final = "a lease is on the object, so it cannot be written: break or release the lease"
_KEPT: Final = "a retention or immutability policy, a legal hold or an object lock forbids the write: take it off the path of the store"
_ARCHIVED: Final = (
    "the object is in an archive tier: move it to an online tier, and exempt the store from lifecycle rules"
)
_CLOCK: Final = "the clock of this machine differs too much from the storage's: set it"
_ELSEWHERE: Final = "the bucket is in another region, or behind another endpoint: set the region or the endpoint"
_NAME: Final = (
    "the storage does not accept the name of the object: use shorter names of streams, or a shorter path in the URL"
)
_SIZE: Final = "the storage does not accept an object of this size: append fewer events at once, or lower tail_bytes"
_QUOTA: Final = "the account or the bucket has no room left: raise its quota"
_DISABLED: Final = "the account or the bucket is disabled: look at its state with the provider"
_CONDITIONS: Final = "the storage does not carry out conditional writes: use another one"
_OTHER_KIND: Final = "the key belongs to an object of another kind, which headstream did not make: remove it"
_CREDENTIALS: Final = "the storage refused the credentials, or they do not permit this: check them"
_KEYS: Final = "the storage cannot use the key that encrypts the bucket: look at its state with the provider"
_REJECTED: Final = "the storage rejected the request"


def _row(where: str, codes: str, meaning: Meaning, advice: str = "", words: str | None = None) -> Row:
    """A row; ``where`` has schemes, operations and statuses in any number, separated by blanks."""
    given = where.split()
    operations = [_OPERATIONS[name] for name in given if name in _OPERATIONS]
    return Row(
        frozenset(name for name in given if name in _SCHEMES) or None,
        frozenset().union(*operations) or None,
        frozenset(int(number) for number in given if number.isdecimal()) or None,
        frozenset(codes.split()) or None,
        meaning,
        advice,
        words,
    )


M = Meaning
# fmt: off
ROWS: Final = (
    # --- no such container -----------------------------------------------------------------------------------------
    _row("", "ContainerNotFound ContainerBeingDeleted ContainerDisabled NoSuchBucket", M.NO_CONTAINER),
    _row("404", "", M.NO_CONTAINER, words="The specified (container|bucket) does not exist"),
    # --- busy, or damaged on the way: a later request may succeed -------------------------------------------------------
    _row("400 408", "RequestTimeout", M.UNKNOWN),
    _row("400", "BadDigest IncompleteBody Md5Mismatch Crc64Mismatch XAmzContentSHA256Mismatch", M.UNKNOWN),
    _row("az 409", "AccountBeingCreated", M.NOT_APPLIED),
    # --- what stays refused -----------------------------------------------------------------------------------------
    _row("az change 409 412", "LeaseIdMissing LeaseIdMismatchWithBlobOperation LeaseLost LeaseNotPresentWithBlobOperation "
         "LeaseIsBreakingAndCannotBeAcquired ContainerLeasedByDifferentLease", M.REJECTED, _LEASE),
    _row("az change 409", "BlobImmutableDueToPolicy BlobImmutableDueToLegalHold ContainerHasLegalHold "
         "ContainerImmutabilityPolicyLocked", M.REJECTED, _KEPT),
    _row("gs change 403", "RetentionPolicyNotMet retentionPolicyNotMet ObjectUnderActiveHold objectUnderActiveHold", M.REJECTED, _KEPT),
    _row("gs change 403", "", M.REJECTED, _KEPT, words=r"(?i)retention policy|active (event-based|temporary) hold|retention period"),
    _row("s3 change", "ObjectLocked WORMProtected", M.REJECTED, _KEPT),
    _row("s3 change 400 403", "", M.REJECTED, _KEPT, words=r"(?i)object lock|WORM.protected"),
    _row("az 409", "BlobArchived BlobBeingRehydrated", M.REJECTED, _ARCHIVED),
    _row("s3 403", "InvalidObjectState", M.REJECTED, _ARCHIVED),
    _row("az write 409", "InvalidBlobType BlobOperationNotSupported", M.REJECTED, _OTHER_KIND),
    _row("az delete 409", "SnapshotsPresent", M.REJECTED, "the object has snapshots, so it cannot be deleted: delete them"),
    # --- who asks, and when ---------------------------------------------------------------------------------------------
    _row("400 403", "RequestTimeTooSkewed RequestExpired", M.DENIED, _CLOCK),
    _row("az 403", "AuthenticationFailed", M.DENIED, _CLOCK, words="Request date header too old"),
    _row("az 403", "AccountIsDisabled", M.DENIED, _DISABLED),
    _row("s3 403", "AllAccessDisabled AccountProblem NotSignedUp", M.DENIED, _DISABLED),
    _row("gs 403", "AccountDisabled UserProjectAccountProblem BillingDisabled accountDisabled", M.DENIED, _DISABLED),
    _row("400", "ExpiredToken InvalidToken TokenRefreshRequired InvalidAccessKeyId", M.DENIED, _CREDENTIALS),
    # --- where ------------------------------------------------------------------------------------------------------
    _row("301 302 303 307 308", "", M.REJECTED, _ELSEWHERE),
    _row("s3 400", "AuthorizationHeaderMalformed IllegalLocationConstraintException PermanentRedirect", M.REJECTED, _ELSEWHERE),
    # --- what is asked -----------------------------------------------------------------------------------------------
    _row("400", "KeyTooLongError KeyTooLong OutOfRangeInput InvalidResourceName InvalidObjectName InvalidUri InvalidURI",
         M.REJECTED, _NAME),
    _row("414", "", M.REJECTED, _NAME),
    _row("413", "", M.REJECTED, _SIZE),
    _row("400", "EntityTooLarge MetadataTooLarge RequestBodyTooLarge", M.REJECTED, _SIZE),
    _row("507", "", M.REJECTED, _QUOTA),
    _row("", "QuotaExceeded BucketQuotaExceeded XMinioStorageFull XMinioAdminBucketQuotaExceeded quotaExceeded AccountLimitExceeded "
         "TooManyBuckets", M.REJECTED, _QUOTA),
    _row("s3 400 403", "KMS.DisabledException KMS.NotFoundException KMS.KMSInvalidStateException KMS.InvalidStateException",
         M.REJECTED, _KEYS),
    _row("az 403", "KeyVaultEncryptionKeyNotFound KeyVaultAccessTokenCannotBeAcquired KeyVaultVaultNotFound", M.REJECTED, _KEYS),
    _row("conditional 501", "", M.UNSUITABLE, _CONDITIONS),
    _row("501", "", M.REJECTED, _REJECTED),
    # --- conditions and keys ------------------------------------------------------------------------------------------
    _row("conditional 409 412", "", M.REFUSED),  # also of racing requests, whose writes might be accepted a moment later
    _row("swap 404", "", M.REFUSED),
    _row("overwrite 409 412", "", M.NOT_APPLIED),
    _row("create 404", "", M.NO_CONTAINER),
    _row("overwrite 404", "", M.NO_CONTAINER),
    _row("get 404", "", M.MISSING),
    _row("delete 404", "", M.MISSING),
    # --- by the status alone -----------------------------------------------------------------------------------------
    _row("401 403", "", M.DENIED, _CREDENTIALS),
    _row("404 408 409 412 425 429", "", M.UNKNOWN),
)
# fmt: on


def meaning_of(
    scheme: str, operation: Operation, status: int | None, code: str | None = None, text: str = ""
) -> tuple[Meaning, str]:
    """What an answer means, and the advice that goes with it (``""`` for none)."""
    for row in ROWS:
        if row.fits(scheme, operation, status, code, text):
            return row.meaning, row.advice
    if status is not None and 300 <= status < 500:
        return Meaning.REJECTED, _REJECTED
    return Meaning.UNKNOWN, ""
