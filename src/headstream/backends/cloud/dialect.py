"""How an operation becomes a request, and a reply an answer: everything that the two shells have in common.

Nothing here does I/O. What prepares a request tells :mod:`.runtime` of it. A failure is returned, and raised outside of any ``except``: so no traceback carries the client
library's exception, whose text may hold a signed URL.

Etags. Azure and S3 swap by the etag. GCS swaps by the object's generation, a number that each write changes, and answers
a conditional get by the etag; there, our etag is both: ``generation/etag``. An etag of another shape was never given out
here: it matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from obstore.exceptions import NotModifiedError

from headstream.backends.base import metadata_of
from headstream.backends.cloud.answers import Operation
from headstream.backends.cloud.faults import FAILURES, Failure, outcome_of
from headstream.backends.cloud.runtime import begin_request
from headstream.backends.cloud.scan import Scan
from headstream.backends.cloud.service import Address, Provider
from headstream.errors import HeadstreamError, UnsuitableBackend
from headstream.protocol.ops import (
    NOT_MODIFIED,
    Absent,
    Always,
    Fault,
    Found,
    Get,
    GetAnswer,
    Matches,
    Missing,
    NotApplied,
    Put,
    Refused,
    Stored,
)

if TYPE_CHECKING:
    from obstore import GetOptions

Batch: TypeAlias = Sequence[str]
Arguments: TypeAlias = dict[str, Any]

HTTP_ATTRIBUTES: Final = frozenset(
    {"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Storage-Class"}
)
"""Attributes of an object that are no metadata of ours."""

_OPERATIONS: Final[Mapping[type, Operation]] = {
    Absent: Operation.CREATE,
    Matches: Operation.SWAP,
    Always: Operation.OVERWRITE,
}


class Dialect:
    """The requests and replies of one store's service."""

    def __init__(self, address: Address, provider: Provider | None = None) -> None:
        self._address = address
        self._service = address.service
        self._provider = provider

    # --- get -------------------------------------------------------------------------------------------------

    def get_options(self, get: Get) -> GetOptions | None:
        """The conditions of a get, for obstore."""
        begin_request()
        etag = get.if_none_match
        if etag and self._service.generations:
            etag = etag.partition("/")[2]
        return {"if_none_match": etag} if etag else None

    def found(self, get: Get, meta: Mapping[str, Any], attributes: Mapping[str, str], body: bytes) -> Found | Failure:
        """The answer to a get, from obstore's description of the object."""
        etag = self._etag(meta)
        if etag is None:
            return self._no_etag(get.key)
        metadata = {name: value for name, value in attributes.items() if name not in HTTP_ATTRIBUTES}
        return Found(body, etag, metadata or None)

    def get_failure(self, get: Get, error: BaseException) -> GetAnswer | Failure:
        """The answer that a failed get is, or its failure."""
        if isinstance(error, NotModifiedError):
            return NOT_MODIFIED
        answer = self._outcome(error, Operation.GET, get.key)
        assert not isinstance(answer, Refused)
        return answer

    @staticmethod
    def answers(outcomes: Iterable[GetAnswer | Failure]) -> tuple[GetAnswer, ...]:
        """The answers to several gets; raises the first failure."""
        answers: list[GetAnswer] = []
        for outcome in outcomes:
            if isinstance(outcome, FAILURES):
                raise outcome
            answers.append(outcome)
        return tuple(answers)

    # --- commit ----------------------------------------------------------------------------------------------

    def put_arguments(self, put: Put) -> Arguments | None:
        """What obstore's put needs besides key and body; ``None`` when the condition cannot hold."""
        begin_request()
        mode: str | Arguments = "create" if isinstance(put.when, Absent) else "overwrite"
        if isinstance(put.when, Matches):
            generation = put.when.etag.partition("/")[0]
            if self._service.generations and not generation.isdecimal():
                return None
            mode = {"version": generation} if self._service.generations else {"e_tag": put.when.etag}
        return {"mode": mode, "attributes": self._attributes(put), "use_multipart": False}

    def stored(self, put: Put, result: Mapping[str, Any]) -> Stored | Failure:
        """The answer to a put that the service accepted."""
        etag = self._etag(result)
        return self._no_etag(put.key) if etag is None else Stored(etag)

    def put_failure(self, put: Put, error: BaseException) -> Refused | Failure:
        """The answer that a failed put is, or its failure."""
        answer = self._outcome(error, _OPERATIONS[type(put.when)], put.key)
        assert not isinstance(answer, Missing)
        return answer

    @staticmethod
    def check_prelude(outcomes: Iterable[Stored | Refused | Failure]) -> None:
        """Return when all of the prelude is durable. Else raise why the head must not be tried.

        An error that no retry mends comes before one that a retry may mend.
        """
        failures = [outcome for outcome in outcomes if not isinstance(outcome, Stored)]
        for failure in failures:
            if isinstance(failure, HeadstreamError):
                raise failure
        for first in failures:
            if isinstance(first, Fault):
                raise NotApplied(first.reason, code=first.code) from first.__cause__
            raise NotApplied("an object of the prelude is there already")

    # --- list and delete -------------------------------------------------------------------------------------

    def scan(self, prefix: str, after: str, limit: int) -> Scan:
        """A page to be filled from a list."""
        begin_request()
        return Scan(prefix, after, limit, self._service)

    def list_failure(self, prefix: str, error: BaseException) -> Failure:
        """The failure of a list."""
        failure = self._outcome(error, Operation.LIST, prefix)
        assert isinstance(failure, FAILURES)
        return failure

    def batches(self, keys: Sequence[str]) -> list[Batch]:
        """The keys, once each, in groups that one request deletes."""
        begin_request()
        unique, size = list(dict.fromkeys(keys)), self._service.delete_batch
        return [unique[start : start + size] for start in range(0, len(unique), size)]

    def delete_failure(self, batch: Batch, error: BaseException) -> Missing | Failure:
        """What a failed delete means: ``MISSING`` when one key at least is not there, which hides what became of the others."""
        answer = self._outcome(error, Operation.DELETE, batch[0])
        assert not isinstance(answer, Refused)
        return answer

    @staticmethod
    def undecided(batches: Sequence[Batch], outcomes: Iterable[Missing | Failure | None]) -> list[Batch]:
        """The keys to delete again, one by one: those of a batch whose fate a missing key hid. Raises the first failure."""
        singly: list[Batch] = []
        for batch, outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, FAILURES):
                raise outcome
            if outcome is not None and len(batch) > 1:
                singly.extend((key,) for key in batch)
        return singly

    # --- details ---------------------------------------------------------------------------------------------

    def _outcome(self, error: BaseException, operation: Operation, key: str) -> Failure | Refused | Missing:
        return outcome_of(error, self._address, operation, key, self._provider.failure if self._provider else None)

    def _etag(self, source: Mapping[str, Any]) -> str | None:
        etag, generation = source.get("e_tag"), source.get("version")
        if not etag or (self._service.generations and not generation):
            return None
        return f"{generation}/{etag}" if self._service.generations else str(etag)

    def _no_etag(self, key: str) -> Failure:
        return UnsuitableBackend(
            "the storage gives no etag, so nothing can be swapped", store=str(self._address), key=key
        )

    @staticmethod
    def _attributes(put: Put) -> dict[str, str]:
        kind = "application/json" if put.key.endswith(".json") else "application/octet-stream"
        metadata = metadata_of(put.about) if put.about else {}
        # Anything else makes the client library panic on Azure, and every later get fail on S3 and GCS.
        assert all(value.isascii() and value.isprintable() and value == value.strip() for value in metadata.values())
        return {"Content-Type": kind, **metadata}
