"""The article of 2012 step by step, in its own layout (``tail_bytes=0``), seen through Microsoft's SDK.

What is stored is read here by the rules of ``docs/format.md`` alone: no code of headstream's decodes it. ``docs/article.md`` goes through
the same steps in prose, and the numbers of requests in its table are those that are counted here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Barrier
from typing import Any, NamedTuple
from uuid import UUID, uuid4
from zlib import crc32

import msgspec
import pytest
import zstandard
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError
from azure.storage.blob import BlobServiceClient, ContainerClient
from click.testing import CliRunner

from headstream import (
    NO_STREAM,
    Event,
    EventStore,
    Head,
    KeyReused,
    StoreNotFound,
    WrongExpectedVersion,
    connect,
    limits,
)
from headstream.backends.provision import create_container
from headstream.cli.app import program
from servers.azure import ACCOUNT, KEY, Azurite
from servers.proxy import Cut, Delay, Proxy

STREAM = "order_1/é"
ESCAPED = "order__1.2f~c3~a9"
HEAD = f"shop/heads/{ESCAPED}"
WRITERS = 8
SECONDS = 60
NOTHING = UUID(int=0)
unpack = msgspec.msgpack.decode


# --- the SDK's view, and a reader made of docs/format.md ---------------------------------------------------------


class Shop(NamedTuple):
    """A container with a store in the path ``shop``, and the proxy that headstream reaches it by."""

    url: str
    container: ContainerClient
    proxy: Proxy

    def connect(self, **settings: Any) -> EventStore:
        """A client that knows nothing of others; creates the store in the article's layout unless settings differ."""
        return connect(self.url, **({"tail_bytes": 0, "feed": False} | settings))

    def blobs(self) -> dict[str, dict[str, str]]:
        """The metadata of all changeset blobs, by their keys."""
        found = self.container.list_blobs(f"shop/segments/{ESCAPED}/", include=["metadata"])
        return {blob.name: dict(blob.metadata) for blob in found}

    def head_etag(self) -> str:
        """The etag of the head, as the SDK sees it."""
        return str(self.container.get_blob_client(HEAD).get_blob_properties().etag)

    def requests(self) -> list[tuple[str, str]]:
        """Method and folder of what went by since the last time, in the order of the answers."""
        seen = [(request.method, request.path.partition("/shop/")[2].split("/")[0]) for request in self.proxy.requests]
        self.proxy.requests.clear()
        return seen


@pytest.fixture
def service(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobServiceClient]:
    """Microsoft's client of the account; headstream finds the account in the environment."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    with BlobServiceClient(f"{azurite.address}/{ACCOUNT}", credential=KEY) as client:
        yield client


@pytest.fixture
def shop(azurite: Azurite, service: BlobServiceClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A fresh container, without a store yet."""
    bucket = azurite.fresh_bucket()
    with Proxy(azurite.address) as proxy, service.get_container_client(bucket) as container:
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azurite.environment(proxy.address)["AZURE_STORAGE_ENDPOINT"])
        yield Shop(f"az://{bucket}/shop", container, proxy)


def envelope(kind: str, body: bytes) -> tuple[list[Any], Any]:
    """The fields of an object, and the element after them."""
    number, found, checksum, fields, rest = unpack(body)
    assert (number, found) == (1, kind)
    covered = fields + rest if kind == "segment" else fields
    assert checksum == crc32(covered).to_bytes(4, "big")
    return unpack(fields), rest


class Changeset(NamedTuple):
    """A changeset as its blob has it."""

    metadata: Mapping[str, str]
    id: UUID
    parent: UUID
    last: int
    key: str | None
    events: list[tuple[int, str, Any]]


def uuid_of(raw: bytes | None) -> UUID:
    """An id, or the nil UUID."""
    return UUID(bytes=raw or bytes(16))


def walk(container: ContainerClient) -> Iterator[Changeset]:
    """The stream from its head to its first changeset: each blob names the one before it, and no index is looked at."""
    body = container.download_blob(HEAD).readall()
    head, tail = envelope("head", body)
    assert head[0] == STREAM
    assert tail == []
    reference, digest = head[7][0][-1], head[4]
    while reference is not None:
        first, object_id, _size = reference
        blob = container.download_blob(f"shop/segments/{ESCAPED}/{first:016d}-{object_id.hex()}")
        segment, packed = envelope("segment", blob.readall())
        (frame,) = unpack(zstandard.ZstdDecompressor().decompress(packed))
        assert frame[:4] == crc32(frame[4:]).to_bytes(4, "big")
        changeset, parent, follows, _micros, key, events = unpack(frame[4:])
        assert (changeset, follows, parent) == (object_id, first - 1, segment[6])
        assert sha256(segment[7] + frame).digest() == digest
        rows = [(first + place, event[0], json.loads(event[1] or "null")) for place, event in enumerate(events)]
        yield Changeset(blob.properties.metadata, uuid_of(changeset), uuid_of(parent), segment[4], key, rows)
        reference, digest = segment[5], segment[7]
    assert digest == bytes(32)


