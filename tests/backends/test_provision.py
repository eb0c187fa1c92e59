"""Containers and folders are made once, with the credentials that the store itself will use."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from headstream.backends import provision
from headstream.backends.cloud import CloudBackend
from headstream.backends.cloud.service import Address
from headstream.backends.provision import ATTEMPTS, create_container
from headstream.errors import AccessDenied, InvalidInput, Unavailable
from headstream.protocol.ops import ABSENT, Put, Stored
from servers.base import Server
from servers.proxy import Answer, Cut, Proxy
from support import shown

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Puts a server into the environment."""

    def set_all(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture(params=["azurite", "ministack", "seaweedfs"])
def server(request: pytest.FixtureRequest) -> Server:
    """The servers that the official SDKs can talk to."""
    server: Server = request.getfixturevalue(request.param)
    return server


def fresh_url(server: Server) -> str:
    """A URL whose container does not exist."""
    return server.url(f"made-{uuid4().hex[:16]}/deep/store")


class TestClouds:
    """Azure and S3."""

    def test_a_container_is_made_once(self, server: Server, use: Callable[[dict[str, str]], None]) -> None:
        """The first call makes it, the second finds it, and a store can be written to it."""
        use(server.environment())
        url = fresh_url(server)
        assert create_container(url) is True
        assert create_container(url) is False
        with closing(CloudBackend(url)) as backend:
            assert isinstance(backend.commit((), Put("heads/a", b"", ABSENT)), Stored)

    def test_options_win_over_the_environment(self, azurite: Server, use: Callable[[dict[str, str]], None]) -> None:
        """Credentials and endpoint may be options, under obstore's names."""
        use(dict.fromkeys(azurite.environment(), "nonsense"))
        options = {name.lower(): value for name, value in azurite.environment().items() if "ALLOW" not in name}
        http = {"allow_http": True}
        assert create_container(fresh_url(azurite), client_options=http, **options) is True

    def test_a_signature_may_create(self, azurite: Server, use: Callable[[dict[str, str]], None]) -> None:
        """A shared access signature serves where there is no account key."""
        environment = azurite.environment()
        account, key = environment["AZURE_STORAGE_ACCOUNT_NAME"], environment.pop("AZURE_STORAGE_ACCOUNT_KEY")
        use(environment)
        signature = generate_account_sas(
            account,
            key,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions(read=True, write=True, list=True, create=True),
            datetime.now(UTC) + timedelta(hours=1),
        )
        assert create_container(fresh_url(azurite), sas_key=signature) is True

    @pytest.mark.parametrize("reset", [False, True])
    def test_an_answer_that_is_lost(self, server: Server, use: Callable[[dict[str, str]], None], reset: bool) -> None:
        """The SDK repeats the request and finds what it has made: it was missing, and now it is there."""
        with Proxy(server.address) as proxy:
            use(server.environment(proxy.address))
            cut = proxy.fault(lambda method, _path, _headers: method == "PUT", Cut(acted=True, reset=reset))
            url = fresh_url(server)
            assert create_container(url) is True
            assert cut.happened == 1
            assert create_container(url) is False

    def test_all_that_begin_at_once_find_it(self, azurite: Server, use: Callable[[dict[str, str]], None]) -> None:
        """One of them has made it, and nobody can know which; each that saw none says so."""
        use(azurite.environment())
        url, start = fresh_url(azurite), threading.Barrier(4)

        def create(_number: int) -> bool:
            start.wait(30)
            return create_container(url)

        with ThreadPoolExecutor(4) as pool:
            assert any(pool.map(create, range(4)))
        assert create_container(url) is False

    def test_a_name_that_the_service_refuses(self, server: Server, use: Callable[[dict[str, str]], None]) -> None:
        """An impossible name is the caller's to correct."""
        use(server.environment())
        with pytest.raises(InvalidInput):
            create_container(server.url("NO_such.name-/store"))

    @pytest.mark.parametrize("name", ["azurite", "seaweedfs"])
    def test_refused_credentials(
        self, request: pytest.FixtureRequest, name: str, use: Callable[[dict[str, str]], None]
    ) -> None:
        """Wrong credentials are AccessDenied, and are not shown."""
        place: Server = request.getfixturevalue(name)
        key = {"azurite": "AZURE_STORAGE_ACCOUNT_KEY", "seaweedfs": "AWS_SECRET_ACCESS_KEY"}[name]
        use(place.environment() | {key: SECRET})
        with pytest.raises(AccessDenied) as raised:
            create_container(fresh_url(place))
        assert SECRET not in "".join(traceback.format_exception(raised.value))

    @pytest.mark.parametrize("name", ["azurite", "ministack"])
    def test_a_busy_service(
        self, request: pytest.FixtureRequest, name: str, use: Callable[[dict[str, str]], None]
    ) -> None:
        """A service that goes on asking to slow down is Unavailable; it was asked a few times."""
        place: Server = request.getfixturevalue(name)
        with Proxy(place.address) as proxy:
            use(place.environment(proxy.address))
            busy = proxy.fault(lambda method, _path, _headers: method == "PUT", Answer(503), times=100)
            with pytest.raises(Unavailable) as raised:
                create_container(fresh_url(place))
        assert busy.happened == ATTEMPTS
        assert raised.value.__context__ is None

    @pytest.mark.parametrize(
        ("status", "code", "expected"),
        [
            (403, "AuthorizationFailure", AccessDenied),
            (401, "", AccessDenied),
            (409, "BucketAlreadyExists", AccessDenied),
            (409, "ContainerBeingDeleted", Unavailable),
            (409, "OperationAborted", Unavailable),
            (400, "InvalidBucketName", InvalidInput),
            (404, "ResourceNotFound", InvalidInput),
            (429, "", Unavailable),
            (500, "InternalError", Unavailable),
        ],
    )
    def test_answers_that_are_errors(self, status: int, code: str, expected: type[Exception]) -> None:
        """Who may not create, a name that is taken, one that cannot be, and a service that cannot now, are told apart."""
        failure = provision._failure(Address.parse("s3://shop"), status, code)
        assert type(failure) is expected
        assert failure.details == {"store": "s3://shop", "status": status, "code": code}

    def test_nobody_listens(self, server: Server, use: Callable[[dict[str, str]], None]) -> None:
        """A service that cannot be reached is Unavailable."""
        with Proxy(server.address) as proxy:
            address = proxy.address
        use(server.environment(address))
        with pytest.raises(Unavailable, match="Connection refused"):
            create_container(fresh_url(server), retry_config={"max_retries": 0})

    @pytest.mark.parametrize("name", ["azurite", "ministack"])
    def test_nobody_listens_to_the_sdk(
        self,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
        use: Callable[[dict[str, str]], None],
        name: str,
    ) -> None:
        """What the creation itself met is told: the endpoint and the reason, and no credential."""
        server: Server = request.getfixturevalue(name)
        monkeypatch.setattr(CloudBackend, "list", _no_container)
        for host, code in (("127.0.0.1:9", "ECONNREFUSED"), ("storage.invalid", "dns")):
            use(server.environment(f"http://{host}"))
            with pytest.raises(Unavailable) as raised:
                create_container(fresh_url(server))
            assert raised.value.details["endpoint"] == host
            assert raised.value.details["code"] == code
            assert raised.value.__context__ is None


class TestMissingSdk:
    """What is asked for when something is not installed."""

    @pytest.mark.parametrize(
        "missing", [("azurite", "azure.storage.blob", "azure"), ("ministack", "boto3", "s3")], ids=shown
    )
    def test_the_extra_is_named(
        self,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
        use: Callable[[dict[str, str]], None],
        missing: tuple[str, str, str],
    ) -> None:
        """Without the SDK, a container that exists is found, and one that is missing names the extra."""
        name, module, extra = missing
        place: Server = request.getfixturevalue(name)
        bucket = place.fresh_bucket()
        use(place.environment())
        monkeypatch.setitem(sys.modules, module, None)
        assert create_container(place.url(bucket)) is False
        with pytest.raises(InvalidInput, match=rf"headstream\[{extra}\]"):
            create_container(fresh_url(place))

    def test_without_a_key_azure_needs_its_identity_library(
        self, azurite: Server, monkeypatch: pytest.MonkeyPatch, use: Callable[[dict[str, str]], None]
    ) -> None:
        """A token can list; to create, the SDK needs a key, a signature, or azure-identity."""
        environment = azurite.environment()
        del environment["AZURE_STORAGE_ACCOUNT_KEY"]
        use(environment)
        monkeypatch.setitem(sys.modules, "azure.identity", None)
        monkeypatch.setattr(CloudBackend, "list", _no_container)
        with pytest.raises(InvalidInput, match="azure-identity"):
            create_container(fresh_url(azurite), token=SECRET)

    def test_without_credentials_s3_creates_nothing(
        self, ministack: Server, monkeypatch: pytest.MonkeyPatch, use: Callable[[dict[str, str]], None]
    ) -> None:
        """The SDK looks where it always looks; when there is nothing, the error says what to set."""
        use(ministack.environment() | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": os.devnull})
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setattr(CloudBackend, "list", _no_container)
        with pytest.raises(AccessDenied, match="AWS_ACCESS_KEY_ID"):
            create_container(fresh_url(ministack))

    def test_the_emulators_account_must_be_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """obstore knows the emulator's account by itself, and the SDK does not."""
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
        monkeypatch.setattr(CloudBackend, "list", _no_container)
        with pytest.raises(InvalidInput, match="AZURE_STORAGE_ACCOUNT_NAME"):
            create_container("az://made", use_emulator=True)


def _no_container(*_arguments: object) -> None:
    from headstream.errors import StoreNotFound

    raise StoreNotFound("for the test")


class _Google(BaseHTTPRequestHandler):
    """The two requests that matter: a list of a bucket that does not exist, and the creation of one."""

    status = 200
    cut = False
    """Whether the answer to the first creation is lost."""
    made = False
    authorization: str | None = None

    def do_GET(self) -> None:
        if self.made:
            self._answer(200, b"<ListBucketResult><Name>made</Name></ListBucketResult>")
        else:
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")

    def do_POST(self) -> None:
        type(self).authorization = self.headers["Authorization"]
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.cut and not self.made:
            type(self).made, type(self).status = True, 409
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(self.status, b'{"name": "made"}' if self.status == 200 else b'{"error": {"message": "no"}}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Keep the tests' output clean."""


class TestGoogle:
    """Google Cloud Storage, whose SDK speaks JSON where obstore speaks XML."""

    @pytest.fixture
    def google(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Google]]:
        """A service without buckets; its ``status`` answers every creation."""

        class Handler(_Google):
            pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
            thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{service.server_port}")
            monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
            monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
            yield Handler
            service.shutdown()
            thread.join()

    def test_a_bucket_is_made(self, google: type[_Google]) -> None:
        """The endpoint and the absence of credentials are those of obstore."""
        assert create_container("gs://made/store") is True

    @pytest.mark.parametrize("key", ["GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT"])
    def test_a_service_account_may_name_the_endpoint(
        self, google: type[_Google], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
    ) -> None:
        """A service account, as text or as a file, tells where the service is and that it asks for no token."""
        account = {"gcs_base_url": os.environ["GOOGLE_BASE_URL"], "disable_oauth": True, "client_email": "me"}
        text = json.dumps(account | {"private_key": "", "private_key_id": "", "project_id": "shop"})
        file = tmp_path / "account.json"
        file.write_text(text)
        monkeypatch.delenv("GOOGLE_BASE_URL")
        monkeypatch.delenv("GOOGLE_SKIP_SIGNATURE")
        monkeypatch.setenv(key, text if key.endswith("KEY") else str(file))
        assert create_container("gs://made/store") is True

    def test_an_answer_that_is_lost(self, google: type[_Google]) -> None:
        """The bucket exists at the second try. It can be listed, so it is no other's."""
        google.cut = True
        assert create_container("gs://made/store") is True
        assert google.status == 409

    def test_a_token_may_create(self, google: type[_Google], monkeypatch: pytest.MonkeyPatch) -> None:
        """A bearer token is sent as it was given."""
        monkeypatch.delenv("GOOGLE_SKIP_SIGNATURE")
        monkeypatch.setattr(CloudBackend, "list", _no_container)
        assert create_container("gs://made/store", bearer_token=SECRET) is True
        assert google.authorization == f"Bearer {SECRET}"

    @pytest.mark.parametrize(
        ("status", "expected"), [(403, AccessDenied), (401, AccessDenied), (409, AccessDenied), (400, InvalidInput)]
    )
    def test_a_refused_creation(self, google: type[_Google], status: int, expected: type[Exception]) -> None:
        """Who may not create, a name that is taken, and a bad name are told apart."""
        google.status = status
        with pytest.raises(expected):
            create_container("gs://made/store")

    def test_a_bucket_that_exists_needs_no_sdk(
        self, gcs: Server, monkeypatch: pytest.MonkeyPatch, use: Callable[[dict[str, str]], None]
    ) -> None:
        """The SDK is looked for when a bucket is missing, not before."""
        use(gcs.environment())
        monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
        assert create_container(gcs.url(gcs.fresh_bucket())) is False
        with pytest.raises(InvalidInput, match=r"headstream\[gcs\]"):
            create_container(fresh_url(gcs))


class TestFolders:
    """Local stores."""

    @pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "file://{}"])
    def test_the_folder_of_a_store_is_made_once(self, tmp_path: Path, form: str) -> None:
        """Parents are made, with blanks and percent signs as the URL writes them; the store itself is not."""
        folder = tmp_path / "a b" / "deep"
        written = str(folder / "shop.db") if form == "{}" else str(folder / "shop.db").replace(" ", "%20")
        url = form.format(written)
        assert create_container(url) is True
        assert list(tmp_path.rglob("*")) == [tmp_path / "a b", folder]
        assert create_container(url) is False

    def test_a_relative_path_needs_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file in the current folder has a folder."""
        monkeypatch.chdir(tmp_path)
        assert create_container("shop.db") is False
        assert create_container("sqlite:///shop.db") is False
        assert create_container("sqlite:///deep/shop.db") is True
        assert (tmp_path / "deep").is_dir()

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        """A path that leads through a file is the caller's to correct."""
        (tmp_path / "file").write_text("")
        for path in ("file/shop.db", "file/deep/shop.db"):
            with pytest.raises(InvalidInput, match="is a file"):
                create_container(str(tmp_path / path))

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        """A name that is too long, links that lead in a circle: the system's reason is told."""
        (tmp_path / "circle").symlink_to("circle")
        for place, reason in ((tmp_path / ("x" * 300) / "shop.db", "too long"), (tmp_path / "circle/a/b.db", "links")):
            with pytest.raises(InvalidInput, match=f"cannot be made: .*{reason}"):
                create_container(str(place))

    def test_a_path_may_be_one(self, tmp_path: Path) -> None:
        """As for connect."""
        assert create_container(tmp_path / "deep" / "shop.db") is True

    def test_memory_needs_nothing(self) -> None:
        """There is nothing to make."""
        assert create_container("memory://") is False
