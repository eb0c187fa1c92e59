"""The article's four metadata names, as the clouds' own SDKs show them, for names of streams in any language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote
from uuid import UUID

import boto3
import pytest
from azure.storage.blob import BlobServiceClient
from botocore.config import Config

from acceptance.places import Place, find
from headstream import NO_STREAM, Event, Head, limits
from servers.azure import ACCOUNT, KEY, Azurite
from servers.s3 import Ministack

Listing: TypeAlias = Callable[[str], dict[str, dict[str, str]]]
"""The metadata of the objects in a folder of the store, by the rest of their keys."""

NONE = str(UUID(int=0))
NAMES = {
    "plain": "order-1",
    "path": "shop/eu/order-1",
    "leading space": " order",
    "trailing space": "order ",
    "inner spaces": "a  b",
    "only a space": " ",
    "tab and newline": "a\tb\r\nc",
    "control": "\x01\x7f\x85",
    "null": "a\0b",
    "percent": "100%",
    "looks encoded": "%41%2f%zz",
    "plus": "a+b",
    "header syntax": "a: b; c=\"d\", 'e'\\",
    "looks like an encoded word": "=?utf-8?B?w6k=?=",
    "French": "café",
    "decomposed": "cafe\u0301",
    "German": "Größe",
    "Russian": "заказ-1",
    "Greek": "παραγγελία",
    "Arabic": "طلب جديد",
    "Hebrew": "הזמנה",
    "Hindi": "आदेश",
    "Chinese": "订单",
    "Japanese": "注文",
    "Korean": "주문",
    "emoji": "🛒",
    "emoji of several": "👩‍👩‍👧",
    "invisible": "\u200b\ufeff",
    "highest": "\U0010ffff",
    "256 bytes": "x" * 256,
    "256 bytes, 768 when encoded": "é" * 128,
    "256 bytes of emoji": "🛒" * 64,
}


class Seen(NamedTuple):
    """A fresh place for a store, and its cloud's own view of it."""

    place: Place
    listing: Listing


@pytest.fixture
def on_azure(
    azurite: Azurite, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Seen]:
    """Azure Blob Storage, seen with Microsoft's SDK."""
    place = find("azurite", request, tmp_path, monkeypatch.setenv)
    bucket, _, path = place.url.removeprefix("az://").partition("/")
    with BlobServiceClient(f"{azurite.address}/{ACCOUNT}", credential=KEY) as client:
        container = client.get_container_client(bucket)

        def listing(folder: str) -> dict[str, dict[str, str]]:
            prefix = f"{path}/{folder}/"
            names = [blob.name for blob in container.list_blobs(prefix)]
            found = {name: container.get_blob_client(name).get_blob_properties() for name in names}
            return {name.removeprefix(prefix): dict(blob.metadata) for name, blob in found.items()}

        yield Seen(place, listing)


@pytest.fixture
def on_s3(
    ministack: Ministack, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Seen]:
    """S3, seen with boto3."""
    place = find("ministack", request, tmp_path, monkeypatch.setenv)
    bucket, _, path = place.url.removeprefix("s3://").partition("/")
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    with closing(boto3.client("s3", endpoint_url=ministack.address, config=config)) as client:

        def listing(folder: str) -> dict[str, dict[str, str]]:
            prefix = f"{path}/{folder}/"
            answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix)
            assert not answer["IsTruncated"]
            keys = [item["Key"] for item in answer.get("Contents", ())]
            found = {key: client.head_object(Bucket=bucket, Key=key) for key in keys}
            return {key.removeprefix(prefix): head["Metadata"] for key, head in found.items()}

        yield Seen(place, listing)


@pytest.fixture(params=["azure", "s3"])
def seen(request: pytest.FixtureRequest) -> Seen:
    """Each of the two."""
    found: Seen = request.getfixturevalue(f"on_{request.param}")
    return found


def expected(stream: str, version: int, changeset: UUID | None, parent: UUID | None) -> dict[str, str]:
    """The four names; the stream's name is compared decoded, see :func:`decoded`."""
    return {
        "aggregateid": stream,
        "aggregateversion": str(version),
        "changesetid": str(changeset),
        "parentchangesetid": str(parent or NONE),
    }


def decoded(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata with the percent-encoding undone."""
    assert all(value.isascii() and value.isprintable() and value == value.strip() for value in metadata.values())
    return {name: unquote(value, errors="strict") for name, value in metadata.items()}


def test_names_in_any_language(seen: Seen) -> None:
    """Percent-decoding gives back the name, to the code point, from head and segment; and each is found by its name."""
    assert max(len(name.encode()) for name in NAMES.values()) == limits.MAX_STREAM_NAME
    heads: dict[str, Head] = {}
    with seen.place.connect(tail_bytes=0) as store:
        for name in NAMES.values():
            heads[name] = store.append(name, Event("E", name), expected=NO_STREAM)
        assert list(store.streams()) == sorted(NAMES.values())
    with seen.place.connect(cache_bytes=0) as store:
        assert {name: [event.data for event in store.read(name)] for name in heads} == {name: [name] for name in heads}
    wanted = {name: expected(name, 1, head.changeset_id, None) for name, head in heads.items()}
    for folder in ("heads", "segments"):
        found = [decoded(metadata) for metadata in seen.listing(folder).values()]
        assert {metadata["aggregateid"]: metadata for metadata in found} == wanted
        assert len(found) == len(wanted)


def test_the_default_layout(seen: Seen) -> None:
    """The head has its newest changeset and the one before; a segment its newest, and the one before its first."""
    stream = "注文 100%"
    head: Head | None = None
    ids: list[UUID | None] = [None]
    versions = [0]
    with seen.place.connect() as store:
        assert store.settings.tail_bytes == 64 * limits.KIB
        for size in (20_000, 20_000, 20_000, 20_000, 20_000, 20_000, 20_000, 100_000):
            head = store.append(stream, [Event("E", "x" * size), Event("F")], expected=head or NO_STREAM)
            ids.append(head.changeset_id)
            versions.append(head.version)
            (metadata,) = seen.listing("heads").values()
            assert decoded(metadata) == expected(stream, head.version, ids[-1], ids[-2])
    # Three changesets fill a tail. The last one is larger than any: it is sealed at once, behind the tail before it.
    runs = [(0, 3), (3, 6), (6, 8)]
    segments = seen.listing("segments")
    assert [decoded(metadata) for metadata in segments.values()] == [
        expected(stream, versions[last], ids[last], ids[before]) for before, last in runs
    ]
    firsts = [int(key.partition("/")[2].partition("-")[0]) for key in segments]
    assert firsts == [versions[before] + 1 for before, _ in runs]


def test_only_heads_and_segments_speak_of_a_changeset(seen: Seen) -> None:
    """Intents and index pages have no metadata: nobody looks for a changeset there."""
    with seen.place.connect(tail_bytes=0, fan_out=2) as store:
        for number in range(4):
            store.append("s", Event("E", number))
    for folder, objects in (("inbox", 4), ("index", 1)):
        found = seen.listing(folder)
        assert len(found) == objects
        assert all(metadata == {} for metadata in found.values())