def fill(store: EventStore, changesets: int) -> Head:
    """Append so many changesets, of one to three events."""
    head = store.append(STREAM, Event("Opened", {"number": 1}), expected=NO_STREAM)
    for number in range(2, changesets + 1):
        events = [Event("Moved", {"number": number, "part": part}) for part in range(1 + number % 3)]
        head = store.append(STREAM, events, expected=head)
    return head


# --- the containers ----------------------------------------------------------------------------------------------


def fresh_name() -> str:
    """A container that nobody has made."""
    return f"test-{uuid4().hex[:16]}"


def test_a_container_is_created_when_there_is_none(service: BlobServiceClient) -> None:
    """It is made once; making it again is fine, and tells; until then the store is not found."""
    name = fresh_name()
    url = f"az://{name}/shop"
    with pytest.raises(StoreNotFound, match=f"headstream init {url}"):
        connect(url, tail_bytes=0)
    assert create_container(url) is True
    assert service.get_container_client(name).exists()
    assert create_container(url) is False
    with connect(url, tail_bytes=0) as store:
        assert store.append(STREAM, Event("Opened"), expected=NO_STREAM).version == 1


def test_the_command_makes_container_and_store(service: BlobServiceClient) -> None:
    """``headstream init``, twice: the second time nothing changes."""
    name = fresh_name()
    url = f"az://{name}/shop"
    ids = set()
    for created in (True, False):
        result = CliRunner().invoke(program, ["init", url, "--tail-bytes", "0", "--no-feed", "--json"])
        assert result.exit_code == 0, result.output
        facts = json.loads(result.stdout)
        assert (facts["created"], facts["created_container"]) == (created, created)
        ids.add(facts["store_id"])
    assert len(ids) == 1
    assert service.get_container_client(name).exists()
    with connect(url, create=False) as store:
        assert (store.settings.tail_bytes, store.settings.feed) == (0, False)


# --- storing a changeset -----------------------------------------------------------------------------------------


def test_every_changeset_is_a_blob_with_its_metadata(shop: Shop) -> None:
    """As many blobs as appends, named by changeset, with the article's four names; the head has those of the newest."""
    with shop.connect() as store:
        heads = [store.append(STREAM, [Event("E", n)] * n, expected=v) for n, v in ((1, 0), (2, 1), (3, 3))]
    ids = [str(head.changeset_id) for head in heads]
    blobs = shop.blobs()
    assert [key.rpartition("-")[2] for key in blobs] == [name.replace("-", "") for name in ids]
    assert list(blobs.values()) == [
        {
            "aggregateid": "order_1/%C3%A9",
            "aggregateversion": str(head.version),
            "changesetid": changeset,
            "parentchangesetid": parent,
        }
        for head, changeset, parent in zip(heads, ids, [str(NOTHING), *ids], strict=False)
    ]
    head = shop.container.get_blob_client(HEAD).get_blob_properties()
    assert dict(head.metadata) == blobs[max(blobs)]


def test_the_head_only_points(shop: Shop) -> None:
    """Its tail is empty, it names the newest changeset, and its size does not depend on what the changesets hold."""
    with shop.connect() as store:
        head = store.append(STREAM, Event("E", "x" * 100_000), expected=NO_STREAM)
    body = shop.container.download_blob(HEAD).readall()
    fields, tail = envelope("head", body)
    assert tail == []
    assert (fields[1], uuid_of(fields[2]), uuid_of(fields[3])) == (1, head.changeset_id, NOTHING)
    assert len(body) < 300


def test_the_head_is_written_under_the_articles_conditions(shop: Shop) -> None:
    """``If-None-Match: *`` makes it; ``If-Match`` with the etag of the one before moves it; changesets need neither."""
    conditions: list[tuple[str, str | None, str | None]] = []

    def note(method: str, path: str, headers: Mapping[str, str]) -> bool:
        if method == "PUT":
            folder = path.partition("/shop/")[2].split("/")[0]
            conditions.append((folder, headers.get("if-none-match"), headers.get("if-match")))
        return False

    with shop.connect() as store:
        shop.proxy.fault(note, Delay(0))
        first = store.append(STREAM, Event("E", 1), expected=NO_STREAM)
        etag = shop.head_etag()
        store.append(STREAM, Event("E", 2), expected=first)
    assert conditions == [
        ("segments", None, None),
        ("heads", "*", None),
        ("segments", None, None),
        ("heads", None, etag),
    ]


