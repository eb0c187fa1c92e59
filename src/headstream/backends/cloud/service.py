"""The URL of a store, the three services, and the two clients that a backend has."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from inspect import isawaitable
from typing import Any, Final, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from headstream import limits
from headstream.backends.cloud.runtime import check_fork
from headstream.errors import InvalidInput

Store: TypeAlias = AzureStore | S3Store | GCSStore


CONNECT_SECONDS: Final = 5.0
"""For a connection, at most; and no more than a request may take."""

_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,221}")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9!.=_~-]+")


class Service(NamedTuple):
    """What differs from one cloud to another."""

    store: type[AzureStore | S3Store | GCSStore]
    environment: str
    """How the names of its environment variables start."""
    list_page: int
    """Keys that it puts in one answer to a list."""
    delete_batch: int
    """Keys that one request deletes."""
    seeks: bool
    """Whether every list begins behind the key that it was asked to begin after. Azurite ignores it; Azure may include it."""
    generations: bool
    """Whether it swaps objects by a generation number instead of the etag."""


SERVICES: Final[Mapping[str, Service]] = {
    "az": Service(AzureStore, "AZURE", list_page=5_000, delete_batch=256, seeks=False, generations=False),
    "s3": Service(S3Store, "AWS", list_page=1_000, delete_batch=1_000, seeks=True, generations=False),
    "gs": Service(GCSStore, "GOOGLE", list_page=1_000, delete_batch=1, seeks=True, generations=True),
}


class Address(NamedTuple):
    """Where a store is: ``scheme://bucket/prefix``, free of credentials."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    @property
    def service(self) -> Service:
        """The service that the scheme names."""
        return SERVICES[self.scheme]

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address that ``url`` names.

        Raises :class:`~headstream.errors.InvalidInput` for anything else, and does not repeat the URL: one that is
        refused may hold a credential.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise InvalidInput("the URL cannot be read: write az://container, s3://bucket or gs://bucket") from None
        if parts.scheme not in SERVICES:
            raise InvalidInput("cloud URLs start with az://, s3:// or gs://", scheme=parts.scheme)
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise InvalidInput("credentials and options do not belong in the URL: use the environment, or keywords")
        if not _BUCKET.fullmatch(parts.netloc):
            raise InvalidInput(f"after {parts.scheme}:// comes the name of a container or bucket")
        prefix = parts.path.strip("/")
        if len(prefix) > limits.MAX_PREFIX:
            raise InvalidInput("the path inside the bucket is too long", bytes=len(prefix), most=limits.MAX_PREFIX)
        if prefix and not all(_SEGMENT.fullmatch(segment) for segment in prefix.split("/")):
            raise InvalidInput(
                "the path inside the bucket may hold letters, digits and ! - . = _ ~ between single slashes"
            )
        return cls(parts.scheme, parts.netloc, prefix)


class Provider:
    """A ``credential_provider`` of the application, with the exception that it raised last: obstore passes only its text on.

    What it returns, and everything else that obstore asks it for, is its own.
    """

    @classmethod
    def put_into(cls, options: dict[str, Any]) -> Self | None:
        """Have a provider among ``options`` watched; it, if there is one."""
        given = options.get("credential_provider")
        if not callable(given):
            return None
        options["credential_provider"] = watched = cls(given)
        return watched

    def __init__(self, inner: Callable[[], Any]) -> None:
        self._inner = inner
        #: What it raised last.
        self.failure: BaseException | None = None

    def __call__(self) -> Any:
        """Fresh credentials, or an awaitable of them."""
        try:
            made = self._inner()
        except Exception as error:
            self.failure = error
            raise
        return self._awaited(made) if isawaitable(made) else made

    async def _awaited(self, made: Awaitable[Any]) -> Any:
        try:
            return await made
        except Exception as error:
            self.failure = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Clients(NamedTuple):
    """The two clients of a backend."""

    reads: Store
    """For gets, lists and deletes, which may be repeated: it retries by itself."""
    writes: Store
    """For the writes of a commit: it never sends one twice."""


def open_clients(
    address: Address,
    client_options: Mapping[str, Any] | None,
    retry_config: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    seconds: float = limits.CLOUD_TIMEOUT,
) -> Clients:
    """Both clients, for calls that may take so many seconds. No request is made.

    Raises :class:`~headstream.errors.InvalidInput` in a forked child that cannot make any, and when obstore does not take the options; it names them, without
    their values.
    """
    check_fork()
    http = {
        "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, limits.REQUEST_PART * seconds)),
        "timeout": timedelta(seconds=limits.REQUEST_PART * seconds),
        "allow_http": os.environ.get(f"{address.service.environment}_ALLOW_HTTP", "").lower() in ("1", "true"),
        **(client_options or {}),
    }
    retries = {
        "max_retries": 8,
        "retry_timeout": timedelta(seconds=limits.RETRY_PART * seconds),
        "backoff": {
            "init_backoff": min(timedelta(milliseconds=50), timedelta(seconds=limits.BACKOFF_PART * seconds)),
            "max_backoff": timedelta(seconds=limits.BACKOFF_PART * seconds),
            "base": 2,
        },
        **(retry_config or {}),
    }
    try:
        return Clients(
            reads=_client(address, http, retries, options),
            writes=_client(address, http, {"max_retries": 0}, options),
        )
    except (BaseError, OSError, TypeError, ValueError) as error:
        kind, no_account = type(error).__name__, "Account must be specified" in str(error)
    if no_account:
        raise InvalidInput("the storage account is missing: set AZURE_STORAGE_ACCOUNT_NAME, or pass account_name=")
    raise InvalidInput(
        "the storage client does not accept these options, or the environment's: see obstore's documentation for their names",
        store=str(address),
        options=sorted(options),
        kind=kind,
    )


def _client(address: Address, http: dict[str, Any], retries: dict[str, Any], options: Mapping[str, Any]) -> Store:
    return address.service.store(
        address.bucket,
        prefix=address.prefix or None,
        client_options=http,  # type: ignore[arg-type]
        retry_config=retries,  # type: ignore[arg-type]
        **options,
    )
