"""Options of the storage client, from keywords and from the environment: checked before the client sees them."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from obstore.exceptions import UnknownConfigurationKeyError
from obstore.store import AzureStore, GCSStore, S3Store

from headstream import AccessDenied, Event, HeadstreamError, InvalidInput, Unavailable, connect, connect_async, limits
from headstream.backends.cloud import AsyncCloudBackend, CloudBackend, names
from headstream.backends.cloud.options import Options, unset
from headstream.backends.provision import create_container
from headstream.protocol.ops import ABSENT, FAULTS, Get, Put
from servers.base import Server
from servers.proxy import Cut, Proxy
from support import shown

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="
STORES: Mapping[str, Any] = {"az": AzureStore, "s3": S3Store, "gs": GCSStore}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables that the client library reads."""
    for name in list(os.environ):
        if name.startswith(("AZURE_", "AWS_", "GOOGLE_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def closed() -> Iterator[str]:
    """An address on loopback where nothing listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


def enough(scheme: str, address: str) -> dict[str, Any]:
    """The options that a store needs, besides plain HTTP."""
    return {
        "az": {"account_name": "shop", "account_key": SECRET, "endpoint": address},
        "s3": {"access_key_id": "key", "secret_access_key": SECRET, "region": "us-east-1", "endpoint": address},
        "gs": {"base_url": address, "skip_signature": "true"},
    }[scheme]


def refusal(scheme: str, **given: Any) -> Exception | None:
    """What the client library says to some options."""
    try:
        STORES[scheme]("bucket", **given)
    except Exception as error:
        return error
    return None


def shell(command: str) -> str:
    """What a command of the shell says, which sees the environment that the client library sees."""
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=None).stdout


class TestNames:
    """The tables agree with the client library."""

    @pytest.mark.parametrize("scheme", list(names.PREFIXES))
    def test_the_library_knows_every_name(self, scheme: str) -> None:
        """By the name of its variable, in lower case; of the HTTP client in its own mapping."""
        for variables in names.VARIABLES[scheme].values():
            for variable in variables:
                assert not isinstance(refusal(scheme, config={variable.lower(): "true"}), UnknownConfigurationKeyError)
        for word in names.CLIENT:
            assert "Invalid key" not in str(refusal(scheme, client_options={word: "true"}))

    def test_a_name_that_is_unknown_is_told_with_one_that_is_like_it(self) -> None:
        """Without its value."""
        for word, like in (
            ("acount_key", "account_key"),
            ("end_point", "endpoint"),
            ("client_option", "client_options"),
        ):
            with pytest.raises(InvalidInput, match=f"there is no option {word}: did you mean {like}") as caught:
                CloudBackend("az://shop", account_name="shop", **dict[str, Any]({word: SECRET}))
            assert SECRET not in str(caught.value)
        with pytest.raises(InvalidInput, match="there is no option zzzzz; see obstore's documentation"):
            CloudBackend("az://shop", account_name="shop", zzzzz=SECRET)

    def test_a_bound_that_is_no_time(self) -> None:
        """The bound of a call is the backend's own option, in seconds."""
        wrong: list[Any] = ["soon", "20s", 0, -1, True, float("nan"), limits.MAX_TIMEOUT + 1]
        for timeout in wrong:
            with pytest.raises(InvalidInput, match="the option timeout is a number of seconds, above 0"):
                CloudBackend("s3://shop", **enough("s3", "https://host"), timeout=timeout)

    @pytest.mark.parametrize(
        ("options", "culprit"),
        [
            ({"client_options": {"timeout": "soon"}}, "timeout in client_options"),
            ({"client_options": {"timeout": 5}}, "timeout in client_options"),
            ({"client_options": {"no_such": "1"}}, "no_such in client_options"),
            ({"connect_timeout": "soon"}, "the option connect_timeout"),
            ({"retry_config": {"max_retries": "many"}}, "max_retries in retry_config"),
            ({"retry_config": {"max_retries": -1}}, "max_retries in retry_config"),
            ({"retry_config": {"retry_timeout": timedelta(days=-1)}}, "retry_timeout in retry_config"),
            ({"client_options": {"timeout": timedelta(days=-1)}}, "timeout in client_options"),
            ({"server_side_encryption": "rot13"}, "the option server_side_encryption"),
        ],
        ids=shown,
    )
    def test_the_one_that_is_not_accepted_is_named(self, options: dict[str, Any], culprit: str) -> None:
        """By trying what remains without it."""
        with pytest.raises(InvalidInput, match=f"the storage client does not accept {culprit}"):
            CloudBackend("s3://shop", **enough("s3", "https://host"), **options)


HOSTILE: Mapping[str, Any] = {
    "empty": "",
    "no scheme": "127.0.0.1:9000",
    "host": "example",
    "port": "http://127.0.0.1:99999",
    "port 0": "http://127.0.0.1:0",
    "line break": "secret-value\nsecret-value",
    "line break at the end": "c2VjcmV0LXZhbHVl\n",
    "carriage return": "c2VjcmV0LXZhbHVl\r\n",
    "NUL": "secret-value\0",
    "not ASCII": "secret-välue",
    "long": "secret-value" * 1000,
    "blank": "secret value",
    "only a blank": " ",
    "no host": "http://",
    "other scheme": "ftp://127.0.0.1:1/secret-value",
    "tab": "secret-value\t",
    "delete": "secret-value\x7f",
    "URL and line break": "http://127.0.0.1:1/secret-value\n",
    "URL not ASCII": "http://sécret-value/",
    "brackets": "http://[::1",
    "percent": "http://%zz/secret-value",
    "user": "http://user:secret-value@127.0.0.1:1",
    "query": "http://127.0.0.1:1?sig=secret-value",
    "braces": '{"secret-value": 1}',
    "backslash": "http:\\\\127.0.0.1:1",
    "number": 5,
    "bytes": b"secret-value",
    "nothing": None,
}
VALUES = ("secret-value", "sécret", "secret-välue", "c2VjcmV0LXZhbHVl")
"""Parts of them that nothing else has."""
PUT = Put("heads/a", b"body", ABSENT)


def attempt(url: str, client_options: dict[str, Any], options: dict[str, Any]) -> bool:
    """Whether there is a backend with these options. If not, or if its requests fail, they do it as they should, and show no value."""
    quick: dict[str, Any] = {"client_options": client_options, "retry_config": {"max_retries": 0}}
    error: BaseException | None = None
    try:
        backend = CloudBackend(url, **quick, **options)
    except InvalidInput as refused:
        error = refused
    if error is not None:
        assert "\n" not in str(error)
        assert not any(hidden in f"{error} {error.__cause__} {error.__context__}" for hidden in VALUES)
        return False
    for request in (lambda: backend.get(Get("heads/a")), lambda: backend.commit((), PUT)):
        with suppress(HeadstreamError, *FAULTS):
            request()
    backend.close()
    return True


def complaint(scheme: str, options: dict[str, Any]) -> str | None:
    """What is said to the options; ``None`` if nothing is."""
    try:
        Options.of(scheme, {"allow_http": True}, options)
    except InvalidInput as error:
        return str(error)
    return None


class TestHostile:
    """Whatever stands in an option, an error of ours is raised, and no panic of the client library."""

    @pytest.mark.parametrize(
        ("scheme", "name"),
        [
            (scheme, name)
            for scheme in names.PREFIXES
            for name in (*names.VARIABLES[scheme], "no_such_option")
            if name not in {"use_fabric_endpoint", "s3_express"}  # they lead to hosts of their own
        ],
    )
    def test_an_option(self, scheme: str, name: str, closed: str) -> None:
        """What is accepted is tried; of values of one kind, once."""
        given = enough(scheme, closed)
        if name in {"sas_key", "token"}:
            del given["account_key"]
        if name in {"bearer_token", "service_account_key", "service_account", "application_credentials"}:
            given["skip_signature"] = "false"
        kinds: set[bool] = set()
        for value in HOSTILE.values():
            if not value and name in given:
                continue
            told = complaint(scheme, given | {name: value})
            kind = str(value).isalnum()
            if told is not None:
                assert not any(hidden in told for hidden in VALUES)
            elif kind not in kinds:
                kinds.add(kind)
                attempt(f"{scheme}://bucket", {"allow_http": True}, given | {name: value})

    @pytest.mark.parametrize("scheme", list(names.PREFIXES))
    def test_a_variable(self, scheme: str, closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is refused as an option is refused in the environment."""
        given = enough(scheme, closed)
        for name, variables in names.VARIABLES[scheme].items():
            if name in names.BUCKETS:
                continue
            rest = {other: text for other, text in given.items() if other != name}
            for value in [text for text in HOSTILE.values() if isinstance(text, str) and text and "\0" not in text]:
                refused = []
                for variable in (None, *variables):
                    with monkeypatch.context() as patched:
                        if variable is not None:
                            patched.setenv(variable, value)
                        told = complaint(scheme, rest if variable else rest | {name: value})
                        if told is not None:
                            refused.append(told.replace(f"environment variable {variable}", f"option {name}"))
                assert len(set(refused)) <= 1
                assert len(refused) in {0, 1 + len(variables)}

    @pytest.mark.parametrize("name", sorted(names.CLIENT))
    def test_an_option_of_the_http_client(self, name: str, closed: str) -> None:
        """Proxies above all."""
        for value in [*HOSTILE.values()][:: 1 if name == "proxy_url" else 5]:
            given = {"X-A": value} if name == "default_headers" else value
            attempt("s3://bucket", {"allow_http": True, "timeout": "2s", name: given}, enough("s3", closed))

    def test_a_panic_that_still_comes_is_an_error(self, closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the store is opened: what the checks do not know."""
        monkeypatch.setattr(Options, "_check", lambda _self: None)
        with pytest.raises(InvalidInput, match="the storage client fails on these options"):
            connect("s3://bucket", **enough("s3", closed) | {"endpoint": "nowhere"})

    async def test_a_panic_under_asyncio(self, closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same."""
        monkeypatch.setattr(Options, "_check", lambda _self: None)
        with pytest.raises(InvalidInput, match="the storage client fails on these options"):
            await connect_async("s3://bucket", **enough("s3", closed) | {"session_token": "a\nb"})


class TestMessages:
    """What is wrong, and where it stands: the option or the variable."""

    CASES: ClassVar[list[tuple[str, str, str, str]]] = [
        ("s3", "endpoint", "127.0.0.1:9000", "is not a URL that can be used"),
        ("s3", "endpoint", "https://host:99999", "its port is not one of 1 to 65535"),
        (
            "s3",
            "endpoint",
            "http://host",
            "begins with http://, and plain HTTP is not allowed: set AWS_ALLOW_HTTP=true",
        ),
        ("az", "endpoint", "HTTP://host", "plain HTTP is not allowed: set AZURE_ALLOW_HTTP=true"),
        ("gs", "base_url", "http://host", "plain HTTP is not allowed: set GOOGLE_ALLOW_HTTP=true"),
        ("az", "endpoint", "https://host?sv=1&sig=secret", "has a query in it"),
        ("s3", "endpoint", "https://key:secret@host", "has a user or password in it"),
        ("az", "account_key", "not-base-64", "is not Base64: copy the whole key"),
        ("az", "account_key", f"{SECRET}\n", "ends with a line break: remove it"),
        ("s3", "secret_access_key", "a\nb", "has a line break in it: remove it"),
        ("s3", "session_token", " token", "begins or ends with a blank"),
        ("s3", "region", "eu–west–1", "characters in it that are not printable ASCII"),
        ("az", "account_name", "https//shop", "is not the name of an account"),
        (
            "az",
            "sas_key",
            "https://shop.blob.core.windows.net/c?sv=1&sig=secret",
            "is a URL: give only what comes after",
        ),
        ("az", "sas_key", "secret", "is not a SAS: it looks like sv="),
        ("gs", "application_credentials", "/nowhere/key.json", "names a file that is not there"),
        ("gs", "service_account_key", "{secret", "is not a JSON object"),
        ("s3", "skip_signature", "maybe", "must be true or false"),
    ]

    @pytest.mark.parametrize(("scheme", "name", "value", "message"), CASES, ids=shown)
    def test_a_wrong_value(
        self, scheme: str, name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same for a keyword and a variable, for both shells, and for what makes a container."""
        given = {other: text for other, text in enough(scheme, "https://host").items() if other != name}
        if name == "sas_key":
            del given["account_key"]
        openers: tuple[Callable[..., Any], ...] = (CloudBackend, AsyncCloudBackend, connect, create_container)
        for opener in openers:
            with pytest.raises(InvalidInput) as caught:
                opener(f"{scheme}://bucket", **given | {name: value})
            assert str(caught.value).startswith(f"the option {name} ")
            assert message in str(caught.value)
        variable = names.VARIABLES[scheme][name][0]
        monkeypatch.setenv(variable, value)
        for opener in openers:
            with pytest.raises(InvalidInput) as caught:
                opener(f"{scheme}://bucket", **given)
            assert str(caught.value).startswith(f"the environment variable {variable} ")
            assert message in str(caught.value)

    @pytest.mark.parametrize(
        "value", ["http://127.0.0.1:99999", "http://", "http://proxy\n", "ftp://proxy", "http://é"]
    )
    def test_a_wrong_proxy(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever it stands."""
        given = enough("s3", "https://host")
        for options in ({"proxy_url": value}, {"client_options": {"proxy_url": value}}):
            with pytest.raises(InvalidInput, match="proxy_url"):
                CloudBackend("s3://bucket", **given, **options)
        monkeypatch.setenv("AWS_PROXY_URL", value)
        with pytest.raises(InvalidInput, match="the environment variable AWS_PROXY_URL"):
            CloudBackend("s3://bucket", **given)

    @pytest.mark.parametrize(
        ("url", "options", "message"),
        [
            ("az://bucket", {}, "the storage account is missing: set AZURE_STORAGE_ACCOUNT_NAME"),
            (
                "s3://bucket",
                {"access_key_id": "key"},
                "one half of the access key is missing: set AWS_SECRET_ACCESS_KEY",
            ),
            ("s3://bucket", {"secret_access_key": SECRET}, "the access key is missing: set AWS_ACCESS_KEY_ID"),
            ("s3://bucket", {"bucket": "other"}, "the name of the bucket or container is a part of the URL"),
            ("s3://bucket", {"retry_config": 5}, "retry_config is a mapping, not int"),
            ("s3://bucket", {"client_options": "timeout"}, "client_options is a mapping, not str"),
            ("s3://bucket", {"region": 5}, "the option region must be a string, not int"),
            ("az://Bucket", {}, "after az:// comes the name of a container: 3 to 63 lower-case letters"),
            ("az://two--hyphens", {}, "after az:// comes the name of a container"),
            ("s3://b", {}, "after s3:// comes the name of a bucket: 3 to 63 lower-case letters"),
            ("gs://Bucket", {}, "after gs:// comes the name of a bucket"),
        ],
        ids=shown,
    )
    def test_what_is_missing_or_cannot_be(self, url: str, options: dict[str, Any], message: str) -> None:
        """Said before any request."""
        for opener in (CloudBackend, AsyncCloudBackend, create_container):
            with pytest.raises(InvalidInput, match=message):
                opener(url, **options)

    @pytest.mark.parametrize(
        ("scheme", "options", "variables"),
        [
            (
                "az",
                {"account_name": "shop", "msi_endpoint": "{}"},
                ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY"),
            ),
            ("s3", {"metadata_endpoint": "{}"}, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        ],
    )
    async def test_no_credentials_at_all(
        self, scheme: str, options: dict[str, str], variables: tuple[str, str], closed: str
    ) -> None:
        """The variables that are looked at are named; where a machine has an identity, nothing is asked for."""
        given: dict[str, Any] = {name: text.format(closed) for name, text in options.items()}
        quick: dict[str, Any] = {"client_options": {"allow_http": True}, "retry_config": {"max_retries": 0}}
        place: dict[str, Any] = {"endpoint": closed}
        with pytest.raises((AccessDenied, Unavailable)) as caught:
            connect(f"{scheme}://bucket", create=False, **given, **place, **quick)
        with pytest.raises((AccessDenied, Unavailable)) as awaited:
            await connect_async(f"{scheme}://bucket", create=False, **given, **place, **quick)
        for error in (caught.value, awaited.value):
            assert "no credentials were given; if this machine has none of its own, set " in error.message
            assert all(variable in error.message for variable in variables)

    def test_with_credentials_nothing_is_said_of_them(self, closed: str) -> None:
        """The reason stands alone."""
        with pytest.raises(Unavailable) as caught:
            connect(
                "s3://bucket",
                create=False,
                allow_http="true",
                retry_config={"max_retries": 0},
                **enough("s3", closed),
            )
        assert "credentials" not in str(caught.value)


class TestPlaces:
    """Keywords, client_options and the environment, together."""

    def test_client_options_do_not_hide_the_environment(
        self, ministack: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """AWS_ALLOW_HTTP holds, whatever else is given; so do the others."""
        url = f"s3://{ministack.fresh_bucket()}/store"
        for name, value in ministack.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_USER_AGENT", "shop/1")
        with connect(url, client_options={"timeout": "20s"}) as store:
            store.append("s", Event("E"))
        for truth in ("1", "TRUE", "on", "yes"):
            monkeypatch.setenv("AWS_ALLOW_HTTP", truth)
            connect(url, client_options={"connect_timeout": "5s"}).close()
        found = Options.of("s3", {"timeout": "20s"}, {}).http
        assert found == {"allow_http": True, "timeout": "20s", "user_agent": "shop/1"}
        with pytest.raises(InvalidInput, match="plain HTTP is not allowed"):
            connect(url, client_options={"allow_http": False})

    def test_options_of_the_http_client_may_stand_alone(self, ministack: Server) -> None:
        """As the command line gives them; also for what makes the bucket."""
        options: dict[str, Any] = {name.lower(): value for name, value in ministack.environment().items()}
        url = f"s3://{ministack.fresh_bucket()}-new/store"
        assert create_container(url, connect_timeout="20s", **options) is True
        with connect(url, connect_timeout="20s", **options) as store:
            store.append("s", Event("E"))

    def test_what_is_empty_is_not_set(self, ministack: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty session token above all: it would be sent, and refused."""
        bucket = ministack.fresh_bucket()
        seen: list[dict[str, str]] = []
        given = {**enough("s3", ""), "access_key_id": "headstream"}

        def noted(_method: str, _path: str, headers: Mapping[str, str]) -> bool:
            seen.append(dict(headers))
            return False

        with Proxy(ministack.address) as proxy:
            proxy.fault(noted, Cut(acted=False))
            given["endpoint"] = proxy.address
            for variables in names.VARIABLES["s3"].values():
                for variable in variables:
                    monkeypatch.setenv(variable, "")
            for name in names.CLIENT:
                monkeypatch.setenv(f"AWS_{name.upper()}", "")
            before = dict(os.environ)
            for token in ({}, {"session_token": ""}, {"session_token": None, "skip_signature": None}):
                with connect(f"s3://{bucket}/store", client_options={"allow_http": True}, **given, **token) as store:
                    store.append("s", Event("E"))
        assert dict(os.environ) == before
        assert shell('echo "${AWS_SESSION_TOKEN-unset}"') == "\n"
        assert len(seen) > 3
        assert not any("x-amz-security-token" in {name.lower() for name in headers} for headers in seen)

    def test_empty_variables_are_hidden_for_a_moment_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also when what is done then fails."""
        monkeypatch.setenv("AWS_TOKEN", "")
        look = 'echo "${AWS_TOKEN-unset}"'
        with suppress(ZeroDivisionError), unset(("AWS_TOKEN",)):
            assert shell(look) == "unset\n"
            _ = 1 / 0
        assert shell(look) == "\n"

    def test_where_credentials_are_asked_for_does_not_matter_to_a_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Other tools take a host without a scheme there."""
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", "login.microsoftonline.com")
        CloudBackend("az://bucket", **enough("az", "https://host")).close()
        with pytest.raises(InvalidInput, match="AZURE_AUTHORITY_HOST is not a URL"):
            CloudBackend("az://bucket", account_name="shop", client_id="a", client_secret="b", tenant_id="c")

    def test_a_file_may_be_a_path(self, tmp_path: Path) -> None:
        """Of pathlib."""
        path = tmp_path / "key.json"
        path.write_text("{}")
        with pytest.raises(InvalidInput, match="the storage client does not accept"):
            CloudBackend("gs://bucket", service_account=path)