# --- competition -------------------------------------------------------------------------------------------------


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """``work`` of each writer's number, all begun together; exceptions are results."""
    barrier = Barrier(WRITERS)

    def begin(number: int) -> Any:
        barrier.wait(SECONDS)
        try:
            return work(number)
        except WrongExpectedVersion as conflict:
            return conflict

    with ThreadPoolExecutor(WRITERS) as threads:
        return list(threads.map(begin, range(WRITERS)))


def test_competing_inserters(shop: Shop) -> None:
    """Of eight that create a stream one wins; the others are told, and their blobs are in no list."""
    stores = [shop.connect() for _ in range(WRITERS)]
    outcomes = at_once(lambda number: stores[number].append(STREAM, Event("Opened", number), expected=NO_STREAM))
    (winner,) = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Head)]
    conflicts = [outcome for outcome in outcomes if isinstance(outcome, WrongExpectedVersion)]
    assert [(conflict.expected, conflict.actual) for conflict in conflicts] == [(0, 1)] * (WRITERS - 1)
    assert len(shop.blobs()) == WRITERS
    (changeset,) = walk(shop.container)
    assert changeset.events == [(1, "Opened", winner)]
    for store in stores:
        assert [event.data for event in store.read(STREAM)] == [winner]
        store.close()


def test_competing_updaters(shop: Shop) -> None:
    """Of two that follow one head one wins; the other is told both versions, reads what it missed, and repeats."""
    with shop.connect() as one, shop.connect() as other:
        fill(one, 1)
        heads = [store.head(STREAM) for store in (one, other)]
        assert heads[0] == heads[1]
        assert heads[0] is not None
        assert heads[1] is not None
        one.append(STREAM, [Event("Moved", "one"), Event("Moved", "again")], expected=heads[0])
        with pytest.raises(WrongExpectedVersion) as caught:
            other.append(STREAM, Event("Moved", "other"), expected=heads[1])
        assert (caught.value.expected, caught.value.actual) == (1, 3)
        missed = other.read(STREAM, after=heads[1].version)
        assert [event.data for event in missed] == ["one", "again"]
        assert other.append(STREAM, Event("Moved", "other"), expected=missed.head()).version == 4
    assert len(shop.blobs()) == 4
    assert [changeset.last for changeset in walk(shop.container)] == [4, 3, 1]


def test_repeating_the_entire_operation_loses_no_update(shop: Shop) -> None:
    """Eight that read, decide on what they read, append, and repeat after a conflict: every decision counts once."""

    def increase(number: int) -> None:
        with shop.connect() as store:
            for _ in range(2):
                while True:
                    reading = store.read(STREAM)
                    counted = max((event.data for event in reading), default=0)
                    try:
                        store.append(STREAM, Event("Counted", counted + 1), expected=reading.head())
                        break
                    except WrongExpectedVersion:
                        continue

    shop.connect().close()
    assert at_once(increase) == [None] * WRITERS
    events = [event for changeset in walk(shop.container) for event in changeset.events]
    assert [data for _, _, data in reversed(events)] == list(range(1, 2 * WRITERS + 1))


def test_nobody_can_overwrite_a_head_by_the_articles_conditions(shop: Shop) -> None:
    """An insert, and an update by an old etag, of another client of the storage fail; so does ours when its etag is old."""
    with shop.connect() as store:
        store.append(STREAM, Event("E", 1))
        old = shop.head_etag()
        store.append(STREAM, Event("E", 2))
        head = shop.container.get_blob_client(HEAD)
        with pytest.raises(ResourceExistsError):
            head.upload_blob(b"mine", overwrite=False)
        with pytest.raises(ResourceModifiedError):
            head.upload_blob(b"mine", overwrite=True, etag=old, match_condition=MatchConditions.IfNotModified)
        head.set_blob_metadata({"touched": "yes"})
        shop.proxy.requests.clear()
        assert store.append(STREAM, Event("E", 3)).version == 3
        writes = [request.status for request in shop.proxy.requests if "/heads/" in request.path]
        assert writes == [412, 200, 201], "a refused swap, another look, and the swap"
        assert [event.data for event in store.read(STREAM)] == [1, 2, 3]


