"""Options of the storage client, from keywords and from the environment, checked before the client sees them.

Rules:

1. A keyword wins over the environment. An option that is empty or ``None``, in either place, is not set.
2. Every value is checked here: the client library panics on some (an endpoint without a scheme, a line break in a key),
   which is a ``BaseException``, and on others it fails with a text that repeats them.
3. A message names the option, or the variable of the environment, and never the value: it may be a secret.
4. Options of the HTTP client may be given on their own, in ``client_options``, or by the environment
   (``AWS_ALLOW_HTTP``). What is given in one place does not hide what another place says of the other ones.
"""

from __future__ import annotations

import os
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from headstream.backends.cloud import names
from headstream.errors import AccessDenied, HeadstreamError, InvalidInput, Unavailable


class Given(NamedTuple):
    """The value of an option, and where it came from, in words for a message."""

    source: str
    value: Any


class Options(NamedTuple):
    """What was given for one service: each option by its first name."""

    scheme: str
    storage: Mapping[str, Given]
    """From keywords and the environment."""
    client: Mapping[str, Given]
    """For the HTTP client, from all three places."""
    keywords: Mapping[str, Any]
    """The keywords that go to the storage client as they are, without those that are not set."""
    blank: tuple[str, ...]
    """Variables of the environment that are set to nothing; the client library would take them for values."""

    @classmethod
    def of(cls, scheme: str, client_options: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> Options:
        """What the keywords and the environment say. Raises :class:`InvalidInput` for a value that cannot be."""
        if client_options is not None and not isinstance(client_options, Mapping):
            raise InvalidInput(f"client_options is a mapping, not {type(client_options).__name__}")
        spellings = names.SPELLINGS[scheme]
        storage, client, blank = _environment(scheme)
        passed: dict[str, Any] = {}
        for word, value in keywords.items():
            name = spellings.get(word.lower(), word)
            if value is None or value == "":
                continue
            if name in names.BUCKETS:
                raise InvalidInput(
                    f"the name of the bucket or container is a part of the URL: leave the option {word} out"
                )
            given = Given(f"the option {word}", value)
            if name in names.CLIENT:
                client[name] = given
            else:
                storage[name] = given
                passed[names.full(scheme, name)] = os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in (client_options or {}).items():
            if value is not None and value != "":
                client[name] = Given(f"{name} in client_options", value)
        found = cls(scheme, storage, client, passed, blank)
        found._check()
        return found

    @property
    def values(self) -> dict[str, str]:
        """The options of the storage as texts, by their first names."""
        return {name: str(given.value) for name, given in self.storage.items() if name != "credential_provider"}

    @property
    def http(self) -> dict[str, Any]:
        """The options of the HTTP client."""
        http = {name: given.value for name, given in self.client.items()}
        return http | {"allow_http": self._allows_http()}

    def without_credentials(self) -> str | None:
        """What to do when nothing brings credentials; ``None`` if something does."""
        if "credential_provider" in self.storage or any(
            name in self.storage for name in names.CREDENTIALS[self.scheme]
        ):
            return None
        return f"no credentials were given; if this machine has none of its own, {names.ADVICE[self.scheme]}"

    def _allows_http(self) -> bool:
        given = self.client.get("allow_http")
        return given is not None and str(given.value).lower() in names.TRUE

    def _check(self) -> None:
        for name, given in {**self.storage, **self.client}.items():
            if name in names.ELSEWHERE and not self._needs_elsewhere():
                continue
            if name in names.FLAGS:
                _check_flag(given)
            elif name in names.KNOWN[self.scheme]:
                _check_text(name, given)
                if name in _CHECKS:
                    _CHECKS[name](given)
        self._check_http()
        self._check_halves()

    def _needs_elsewhere(self) -> bool:
        """Whether credentials are asked for at an address, because no key or token was given."""
        return not any(name in self.storage for name in ("account_key", "sas_key", "token", "access_key_id"))

    def _check_http(self) -> None:
        for name in sorted(names.ENDPOINTS & set(self.storage)):
            given = self.storage[name]
            if given.value.lower().startswith("http://") and not self._allows_http():
                raise InvalidInput(
                    f"{given.source} begins with http://, and plain HTTP is not allowed: "
                    f"set {names.PREFIXES[self.scheme]}_ALLOW_HTTP=true, give the option allow_http=true, or use https://"
                )

    def _check_halves(self) -> None:
        """What the client library asks for, and what makes half of a key."""
        given = set(self.storage)
        if self.scheme == "az" and not {"account_name", "use_emulator"} & given:
            raise InvalidInput("the storage account is missing: set AZURE_STORAGE_ACCOUNT_NAME, or pass account_name=")
        if (
            self.scheme == "s3"
            and "credential_provider" not in given
            and len({"access_key_id", "secret_access_key"} & given) == 1
        ):
            missing = "AWS_SECRET_ACCESS_KEY" if "access_key_id" in given else "AWS_ACCESS_KEY_ID"
            raise InvalidInput(f"one half of the access key is missing: set {missing}")


def unknown(scheme: str, words: Mapping[str, Any]) -> str | None:
    """A message about the first keyword that no option has, with a name that is like it; ``None`` if there is none."""
    spellings = names.SPELLINGS[scheme]
    known = sorted({*names.VARIABLES[scheme], *names.CLIENT, "client_options", "retry_config", "credential_provider"})
    for word in words:
        if spellings.get(word.lower(), word) not in known:
            like = get_close_matches(word.lower(), known, n=1)
            return f"there is no option {word}" + (
                f": did you mean {like[0]}?" if like else "; see obstore's documentation"
            )
    return None


def explained(error: BaseException, scheme: str, options: Mapping[str, Any]) -> HeadstreamError | None:
    """A better error for one of the first request: what is missing in ``options``; ``None`` where this one says it."""
    if is_panic(error):
        return InvalidInput("the storage client fails on these options, or the environment's: check endpoints and keys")
    if not isinstance(error, AccessDenied | Unavailable):
        return None
    keywords = {name: value for name, value in options.items() if name not in ("client_options", "retry_config")}
    missing = Options.of(scheme, options.get("client_options"), keywords).without_credentials()
    return None if missing is None else type(error)(f"{error.message}; {missing}", **error.details)


def is_panic(error: BaseException) -> bool:
    """Whether the client library failed an assertion of its own: these exceptions cannot be imported."""
    return type(error).__name__ in {"PanicException", "RustPanic"}


_unsetting = threading.Lock()


@contextmanager
def unset(variables: tuple[str, ...]) -> Iterator[None]:
    """Hide empty variables from the client library, which reads the environment of the process by itself.

    ``os.environ`` keeps them, so other threads of Python see no change.
    """
    if not variables:
        yield
        return
    with _unsetting:
        for name in variables:
            os.unsetenv(name)
        try:
            yield
        finally:
            for name in variables:
                os.putenv(name, "")


def _environment(scheme: str) -> tuple[dict[str, Given], dict[str, Given], tuple[str, ...]]:
    """What the environment sets for the storage and for its HTTP client, and what it sets to nothing."""
    storage: dict[str, Given] = {}
    client: dict[str, Given] = {}
    blank: list[str] = []
    headers = {
        name: (f"{names.PREFIXES[scheme]}_{name.upper()}",) for name in sorted(names.CLIENT - {"default_headers"})
    }
    for found, table in ((storage, names.VARIABLES[scheme]), (client, headers)):
        for name, variables in table.items():
            for variable in () if name in names.BUCKETS else reversed(variables):
                value = os.environ.get(variable)
                if value:
                    found[name] = Given(f"the environment variable {variable}", value)
                elif value is not None:
                    blank.append(variable)
    return storage, client, tuple(blank)


# --- checks --------------------------------------------------------------------------------------------------------


def _check_flag(given: Given) -> None:
    if not isinstance(given.value, bool) and str(given.value).lower() not in names.TRUE | names.FALSE:
        raise InvalidInput(f"{given.source} must be true or false")


def _check_text(name: str, given: Given) -> None:
    """Text that can travel in a header or a URL, if the option is a text; other kinds are the client library's affair."""
    value = given.value
    if not isinstance(value, str):
        if name in names.TEXTS and not (name in names.FILES and isinstance(value, os.PathLike)):
            raise InvalidInput(f"{given.source} must be a string, not {type(value).__name__}")
        return
    if "\0" in value:
        raise InvalidInput(f"{given.source} has a NUL character in it: remove it")
    if name in names.FILES or name in names.MULTILINE:
        return
    if "\n" in value.rstrip("\r\n") or "\r" in value.rstrip("\r\n"):
        raise InvalidInput(f"{given.source} has a line break in it: remove it")
    if value[-1] in "\r\n":
        raise InvalidInput(f"{given.source} ends with a line break: remove it")
    if not value.isascii() or not value.isprintable():
        raise InvalidInput(f"{given.source} has characters in it that are not printable ASCII: remove them")
    if value != value.strip():
        raise InvalidInput(f"{given.source} begins or ends with a blank: remove it")


def _check_url(given: Given) -> None:
    _check_address(given, ("http", "https"), "http://host:port or https://host")
    parts = urlsplit(given.value)
    if "@" in parts.netloc:
        raise InvalidInput(f"{given.source} has a user or password in it: give credentials by options of their own")
    if parts.query or parts.fragment:
        raise InvalidInput(f"{given.source} has a query in it: give it without; a SAS is the option sas_key")


def _check_proxy(given: Given) -> None:
    schemes = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
    given = given if "://" in given.value else Given(given.source, f"http://{given.value}")
    _check_address(given, schemes, "http://host:port")


def _check_address(given: Given, schemes: tuple[str, ...], form: str) -> None:
    with suppress(ValueError):
        parts = urlsplit(given.value)
        unusual = any(char in parts.netloc for char in "%\\ ")
        if parts.scheme.lower() in schemes and parts.hostname and not unusual and parts.port != 0:
            return
    what = "is not a URL that can be used, or its port is not one of 1 to 65535"
    raise InvalidInput(f"{given.source} {what}: write {form}")


def _check_base64(given: Given) -> None:
    with suppress(ValueError):
        b64decode(given.value, validate=True)
        return
    # Outside of any except, here and below: no traceback holds the value.
    raise InvalidInput(f"{given.source} is not Base64: copy the whole key of the storage account")


def _check_sas(given: Given) -> None:
    if "://" in given.value.partition("=")[0]:
        raise InvalidInput(f"{given.source} is a URL: give only what comes after its question mark")
    pairs = given.value.removeprefix("?").split("&")
    if not all("=" in pair for pair in pairs if pair):
        raise InvalidInput(f"{given.source} is not a SAS: it looks like sv=…&sp=…&sig=…")


def _check_name(given: Given) -> None:
    if not all(char.isalnum() or char in "-_." for char in given.value):
        raise InvalidInput(f"{given.source} is not the name of an account: it has letters and digits only")


def _check_file(given: Given) -> None:
    if not os.path.isfile(given.value):  # noqa: PTH113 - text from outside
        raise InvalidInput(f"{given.source} names a file that is not there")


def _check_account(given: Given) -> None:
    with suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
        msgspec.json.decode(given.value, type=dict[str, Any])
        return
    raise InvalidInput(f"{given.source} is not a JSON object: give the content of the credentials file")


_CHECKS: Final[Mapping[str, Callable[[Given], None]]] = {
    **dict.fromkeys(names.URLS, _check_url),
    "service_account": _check_file,
    "application_credentials": _check_file,
    "proxy_url": _check_proxy,
    "account_key": _check_base64,
    "encryption_key": _check_base64,
    "sas_key": _check_sas,
    "account_name": _check_name,
    "service_account_key": _check_account,
}
