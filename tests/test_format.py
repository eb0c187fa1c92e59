"""Stores of every format ever written stay readable: by headstream, and by anybody who follows ``docs/format.md``.

The reader in this file knows headstream only by that page.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import zstandard

from headstream import Event, connect

DATA = Path(__file__).parent / "data"
FORMATS = sorted(DATA.glob("format-*"))


# --- the page, read as a stranger would ----------------------------------------------------------------------------


def objects(folder: Path) -> dict[str, bytes]:
    """Key and body of each object of a store in a folder."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            key = "/".join(
                re.sub("%(..)", lambda code: chr(int(code[1], 16)), part) for part in path.relative_to(folder).parts
            )
            found[key] = path.read_bytes()
    return found


def shown(data: Any) -> Any:
    """Data as ``expected.json`` has it."""
    return {"base64": b64encode(data).decode()} if isinstance(data, bytes) else data


def unescape(escaped: str) -> str:
    marks = {"_0": b"[", "_1": b"\\", "_2": b"]", "_3": b"^", "__": b"_", "_a": b"`"}
    tokens = re.findall(r"_.|[!.=~]..|.", escaped)
    return b"".join(
        marks.get(token) or (bytes.fromhex(token[1:]) if len(token) == 3 else token.encode()) for token in tokens
    ).decode()


def envelope(body: bytes, kind: str) -> list[Any]:
    assert body[0] in (0x94, 0x95)
    assert body[1] == 1
    found: list[Any] = msgspec.msgpack.decode(body)
    covered = found[3] + (found[4] if len(found) == 5 and isinstance(found[4], bytes) else b"")
    assert found[1] == kind
    assert found[2] == zlib.crc32(covered).to_bytes(4, "big")
    return [msgspec.msgpack.decode(found[3]), *found[4:]]


def frames_below(store: dict[str, bytes], escaped: str, level: int, ref: list[Any]) -> Iterator[bytes]:
    first, identity, _ = ref
    if level:
        (fields,) = envelope(store[f"index/{escaped}/{level}-{first:016d}-{identity.hex()}"], "page")
        assert fields[1] == level
        for lower in fields[2]:
            yield from frames_below(store, escaped, level - 1, lower)
    else:
        fields, packed = envelope(store[f"segments/{escaped}/{first:016d}-{identity.hex()}"], "segment")
        assert fields[0] == unescape(escaped)
        assert fields[1:3] == [first, identity]
        yield from msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(packed))


def read_stream(store: dict[str, bytes], escaped: str) -> list[Any]:
    """Every event, and all that the page promises about the list on the way."""
    fields, tail = envelope(store[f"heads/{escaped}"], "head")
    name, version, newest, parent, digest, _fence, sealed, levels, extensions = fields
    assert name == unescape(escaped)
    assert extensions == {}
    frames = [
        frame
        for level in reversed(range(len(levels)))
        for ref in levels[level]
        for frame in frames_below(store, escaped, level, ref)
    ]
    running = bytes(32)
    events: list[Any] = []
    before, last = None, None
    for number, frame in enumerate([*frames, *tail]):
        if number == len(frames):
            assert sealed == [len(events), last, running]
        assert frame[:4] == zlib.crc32(frame[4:]).to_bytes(4, "big")
        running = hashlib.sha256(running + frame).digest()
        identity, follows_id, follows, _micros, key, rows = msgspec.msgpack.decode(frame[4:])
        assert follows == len(events)
        assert follows_id == last
        assert key == f"key-{number}"
        before, last = last, identity
        for type_, data, metadata, event_id in rows:
            plain = json.loads(data) if isinstance(data, str) else shown(data)
            events.append(
                [len(events) + 1, type_, plain, json.loads(metadata or "{}"), event_id, str(UUID(bytes=identity))]
            )
    assert (version, newest, parent, digest) == (len(events), last, before, running)
    return events


# --- the tests -----------------------------------------------------------------------------------------------------


def test_there_is_a_store_of_every_format():
    """A new format gets a committed store."""
    assert [folder.name for folder in FORMATS] == ["format-1"]


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_the_page_is_enough_to_read_a_store(folder: Path):
    """No code of headstream is needed."""
    store = objects(folder / "store")
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    assert json.loads(store["store.json"])["format"] == 1
    streams = {
        unescape(key.removeprefix("heads/")): key.removeprefix("heads/") for key in store if key.startswith("heads/")
    }
    assert streams.keys() == expected.keys()
    for stream, escaped in streams.items():
        assert read_stream(store, escaped) == expected[stream]
    assert any(key.startswith("index/") and "/2-" in key for key in store)


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_intents_are_as_the_page_says(folder: Path):
    """One for each changeset, with the version that it follows and the objects written for it."""
    store = objects(folder / "store")
    inbox = {key: envelope(body, "intent")[0] for key, body in store.items() if key.startswith("inbox/")}
    announced = {key for fields in inbox.values() for key in fields[4]}
    for key, (identity, _stream, follows, micros, _objects) in inbox.items():
        assert key == f"inbox/{identity.hex()}"
        assert isinstance(follows, int)
        assert micros // 1000 == int.from_bytes(identity[:6], "big")
    assert announced == {key for key in store if key.startswith(("segments/", "index/"))}


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_headstream_reads_and_extends_it(folder: Path, tmp_path: Path):
    """What was written by an older version is found, and appended to."""
    shutil.copytree(folder / "store", tmp_path / "store")
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    with connect((tmp_path / "store").as_uri(), create=False) as store:
        assert list(store.streams()) == sorted(expected)
        for stream, events in expected.items():
            found = [
                [
                    event.version,
                    event.type,
                    shown(event.data),
                    event.metadata,
                    event.id,
                    str(event.changeset_id),
                ]
                for event in store.read(stream)
            ]
            assert found == events
            assert store.append(stream, Event("More"), expected=len(events)).version == len(events) + 1
