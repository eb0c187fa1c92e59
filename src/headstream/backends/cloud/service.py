"""The URL of a store, the three services, and the two clients that a backend has."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from inspect import isawaitable
from typing import Any, Final, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from headstream import limits
from headstream.backends.base import check_timeout
from headstream.backends.cloud.names import full
from headstream.backends.cloud.options import Options, is_panic, unknown, unset
from headstream.backends.cloud.runtime import check_fork
from headstream.errors import AccessDenied, InvalidInput

Store: TypeAlias = AzureStore | S3Store | GCSStore


CONNECT_SECONDS: Final = 5.0
"""For a connection, at most; and no more than a request may take."""

_BUCKETS: Final = {
    "az": (
        re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]|\$(root|web|logs)"),
        "a container: 3 to 63 lower-case letters, digits and single hyphens, with a letter or digit at both ends",
    ),
    "s3": (
        re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]"),
        "a bucket: 3 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit at both ends",
    ),
    "gs": (
        re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"),
        "a bucket: 3 to 222 lower-case letters, digits, dots, hyphens and underscores, with a letter or digit at both ends",
    ),
}
"""Names of buckets, and what they are made of. A few old ones of S3 have capitals and underscores."""
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9!.=_~-]+")


class Service(NamedTuple):
    """What differs from one cloud to another."""

    store: type[AzureStore | S3Store | GCSStore]
    list_page: int
    """Keys that it puts in one answer to a list."""
    delete_batch: int
    """Keys that one request deletes."""
    seeks: bool
    """Whether every list begins behind the key that it was asked to begin after. Azurite ignores it; Azure may include it."""
    generations: bool
    """Whether it swaps objects by a generation number instead of the etag."""


SERVICES: Final[Mapping[str, Service]] = {
    "az": Service(AzureStore, list_page=5_000, delete_batch=256, seeks=False, generations=False),
    "s3": Service(S3Store, list_page=1_000, delete_batch=1_000, seeks=True, generations=False),
    "gs": Service(GCSStore, list_page=1_000, delete_batch=1, seeks=True, generations=True),
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
        names, meaning = _BUCKETS[parts.scheme]
        if not names.fullmatch(parts.netloc):
            raise InvalidInput(f"after {parts.scheme}:// comes the name of {meaning}")
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
            return self._awaited(made) if isawaitable(made) else _sendable(made)
        except Exception as error:
            self.failure = error
            raise

    async def _awaited(self, made: Awaitable[Any]) -> Any:
        try:
            return _sendable(await made)
        except Exception as error:
            self.failure = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _sendable(credentials: Any) -> Any:
    """What a provider returned; :class:`AccessDenied` for a text that cannot travel in a header, on which obstore panics."""
    for name, value in credentials.items() if isinstance(credentials, Mapping) else ():
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            raise AccessDenied(
                f"the credential provider returned {name!r} with a line break, or another character that is not printable"
                " ASCII: remove it"
            )
    return credentials


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

    Raises :class:`~headstream.errors.InvalidInput` in a forked child that cannot make any, for options that cannot be, and for those
    that obstore does not take; it names them, without their values.
    """
    check_fork()
    seconds = check_timeout(seconds)
    given = Options.of(address.scheme, client_options, options)
    if retry_config is not None and not isinstance(retry_config, Mapping):
        raise InvalidInput(f"retry_config is a mapping, not {type(retry_config).__name__}")
    http = {
        "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, limits.REQUEST_PART * seconds)),
        "timeout": timedelta(seconds=limits.REQUEST_PART * seconds),
        **given.http,
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
    with unset(given.blank):
        clients = _clients(address, http, retries, given.keywords)
        if isinstance(clients, Clients):
            return clients
        culprit = _culprit(address, http, retries, given)
    raise InvalidInput(
        unknown(address.scheme, given.keywords)
        or f"the storage client does not accept {culprit}: see obstore's documentation for what it takes",
        store=str(address),
        kind=clients,
    )


def _clients(
    address: Address, http: Mapping[str, Any], retries: Mapping[str, Any], options: Mapping[str, Any]
) -> Clients | str:
    """Both clients, or the kind of the error that obstore raises: its text may hold values of options."""
    try:
        return Clients(
            reads=_client(address, http, retries, options),
            writes=_client(address, http, {"max_retries": 0}, options),
        )
    except (BaseError, OSError, TypeError, ValueError, ArithmeticError) as error:
        return type(error).__name__
    except BaseException as error:
        if not is_panic(error):
            raise
        return type(error).__name__


def _culprit(address: Address, http: Mapping[str, Any], retries: Mapping[str, Any], given: Options) -> str:
    """What obstore does not take: the option without which it takes the others, in words."""
    for name in given.client:
        if isinstance(_clients(address, _without(http, name), retries, given.keywords), Clients):
            return given.client[name].source
    for name in retries:
        if isinstance(_clients(address, http, _without(retries, name), given.keywords), Clients):
            return f"{name} in retry_config"
    for name, one in given.storage.items():
        rest = _without(given.keywords, full(address.scheme, name))
        if isinstance(_clients(address, http, retries, rest), Clients):
            return one.source
    return "these options, or the environment's"


def _without(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in options.items() if other != name}


def _client(address: Address, http: Mapping[str, Any], retries: Mapping[str, Any], options: Mapping[str, Any]) -> Store:
    return address.service.store(
        address.bucket,
        prefix=address.prefix or None,
        client_options=http,  # type: ignore[arg-type]
        retry_config=retries,  # type: ignore[arg-type]
        **options,
    )
