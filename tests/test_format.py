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

from headstream import Decider, Event, Snapshots, connect, limits
from headstream.protocol import checkpoint

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


def read_frames(store: dict[str, bytes], escaped: str) -> tuple[list[Any], list[Any]]:
    """The fields of a head, and every changeset; with all that the page promises about the list on the way."""
    fields, tail = envelope(store[f"heads/{escaped}"], "head")
    name, version, newest, parent, digest, _fence, sealed, levels, extensions = fields
    assert name == unescape(escaped)
    assert set(extensions) <= {"packed_tail", "settled" if name == "$feed" else "snapshots"}
    if "packed_tail" in extensions:
        tail = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(extensions["packed_tail"])) + tail
    frames = [
        frame
        for level in reversed(range(len(levels)))
        for ref in levels[level]
        for frame in frames_below(store, escaped, level, ref)
    ]
    running = bytes(32)
    changesets: list[Any] = []
    reached, before, last = 0, None, None
    for number, frame in enumerate([*frames, *tail]):
        if number == len(frames):
            assert sealed == [reached, last, running]
        assert frame[:4] == zlib.crc32(frame[4:]).to_bytes(4, "big")
        running = hashlib.sha256(running + frame).digest()
        changeset = msgspec.msgpack.decode(frame[4:])
        identity, follows_id, follows, _micros, _key, rows = changeset
        assert (follows, follows_id) == (reached, last)
        assert last is None or identity > last, "ids increase within a stream"
        reached += len(rows)
        before, last = last, identity
        changesets.append(changeset)
    assert (version, newest, parent, digest) == (reached, last, before, running)
    return fields, changesets


def read_stream(store: dict[str, bytes], escaped: str) -> list[Any]:
    """Every event of an application's stream."""
    _, changesets = read_frames(store, escaped)
    events: list[Any] = []
    for number, (identity, _parent, follows, _micros, key, rows) in enumerate(changesets):
        assert key == f"key-{number}"
        for version, (type_, data, metadata, own) in enumerate(rows, follows + 1):
            plain = json.loads(data) if isinstance(data, str) else shown(data)
            events.append([version, type_, plain, json.loads(metadata or "{}"), own, str(UUID(bytes=identity))])
    return events


def read_feed(store: dict[str, bytes]) -> tuple[list[Any], set[bytes]]:
    """Every event of the feed, and what its newest frame settled."""
    fields, changesets = read_frames(store, "!24feed")
    events = [row for changeset in changesets for row in changeset[5]]
    assert all(changeset[4] is None for changeset in changesets)
    assert [row[8] for row in events] == list(range(1, len(events) + 1))
    settled = fields[8]["settled"]
    assert set(settled) == {row[6] for row in changesets[-1][5]}
    return events, set(settled)


def exists(store: dict[str, bytes], escaped: str) -> bool:
    """Whether there is a stream, and not only a head that was fenced before there was one."""
    fields, tail = envelope(store[f"heads/{escaped}"], "head")
    if fields[1]:
        return True
    assert fields[2:5] == [None, None, bytes(32)]
    assert fields[5] >= 1
    assert fields[6:] == [[0, None, bytes(32)], [], {}]
    assert tail == []
    return False


def inbox_of(store: dict[str, bytes]) -> list[tuple[bytes, int, str]]:
    """What the keys of the inbox say: id, version and stream of each intent."""
    found = []
    for key in sorted(store):
        if key.startswith("inbox/"):
            identity, follows, escaped = key.removeprefix("inbox/").split("-", 2)
            found.append((bytes.fromhex(identity), int(follows), unescape(escaped)))
    return found


def contents(folder: Path) -> dict[str, Any]:
    """What is in a store, as its writer says."""
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return expected


# --- the tests -----------------------------------------------------------------------------------------------------

every_format = pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)


def test_there_is_a_store_of_every_format():
    """A new format gets a committed store, and so does what a format learns later.

    ``wide`` has compressed tails and kept states; ``marks`` has checkpoints of seven fields, and states with fingerprints.
    """
    assert [folder.name for folder in FORMATS] == ["format-1", "format-1-marks", "format-1-wide"]


@every_format
def test_the_page_is_enough_to_read_a_store(folder: Path):
    """No code of headstream is needed."""
    store = objects(folder / "store")
    expected = contents(folder)
    assert json.loads(store["store.json"])["format"] == 1
    heads = [key.removeprefix("heads/") for key in store if key.startswith("heads/")]
    streams = {unescape(escaped): escaped for escaped in heads if escaped != "!24feed"}
    assert {stream for stream, escaped in streams.items() if not exists(store, escaped)} == set(expected["fenced"])
    assert streams.keys() == expected["streams"].keys() | set(expected["fenced"])
    for stream, events in expected["streams"].items():
        assert read_stream(store, streams[stream]) == events
    assert any(key.startswith("index/") and "/2-" in key for key in store)
    packed = [escaped for escaped in heads if "packed_tail" in envelope(store[f"heads/{escaped}"], "head")[0][8]]
    assert bool(packed) == (folder.name != "format-1")