@pytest.mark.parametrize(("acted", "blobs"), [(False, 2), (True, 1)])
def test_a_head_write_that_gets_no_answer(shop: Shop, acted: bool, blobs: int) -> None:
    """Not applied, it leaves a dangling changeset, and is made again; applied, it is recognized. The list has one."""
    with shop.connect() as store:
        rule = shop.proxy.fault(lambda method, path, _headers: method == "PUT" and "/heads/" in path, Cut(acted=acted))
        head = store.append(STREAM, Event("E", 1), expected=NO_STREAM)
        assert rule.happened == 1
    assert len(shop.blobs()) == blobs
    (changeset,) = walk(shop.container)
    assert (changeset.id, changeset.events) == (head.changeset_id, [(1, "E", 1)])


def test_a_command_handled_twice_is_one_changeset(shop: Shop) -> None:
    """Duplicates are known by a key of their own: the changeset's id is not the command's. Other events under the key are refused."""
    with shop.connect() as store:
        head = store.append(STREAM, Event("E", 1), expected=NO_STREAM, key="command-17")
    with shop.connect() as elsewhere:
        again = elsewhere.append(STREAM, Event("E", 1), expected=NO_STREAM, key="command-17")
        with pytest.raises(KeyReused):
            elsewhere.append(STREAM, Event("E", "decided again"), expected=NO_STREAM, key="command-17")
    assert again == head
    (changeset,) = walk(shop.container)
    assert (changeset.id, changeset.key, changeset.events) == (head.changeset_id, "command-17", [(1, "E", 1)])


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", [False, True])
def test_the_walk_from_the_head_to_the_first_changeset(shop: Shop, feed: bool) -> None:
    """By parents alone, without an index: every event, newest first, and metadata that agree at each step."""
    with shop.connect(fan_out=2, feed=feed) as store:
        fill(store, 25)
        expected = [(event.version, event.type, event.data) for event in store.read(STREAM, backwards=True)]
    changesets = list(walk(shop.container))
    assert len(changesets) == 25
    assert [event for changeset in changesets for event in reversed(changeset.events)] == expected
    parents = [changeset.id for changeset in changesets[1:]] + [NOTHING]
    for changeset, parent in zip(changesets, parents, strict=True):
        assert changeset.parent == parent
        assert changeset.metadata == {
            "aggregateid": "order_1/%C3%A9",
            "aggregateversion": str(changeset.last),
            "changesetid": str(changeset.id),
            "parentchangesetid": str(parent),
        }


def test_a_person_can_follow_the_metadata(shop: Shop) -> None:
    """The same list, from the metadata in a listing alone, as a storage browser shows it; dangling changesets stay apart."""
    with shop.connect() as store, shop.connect() as loser:
        head = fill(store, 5)
        with pytest.raises(WrongExpectedVersion):
            loser.append(STREAM, Event("Late"), expected=NO_STREAM)
        store.append(STREAM, Event("Last"), expected=head)
    parents = {blob["changesetid"]: blob["parentchangesetid"] for blob in shop.blobs().values()}
    assert len(parents) == 7
    at = shop.container.get_blob_client(HEAD).get_blob_properties().metadata["changesetid"]
    path = []
    while at != str(NOTHING):
        path.append(at)
        at = parents[at]
    assert path == [str(changeset.id) for changeset in walk(shop.container)]
    assert len(path) == 6


def test_what_a_read_says_of_the_head_needs_no_place_in_changesets(shop: Shop) -> None:
    """The etag travels in the head that a read or an append returns, once, and is the storage's own."""
    with shop.connect(cache_bytes=0) as store:
        appended = fill(store, 3)
        reading = store.read(STREAM)
        assert len(list(reading)) == appended.version
        assert {head.etag for head in (appended, reading.head(), store.head(STREAM)) if head} == {shop.head_etag()}


def test_all_streams_can_be_found(shop: Shop) -> None:
    """Their names, in order and by prefix, in one list of the heads."""
    with shop.connect() as store:
        for name in ("order-2", "order-1", "cart/ä", "order_1"):
            store.append(name, Event("E"), expected=NO_STREAM)
        shop.requests()
        assert list(store.streams()) == ["cart/ä", "order-1", "order-2", "order_1"]
        assert list(store.streams("order-")) == ["order-1", "order-2"]
        assert [method for method, _ in shop.requests()] == ["GET", "GET"]


