"""What will never succeed is not tried again and again: leases, policies, providers of credentials; on real servers where there is one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from azure.storage.blob import BlobClient, BlobServiceClient

from headstream import (
    AccessDenied,
    Event,
    EventStore,
    HeadstreamError,
    OutcomeUnknown,
    RequestRejected,
    Unavailable,
    UnsuitableBackend,
    connect,
    connect_async,
)
from headstream.errors import StoreNotFound
from servers.base import Server
from servers.proxy import Answer, Cut, Proxy
from support import shown

OPTIONS: Final[dict[str, Any]] = {"region": "us-east-1"}
ONCE: Final = {"max_retries": 0}


def puts_of(word: str) -> Callable[[str, str, Any], bool]:
    """Matches writes of keys with that word."""
    return lambda method, path, _headers: method == "PUT" and word in path


def inbox_writes(proxy: Proxy) -> int:
    """How many intents were sent."""
    return sum(seen.method == "PUT" and "/inbox/" in seen.path for seen in proxy.requests)


@pytest.fixture
def azure(azurite: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[EventStore, str, Proxy]]:
    """A store on Azurite behind a proxy, and the name of its container and path."""
    place = f"{azurite.fresh_bucket()}/{uuid4().hex}"
    with Proxy(azurite.address) as proxy:
        for name, value in azurite.environment(proxy.address).items():
            monkeypatch.setenv(name, value)
        with connect(azurite.url(place), advance_every=0) as store:
            yield store, place, proxy


def blob(server: Server, place: str, key: str) -> BlobClient:
    """An object, as another program sees it."""
    environment = server.environment()
    container, _, prefix = place.partition("/")
    account = BlobServiceClient(
        f"{server.address}/{environment['AZURE_STORAGE_ACCOUNT_NAME']}",
        credential=environment["AZURE_STORAGE_ACCOUNT_KEY"],
    )
    return account.get_blob_client(container, f"{prefix}/{key}")


def test_a_lease_on_a_head_is_told_at_once(azurite: Server, azure: tuple[EventStore, str, Proxy]) -> None:
    """One attempt, and nothing is unknown; when the lease is released the append works."""
    store, place, proxy = azure
    store.append("order-1", Event("OrderPlaced"))
    with blob(azurite, place, "heads/order-1") as head:
        lease = head.acquire_lease()
        before = inbox_writes(proxy)
        with pytest.raises(RequestRejected, match="release the lease") as raised:
            store.append("order-1", Event("OrderPaid"))
        assert raised.value.details["code"] == "LeaseIdMissing"
        assert inbox_writes(proxy) == before + 1
        lease.release()
    assert store.append("order-1", Event("OrderPaid")).version == 2


def test_a_lease_on_the_feed_is_told_at_once(azurite: Server, azure: tuple[EventStore, str, Proxy]) -> None:
    """An advance does not try again and again either."""
    store, place, _proxy = azure
    store.append("order-1", Event("OrderPlaced"))
    assert store.advance() == 1
    store.append("order-1", Event("OrderPaid"))
    with blob(azurite, place, "heads/!24feed") as head:
        lease = head.acquire_lease()
        with pytest.raises(RequestRejected, match="release the lease"):
            store.advance()
        lease.release()
    assert store.advance() == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(409, code="BlobImmutableDueToPolicy"), RequestRejected),
        (Answer(409, code="BlobImmutableDueToLegalHold"), RequestRejected),
        (Answer(501, code="NotImplemented"), UnsuitableBackend),
    ],
    ids=shown,
)
def test_a_policy_is_told_at_once(
    azure: tuple[EventStore, str, Proxy], answer: Answer, kind: type[HeadstreamError]
) -> None:
    """Nothing was written, and no other attempt is made."""
    store, _place, proxy = azure
    store.append("order-1", Event("OrderPlaced"))
    proxy.fault(puts_of("/heads/"), answer, times=1000)
    before = inbox_writes(proxy)
    with pytest.raises(kind) as raised:
        store.append("order-1", Event("OrderPaid"))
    assert raised.value.details["code"]
    assert inbox_writes(proxy) == before + 1


def test_an_attempt_without_an_answer_stays_named_when_the_next_is_refused(
    azure: tuple[EventStore, str, Proxy],
) -> None:
    """The first may have taken effect, and one id says which; the reason is that of the refusal."""
    store, _place, proxy = azure
    store.append("order-1", Event("OrderPlaced"))
    proxy.fault(puts_of("/heads/"), Cut(acted=False), times=1)
    proxy.fault(puts_of("/heads/"), Answer(409, code="BlobImmutableDueToPolicy"), times=1000)
    with pytest.raises(OutcomeUnknown) as raised:
        store.append("order-1", Event("OrderPaid"))
    assert len(raised.value.changeset_ids) == 1
    assert raised.value.details["code"] == "BlobImmutableDueToPolicy"
    assert "legal hold" in str(raised.value.details["reason"])


# --- providers of credentials --------------------------------------------------------------------------------------


class TokenServiceDown(Exception):
    """What an application's provider raises."""