@every_format
def test_the_page_is_enough_to_read_the_feed(folder: Path):
    """Each event is there once, the same as in its stream, in the order of its stream; all but what still waits in the inbox."""
    store = objects(folder / "store")
    expected = contents(folder)
    events, settled = read_feed(store)
    assert [[position, stream, version] for stream, version, *_, position in events] == expected["feed"]
    for stream, version, type_, data, metadata, own, identity, _micros, _position in events:
        plain = json.loads(data) if isinstance(data, str) else shown(data)
        row = [version, type_, plain, json.loads(metadata or "{}"), own, str(UUID(bytes=identity))]
        assert expected["streams"][stream][version - 1] == row
    published = {row[6] for row in events}
    waiting = {identity for identity, _, _ in inbox_of(store)} - settled
    assert not waiting & published
    for stream, rows in expected["streams"].items():
        there = [row for row in events if row[0] == stream]
        assert [row[1] for row in there] == list(range(1, len(there) + 1))
        late = {UUID(row[5]).bytes for row in rows[len(there) :]}
        assert late <= waiting
        assert bool(late) == (stream in expected["unpublished"])
    assert any(key.startswith("index/!24feed/") for key in store)
    fields, tail = envelope(store["heads/!24feed"], "head")
    assert tail or "packed_tail" in fields[8]


@every_format
def test_intents_are_as_the_page_says(folder: Path):
    """Key and body agree; each names what was written for it; some were settled, and wait only to be removed."""
    store = objects(folder / "store")
    _, settled = read_feed(store)
    names = inbox_of(store)
    bodies = [envelope(store[key], "intent")[0] for key in sorted(store) if key.startswith("inbox/")]
    for (identity, follows, stream), fields in zip(names, bodies, strict=True):
        assert fields[:3] == [identity, stream, follows]
        assert fields[3] // 1000 == int.from_bytes(identity[:6], "big")
        assert fields[4] == [
            key
            for key in sorted(store, reverse=True)
            if key.startswith(("segments/", "index/")) and identity.hex() in key
        ]
    assert {identity for identity, _, _ in names} > settled
    assert any(fields[4] for fields in bodies)


@every_format
def test_checkpoints_are_as_the_page_says(folder: Path):
    """Under the escaped name: how far, and who."""
    store = objects(folder / "store")
    found = {}
    for key in store:
        if key.startswith("checkpoints/"):
            (fields,) = envelope(store[key], "checkpoint")
            name, identity, position, owner, micros, *later = fields
            assert unescape(key.removeprefix("checkpoints/")) == name
            assert micros // 1000 == int.from_bytes(identity[:6], "big")
            assert len(later) == (2 if folder.name == "format-1-marks" else 0)
            changeset, released = later or [None, False]
            found[name] = [position, owner, *([changeset and changeset.hex(), released] if later else [])]
            if changeset is not None:
                _, changesets = read_frames(store, "!24feed")
                (holding,) = [frame for frame in changesets if frame[0] == changeset]
                assert holding[2] < position <= holding[2] + len(holding[5])
    assert found == contents(folder)["checkpoints"]


def test_a_checkpoint_of_five_fields_has_no_mark_and_is_not_released():
    """The bytes are written by hand, as the page says; headstream takes the missing fields as nil and false."""
    fields = b"\x95\xa1m\xc4\x10" + bytes(15) + b"\x07" + b"\x05\xa1o\xcd\x03\xe8"
    body = b"\x94\x01\xaacheckpoint\xc4\x04" + zlib.crc32(fields).to_bytes(4, "big")
    body += b"\xc4" + bytes([len(fields)]) + fields
    assert envelope(body, "checkpoint") == [["m", bytes(15) + b"\x07", 5, "o", 1000]]
    found = checkpoint.decode(body, "checkpoints/m", "e")
    assert (found.position, found.owner, found.changeset, found.released) == (5, "o", None, False)


@every_format
def test_a_raised_fence_changes_nothing_for_a_reader(folder: Path):
    """The stream and its digests are as ever; the head says how often it was raised."""
    store = objects(folder / "store")
    for stream, fence in contents(folder).get("fence", {}).items():
        (escaped,) = [key[6:] for key in store if key.startswith("heads/") and unescape(key[6:]) == stream]
        fields, changesets = read_frames(store, escaped)
        assert fields[5] == fence
        assert changesets


@every_format
def test_headstream_reads_and_extends_it(folder: Path, tmp_path: Path):
    """What was written by an older version is found, and appended to."""
    shutil.copytree(folder / "store", tmp_path / "store")
    expected = contents(folder)
    with connect((tmp_path / "store").as_uri(), create=False) as store:
        assert {name for name in store.streams() if store.head(name)} == expected["streams"].keys()
        for stream, events in expected["streams"].items():
            found = [
                [event.version, event.type, shown(event.data), event.metadata, event.id, str(event.changeset_id)]
                for event in store.read(stream)
            ]
            assert found == events
            assert store.append(stream, Event("More"), expected=len(events)).version == len(events) + 1
        for stream in expected["fenced"]:
            assert store.append(stream, Event("First"), expected=0).version == 1