# --- the table of docs/article.md: requests ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "prelude"),
    [
        ({"tail_bytes": 0, "feed": False}, ["segments"]),
        ({"tail_bytes": 0, "feed": True}, ["inbox", "segments"]),
        ({"tail_bytes": 65536, "feed": False}, []),
        ({"tail_bytes": 65536, "feed": True}, ["inbox"]),
    ],
    ids=["article", "article-feed", "default-no-feed", "default"],
)
def test_requests_of_an_append(shop: Shop, settings: dict[str, Any], prelude: list[str]) -> None:
    """One for the head after what must precede it; no other, neither for metadata nor to look for the etag."""
    with shop.connect(**settings) as store:
        shop.requests()
        head = store.append(STREAM, Event("E", 1), expected=NO_STREAM)
        inserting = shop.requests()
        store.append(STREAM, Event("E", 2), expected=head)
        updating = shop.requests()
    for seen in (inserting, updating):
        assert seen[-1] == ("PUT", "heads")
        assert sorted(seen[:-1]) == [("PUT", folder) for folder in prelude]


@pytest.mark.parametrize(("tail_bytes", "blobs"), [(0, 40), (65536, 0)])
def test_requests_of_a_read(shop: Shop, tail_bytes: int, blobs: int) -> None:
    """The head and each blob once; the first events come before the last blobs, and the newest cost one blob."""
    with shop.connect(tail_bytes=tail_bytes) as store:
        version = fill(store, 40).version
    with shop.connect(tail_bytes=tail_bytes, cache_bytes=0) as store:
        shop.requests()
        assert len(list(store.read(STREAM))) == version
        assert sorted(shop.requests()) == [("GET", "heads")] + [("GET", "segments")] * blobs
        assert next(iter(store.read(STREAM))).version == 1
        assert len(shop.requests()) == 1 + min(blobs, limits.READ_WINDOW_OBJECTS)
        assert next(iter(store.read(STREAM, backwards=True, limit=1))).version == version
        assert len(shop.requests()) == 1 + min(blobs, 1)


def test_requests_of_opening(shop: Shop) -> None:
    """One GET for a store that exists; eight requests to create one, most of them to see that conditions are kept."""
    shop.connect().close()
    assert len(shop.requests()) == 8
    shop.connect().close()
    assert shop.requests() == [("GET", "store.json")]


@pytest.mark.parametrize(("feed", "prelude"), [(False, ["segments"]), (True, ["inbox", "segments"])])
def test_requests_of_an_append_that_finds_the_tail_full(shop: Shop, feed: bool, prelude: list[str]) -> None:
    """The old tail is written beside the intent: no further round trip."""
    with shop.connect(tail_bytes=65536, feed=feed) as store:
        head = store.append(STREAM, Event("E", "x" * 65_000), expected=NO_STREAM)
        shop.requests()
        store.append(STREAM, Event("E", "x" * 1_000), expected=head)
        seen = shop.requests()
    assert seen[-1] == ("PUT", "heads")
    assert sorted(seen[:-1]) == [("PUT", folder) for folder in prelude]


@pytest.mark.parametrize(("tail_bytes", "blobs"), [(0, 5), (65536, 0)])
def test_requests_of_loading_again(shop: Shop, tail_bytes: int, blobs: int) -> None:
    """An unchanged head comes without a body."""
    with shop.connect(tail_bytes=tail_bytes) as store:
        version = fill(store, 5).version
        shop.requests()
        assert len(list(store.read(STREAM))) == version
        assert sorted(request.status or 0 for request in shop.proxy.requests) == [200] * blobs + [304]


@pytest.mark.parametrize(("tail_bytes", "feed"), [(0, False), (65536, False), (65536, True)])
def test_requests_of_a_conflict(shop: Shop, tail_bytes: int, feed: bool) -> None:
    """The refused write, and a look at what came instead; then only what was missed is read."""
    settings = {"tail_bytes": tail_bytes, "feed": feed}
    blob = ["segments"] if tail_bytes == 0 else []
    with shop.connect(**settings) as store, shop.connect(**settings) as other:
        head = fill(store, 10)
        other_head = other.head(STREAM)
        assert other_head == head
        store.append(STREAM, Event("Moved", "quicker"), expected=head)
        shop.requests()
        with pytest.raises(WrongExpectedVersion):
            other.append(STREAM, Event("Moved", "slower"), expected=other_head)
        refused = [("PUT", folder) for folder in (*(["inbox"] if feed else []), *blob, "heads")]
        look = [("GET", folder) for folder in ("heads", *blob)]
        assert shop.requests() == refused + look
        assert [event.data for event in other.read(STREAM, after=head.version)] == ["quicker"]
        assert shop.requests() == look