class Keys:
    """A provider that can be made to fail."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.asked = threading.Event()
        self.config: dict[str, str] = {}

    def __call__(self) -> Any:
        """Keys that ministack takes, or the failure."""
        self.asked.set()
        if self.failure is not None:
            raise self.failure
        soon = datetime.now(UTC) + timedelta(minutes=1)  # so near that it is asked again for each request
        return {"access_key_id": "a", "secret_access_key": "b", "token": None, "expires_at": soon}


class AsyncKeys(Keys):
    """The same, awaited."""

    async def __call__(self) -> Any:
        """Keys, a moment later."""
        await asyncio.sleep(0)
        return super().__call__()


SECRET = "token=c2VjcmV0"


@pytest.fixture
def s3(ministack: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store, whose environment has no keys."""
    for name, value in ministack.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    return ministack.url(f"{ministack.fresh_bucket()}/{uuid4().hex}")


def check_temporary(error: Unavailable, failure: Exception) -> None:
    """The provider's exception is kept, and its text is not in ours."""
    assert error.__cause__ is not None
    assert error.__cause__.__cause__ is failure
    assert error.details["code"] == "TokenServiceDown"
    assert SECRET not in str(error)


def test_the_exception_of_a_provider_is_kept(s3: str) -> None:
    """It may work a moment later: the storage is unavailable."""
    failure = TokenServiceDown(SECRET)
    with pytest.raises(Unavailable) as raised:
        connect(s3, credential_provider=Keys(failure), retry_config=ONCE)
    check_temporary(raised.value, failure)


@pytest.mark.parametrize("kind", [Keys, AsyncKeys])
async def test_the_exception_of_a_provider_is_kept_by_an_async_store(s3: str, kind: type[Keys]) -> None:
    """A provider may be awaited there."""
    failure = TokenServiceDown(SECRET)
    with pytest.raises(Unavailable) as raised:
        await connect_async(s3, credential_provider=kind(failure), retry_config=ONCE)
    check_temporary(raised.value, failure)


@pytest.mark.parametrize("failure", [PermissionError("revoked"), AccessDenied("revoked")])
def test_a_provider_that_refuses_for_good_denies_access(s3: str, failure: Exception) -> None:
    """What it raises says that there are no credentials for this caller."""
    with pytest.raises(AccessDenied, match=type(failure).__name__) as raised:
        connect(s3, credential_provider=Keys(failure), retry_config=ONCE)
    assert raised.value.__cause__ is failure


@pytest.mark.parametrize("kind", [dict, None], ids=["blocking", "awaited"])
@pytest.mark.parametrize("name", ["access_key_id", "secret_access_key", "token"])
async def test_credentials_of_a_provider_are_checked_before_the_client_has_them(
    s3: str, kind: type | None, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line break from a file of secrets: it is named, its value is not, and the client does not panic over it."""
    made = {"access_key_id": "key", "secret_access_key": SECRET, "token": None, "expires_at": None, name: f"{SECRET}\n"}

    async def awaited() -> dict[str, Any]:
        return made

    provider = awaited if kind is None else lambda: made
    with pytest.raises(AccessDenied) as raised:
        await connect_async(s3, credential_provider=provider, retry_config=ONCE)
    told = str(raised.value.__cause__)
    assert repr(name) in told
    assert "line break" in told
    assert SECRET not in f"{raised.value}{told}{capfd.readouterr().err}"


async def test_a_provider_that_awaits_works(s3: str) -> None:
    """Credentials that are there are used as before."""
    async with connect_async(s3, credential_provider=AsyncKeys()) as store:
        assert (await store.append("order-1", Event("OrderPlaced"))).version == 1


def test_a_subscription_waits_through_a_moment_of_a_failing_provider(s3: str) -> None:
    """It gets the event that was appended meanwhile when the provider works again."""
    provider = Keys()
    with connect(s3, credential_provider=provider) as store:
        store.append("order-1", Event("OrderPlaced"))
        seen = []
        for event in store.subscribe(poll=(0.01, 0.02)):
            seen.append(event.type)
            if len(seen) == 2:
                break
            provider.failure = TokenServiceDown(SECRET)
            provider.asked.clear()
            threading.Thread(target=_mend, args=(store, provider)).start()
    assert seen == ["OrderPlaced", "OrderPaid"]


def _mend(store: EventStore, provider: Keys) -> None:
    assert provider.asked.wait(30)
    provider.failure = None
    store.append("order-1", Event("OrderPaid"))


def test_a_missing_bucket_is_still_told_apart(s3: str) -> None:
    """With a provider as without."""
    with pytest.raises(StoreNotFound, match="headstream init"):
        connect("s3://no-such-bucket/shop", credential_provider=Keys())