@every_format
def test_headstream_goes_on_with_its_feed(folder: Path, tmp_path: Path):
    """What was in it keeps its position; what waited in the inbox follows; nothing comes twice; checkpoints go on."""
    shutil.copytree(folder / "store", tmp_path / "store")
    expected = contents(folder)
    with connect((tmp_path / "store").as_uri(), create=False) as store:
        before = [[event.position, event.stream, event.version] for event in store.feed(advance=False)]
        assert before == expected["feed"]
        for one in store.checkpoints():
            found = [one.position, one.owner, one.changeset and one.changeset.hex(), one.released]
            assert found[: len(expected["checkpoints"][one.name])] == expected["checkpoints"][one.name]
        assert {one.name for one in store.checkpoints()} == expected["checkpoints"].keys()
        after = list(store.feed())
        assert [[event.position, event.stream, event.version] for event in after[: len(before)]] == before
        for stream in expected["streams"]:
            assert [event for event in after if event.stream == stream] == list(store.read(stream))
        assert len(after) == sum(map(len, expected["streams"].values()))
        with store.subscribe(checkpoint="mailer", follow=False) as subscription:
            assert next(subscription).position == expected["checkpoints"]["mailer"][0] + 1
        assert not list((tmp_path / "store" / "inbox").iterdir())


# --- snapshots -------------------------------------------------------------------------------------------------------


def read_snapshots(store: dict[str, bytes], escaped: str) -> dict[tuple[str, int], tuple[int, bytes]]:
    """The version and the state of each decider, by its name and version."""
    fields, _ = envelope(store[f"heads/{escaped}"], "head")
    version, entries = fields[1], fields[8]["snapshots"]
    assert 1 <= len(entries) <= 8
    found = {}
    for name, number, at, size, inline, identity in entries:
        assert 1 <= at <= version
        assert (inline is None) != (identity is None)
        state = inline
        if identity is not None:
            fields, state = envelope(store[f"snapshots/{escaped}/{at:016d}-{identity.hex()}"], "snapshot")
            assert fields[:3] == [unescape(escaped), at, identity]
            assert fields[3] <= at
            assert fields[4:] == [name, number]
        assert len(state) == size
        found[name, number] = (at, state)
    assert len(found) == len(entries)
    assert sum(len(entry[4] or b"") for entry in entries) <= 4096
    return found


def without_fingerprint(state: bytes) -> bytes:
    """The state as its decider encodes it."""
    return state[9:] if state[:1] == b"\0" else state


@pytest.mark.parametrize("name", ["format-1-marks", "format-1-wide"])
def test_kept_states_of_committed_stores(name: str, tmp_path: Path):
    """Those with a fingerprint are of the type that headstream computes; those without are folded again."""
    store = objects(DATA / name / "store")
    states = read_snapshots(store, "kept")
    texts = [row[2]["text"] for row in contents(DATA / name)["streams"]["kept"]]
    assert {state[:1] for _, state in states.values()} == {b"[" if name == "format-1-wide" else b"\0"}
    for named in ("small", "large"):
        at, state = states[named, 1]
        assert json.loads(without_fingerprint(state)) == texts[:at]
    shutil.copytree(DATA / name / "store", tmp_path / "store")
    kept: Snapshots[list[str]] = Snapshots(list[str], every=2)
    decider = Decider(list[str], lambda s, event: [*s, event.data["text"]], name="large", snapshots=kept)
    with connect((tmp_path / "store").as_uri(), create=False) as opened:
        assert opened.load("kept", decider).state == texts


def test_the_page_is_enough_to_read_snapshots(tmp_path: Path):
    """Those in a head, and those that are objects; an intent names the object of its append."""
    large = "x" * limits.SNAPSHOT_INLINE

    def keeping(name: str, version: int) -> Decider[list[str], Event]:
        kept: Snapshots[list[str]] = Snapshots(list[str], every=1)
        return Decider(list[str], lambda s, event: [*s, event.data], name=name, version=version, snapshots=kept)

    with connect((tmp_path / "store").as_uri(), advance_every=0) as store:
        store.transact("a/é", keeping("small", 1), lambda _: [Event("E", "1"), Event("E", "2")])
        store.transact("a/é", keeping("é", 2), lambda _: Event("E", large))
        store.transact("a/é", keeping("é", 3), lambda _: Event("E", "4"))
    found = objects(tmp_path / "store")
    states = read_snapshots(found, "a.2f~c3~a9")
    assert {name: (at, without_fingerprint(state)) for name, (at, state) in states.items()} == {
        ("small", 1): (2, b'["1","2"]'),
        ("é", 2): (3, json.dumps(["1", "2", large], separators=(",", ":")).encode()),
        ("é", 3): (4, json.dumps(["1", "2", large, "4"], separators=(",", ":")).encode()),
    }
    announced = [envelope(body, "intent")[0][4] for key, body in sorted(found.items()) if key.startswith("inbox/")]
    named = [key for keys in announced for key in keys if key.startswith("snapshots/")]
    assert sorted(named) == sorted(key for key in found if key.startswith("snapshots/"))
    assert len(named) == 2
