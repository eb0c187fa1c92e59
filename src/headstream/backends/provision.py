"""Makes what a store is put into: a container or bucket with the cloud's own SDK, or the folder of a local one.

``obstore`` makes no containers, so the official SDKs do; they are in the extras ``headstream[azure]``, ``[s3]`` and
``[gcs]``, and are imported when a container is missing, not before. They get the credentials and the endpoint that
obstore would use, from the same options and environment variables; where there are none, they look where they
always look (profiles, managed identities).
"""

from __future__ import annotations

import errno
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from headstream.backends.base import Backend
from headstream.errors import AccessDenied, HeadstreamError, InvalidInput, StoreNotFound, Unavailable
from headstream.protocol.ops import FAULTS, unavailable

if TYPE_CHECKING:
    from headstream.backends.cloud.service import Address

CONNECT_SECONDS: Final = 5
REQUEST_SECONDS: Final = 30
ATTEMPTS: Final = 3

Settings: TypeAlias = Mapping[str, str]
"""Options by obstore's names, without those that are not set."""


def create_container(url: str | os.PathLike[str], **options: Any) -> bool:
    """Make the container or bucket of a cloud URL, or the folder that a local store is to lie in.

    Takes the URLs and options of :func:`headstream.connect`. Returns whether something was made: repeating it is safe.

    Raises :class:`~headstream.errors.AccessDenied` when the credentials do not permit it,
    :class:`~headstream.errors.Unavailable` when the service does not answer, and
    :class:`~headstream.errors.InvalidInput` for a name that the service does not allow, or when its SDK is not installed.
    """
    url = url if isinstance(url, str) else os.fsdecode(url)
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme == "memory":
        return False
    if scheme in ("", "sqlite", "file"):
        return _make_folder(_path_of(url, scheme).parent)
    from headstream.backends.cloud import CloudBackend  # noqa: PLC0415 - needs an extra
    from headstream.backends.cloud.options import Options  # noqa: PLC0415
    from headstream.backends.cloud.service import Address  # noqa: PLC0415

    address = Address.parse(url)
    if _exists(CloudBackend(url, **options)):
        return False
    named = {
        name: value for name, value in options.items() if name not in ("client_options", "retry_config", "timeout")
    }
    given = Options.of(address.scheme, options.get("client_options"), named)
    return _CREATORS[address.scheme](address, given.values)


def _exists(backend: Backend) -> bool:
    """Whether there is a container, as seen by the client that will use it: this needs no SDK, nor the right to create."""
    with closing(backend):
        try:
            backend.list("", "", 1)
        except StoreNotFound:
            return False
        except FAULTS as fault:
            raise unavailable("the storage did not answer: try again later", fault) from None
        except HeadstreamError as error:
            if error.details.get("status") != 400:
                raise
            return False  # a name that cannot be: creating it will say so in better words
        return True


def _path_of(url: str, scheme: str) -> Path:
    """The file or folder of a local URL: three slashes begin a relative SQLite path, and four an absolute one."""
    if not scheme:
        return Path(url)
    return Path(unquote(url.removeprefix("sqlite:///") if scheme == "sqlite" else urlsplit(url).path))


def _make_folder(folder: Path) -> bool:
    try:
        if folder.is_dir():
            return False
        folder.mkdir(parents=True)
    except FileExistsError:
        if folder.is_dir():
            return False
        raise InvalidInput(f"{folder} is a file: a store needs a folder there") from None
    except NotADirectoryError:
        raise InvalidInput(f"a part of {folder} is a file: a store needs a folder there") from None
    except PermissionError:
        raise AccessDenied(f"the folder {folder} cannot be made: its parent does not permit it") from None
    except OSError as error:
        later = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE}
        kind = Unavailable if later else InvalidInput
        raise kind(f"the folder {folder} cannot be made: {error.strerror}") from None
    return True


def _create_azure(address: Address, settings: Settings) -> bool:
    blob, core = _sdk("azure.storage.blob", "azure"), _sdk("azure.core.exceptions", "azure")
    account = settings.get("account_name")
    if not account:
        raise InvalidInput("to create a container, set AZURE_STORAGE_ACCOUNT_NAME, also for the emulator")
    endpoint = settings.get("endpoint") or f"https://{account}.blob.core.windows.net"
    credential: Any = settings.get("sas_key")
    if key := settings.get("account_key"):
        credential = {"account_name": account, "account_key": key}
    elif credential is None:
        credential = _azure_identity()
    container = blob.ContainerClient(
        endpoint,
        address.bucket,
        credential=credential,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=REQUEST_SECONDS,
        retry_policy=blob.LinearRetry(backoff=1, random_jitter_range=1, retry_total=ATTEMPTS - 1),
    )
    failure: HeadstreamError
    try:
        with container:
            container.create_container()
    except core.HttpResponseError as error:
        code = str(getattr(error, "error_code", "") or "")
        if code == "ContainerAlreadyExists":
            return False
        failure = _failure(address, error.status_code or 0, code)
    except core.AzureError:
        failure = _unanswered(address)
    else:
        return True
    raise failure


def _azure_identity() -> Any:
    try:
        return importlib.import_module("azure.identity").DefaultAzureCredential()
    except ModuleNotFoundError:
        raise InvalidInput(
            "to create a container, set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY, or pip install azure-identity"
        ) from None


def _create_s3(address: Address, settings: Settings) -> bool:
    boto3, core = _sdk("boto3", "s3"), _sdk("botocore.exceptions", "s3")
    config = _sdk("botocore.config", "s3").Config(
        connect_timeout=CONNECT_SECONDS, read_timeout=REQUEST_SECONDS, retries={"total_max_attempts": ATTEMPTS}
    )
    failure: HeadstreamError
    try:
        client = boto3.client(
            "s3",
            aws_access_key_id=settings.get("access_key_id"),
            aws_secret_access_key=settings.get("secret_access_key"),
            aws_session_token=settings.get("session_token"),
            region_name=settings.get("region") or settings.get("default_region"),
            endpoint_url=settings.get("endpoint_url_s3") or settings.get("endpoint"),
            config=config,
        )
        region = client.meta.region_name
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with closing(client):
            client.create_bucket(Bucket=address.bucket, **(elsewhere if region not in (None, "us-east-1") else {}))
    except core.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "BucketAlreadyOwnedByYou":
            return False
        failure = _failure(address, int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), code)
    except core.NoCredentialsError:
        failure = AccessDenied(
            "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", store=str(address)
        )
    except (core.BotoCoreError, core.HTTPClientError):
        failure = _unanswered(address)
    else:
        return True
    raise failure


def _create_gcs(address: Address, settings: Settings) -> bool:
    storage, core = _sdk("google.cloud.storage", "gcs"), _sdk("google.api_core.exceptions", "gcs")
    auth = _sdk("google.auth.exceptions", "gcs")
    retries = _sdk("google.cloud.storage.retry", "gcs").DEFAULT_RETRY.with_timeout(REQUEST_SECONDS)
    failure: HeadstreamError
    try:
        with _gcs_client(storage, settings) as client:
            client.create_bucket(address.bucket, timeout=REQUEST_SECONDS, retry=retries)
    except core.Conflict:
        failure = _failure(address, 409, "BucketAlreadyExists")
    except core.GoogleAPICallError as error:
        failure = _failure(address, int(error.code or 0), type(error).__name__)
    except (auth.TransportError, core.RetryError, OSError):
        failure = _unanswered(address)
    except auth.GoogleAuthError:
        failure = AccessDenied(
            "there are no usable credentials: set GOOGLE_APPLICATION_CREDENTIALS", store=str(address)
        )
    else:
        return True
    raise failure


@contextmanager
def _gcs_client(storage: Any, settings: Settings) -> Iterator[Any]:
    account = _service_account(settings)
    endpoint = settings.get("base_url") or account.get("gcs_base_url")
    credentials: Any = None
    if settings.get("skip_signature", "").lower() in ("1", "true") or account.get("disable_oauth"):
        credentials = _sdk("google.auth.credentials", "gcs").AnonymousCredentials()
    elif token := settings.get("bearer_token"):
        credentials = _sdk("google.oauth2.credentials", "gcs").Credentials(token)
    elif account:
        credentials = _sdk("google.oauth2.service_account", "gcs").Credentials.from_service_account_info(account)
    client = storage.Client(
        project=os.environ.get("GOOGLE_CLOUD_PROJECT") or account.get("project_id") or ("none" if endpoint else None),
        credentials=credentials,
        client_options={"api_endpoint": endpoint} if endpoint else None,
    )
    try:
        yield client
    finally:
        client.close()


def _service_account(settings: Settings) -> Mapping[str, Any]:
    """The service account that was named, as text or as a file; empty when none was."""
    text = settings.get("service_account_key")
    path = settings.get("service_account") or settings.get("application_credentials")
    if text is None and path is None:
        return {}
    account: dict[str, Any] = json.loads(text if text is not None else Path(str(path)).read_text(encoding="utf-8"))
    return account if account.get("type", "service_account") == "service_account" else {}


_CREATORS: Final[Mapping[str, Callable[[Address, Settings], bool]]] = {
    "az": _create_azure,
    "s3": _create_s3,
    "gs": _create_gcs,
}


def _sdk(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise InvalidInput(f"creating it needs the cloud's SDK: pip install 'headstream[{extra}]'") from None


def _failure(address: Address, status: int, code: str) -> HeadstreamError:
    """What an answer that is an error means. Its text stays out: it may repeat a signed request."""
    details: dict[str, object] = {"store": str(address), "status": status, "code": code}
    if status in (401, 403):
        return AccessDenied(
            "the credentials do not permit creating a container: create it by hand, or use others", **details
        )
    if status in (408, 429) or status >= 500 or code in ("ContainerBeingDeleted", "OperationAborted"):
        return Unavailable("the storage cannot create it now: try again in a minute", **details)
    if status == 409:
        return AccessDenied("the name is taken by somebody else: choose another one", **details)
    return InvalidInput("the storage does not create a container of this name, or in this region", **details)


def _unanswered(address: Address) -> HeadstreamError:
    return Unavailable("the storage cannot be reached: check the endpoint and the network", store=str(address))
