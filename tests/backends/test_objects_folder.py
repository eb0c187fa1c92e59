"""Copies in a folder: bounded, private, shared by processes, and never believed when they are damaged."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from uuid import UUID

import pytest

from headstream import InvalidInput
from headstream.backends.objects_folder import FolderObjects
from headstream.protocol.ops import Found

STORE = UUID(int=1)
ODD = ("segments/a/1", "segments/../../etc/passwd", "segments/CON", "segments/a" * 90, "segments/ä\n", "/", "")


def found(text: str = "") -> Found:
    """An object."""
    return Found(text.encode() * 100, f"etag of {text}", {"aggregateid": text})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "cache" / "of" / "objects"


@pytest.fixture
def objects(folder: Path) -> FolderObjects:
    """A cache that has room for all that a test puts into it."""
    return FolderObjects(folder, 1 << 20, STORE)


def files(folder: Path) -> list[Path]:
    """All files in it."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def test_what_was_put_is_got(objects, folder):
    """Whole, with etag and metadata; also by a later client, and by no other store's."""
    assert objects.get("segments/a") is None
    objects.put("segments/a", found("a"))
    objects.put("segments/b", Found(b"", "2"))
    for again in (objects, FolderObjects(str(folder), 1 << 20, STORE)):
        assert again.get("segments/a") == found("a")
        assert again.get("segments/b") == Found(b"", "2")
        assert again.blocks
    assert FolderObjects(folder, 1 << 20, UUID(int=2)).get("segments/a") is None


def test_another_process_shares_it(objects, folder):
    """Names and content do not depend on the process."""
    script = (
        "import sys; from uuid import UUID; from headstream.backends.objects_folder import FolderObjects;"
        "from headstream.protocol.ops import Found;"
        "FolderObjects(sys.argv[1], 1 << 20, UUID(int=1)).put('segments/a', Found(b'theirs', '1'))"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True, timeout=60)
    assert objects.get("segments/a") == Found(b"theirs", "1")


def test_odd_keys_are_files_in_the_folder(objects, folder, tmp_path):
    """Whatever is in a key, no file is outside, and no two share one."""
    for key in ODD:
        objects.put(key, found(key))
    assert [objects.get(key) for key in ODD] == [found(key) for key in ODD]
    assert len(files(folder)) == len(ODD)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder] == []


@pytest.mark.skipif(os.name == "nt", reason="no modes there")
def test_only_its_owner_can_read_it(objects, folder):
    """Events are in it."""
    objects.put("segments/a", found("a"))
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o077 for path in files(folder)] == [0]


@pytest.mark.parametrize("at", [0, 15, 16, 40, -1])
def test_damage_is_found(objects, folder, caplog, at):
    """Any changed byte: the copy is removed, and the object will be got again."""
    caplog.set_level(logging.INFO, "headstream.cache")
    objects.put("segments/a", found("a"))
    (path,) = files(folder)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert objects.get("segments/a") is None
    assert files(folder) == []
    assert caplog.messages == ["a damaged copy of segments/a was removed from the cache"]
    objects.put("segments/a", found("a"))
    assert objects.get("segments/a") == found("a")


@pytest.mark.parametrize("length", [0, 7, 16, 100])
def test_a_file_cut_short_is_found(objects, folder, length):
    """As a crash of the machine may leave it."""
    objects.put("segments/a", found("a"))
    (path,) = files(folder)
    path.write_bytes(path.read_bytes()[:length])
    assert objects.get("segments/a") is None
    assert files(folder) == []


def test_a_copy_in_another_ones_place_is_found(objects, folder):
    """A copy knows its key."""
    objects.put("segments/a", found("a"))
    (a,) = files(folder)
    objects.put("segments/b", found("b"))
    (b,) = {*files(folder)} - {a}
    b.write_bytes(a.read_bytes())
    assert objects.get("segments/b") is None
    assert objects.get("segments/a") == found("a")


def test_a_copy_of_another_layout_is_removed(objects, folder):
    """Of a later version that keeps something else, with a checksum that holds."""
    objects.put("segments/a", found("a"))
    (path,) = files(folder)
    record = b"\x93\x01\x02\x03"
    path.write_bytes(blake2b(record, digest_size=16).digest() + record)
    assert objects.get("segments/a") is None
    assert files(folder) == []


def test_the_least_recently_used_give_way(folder):
    """When there is too much in the folder; being got is being used."""
    objects = FolderObjects(folder, 20_000, STORE)
    for number in range(10):
        objects.put(f"segments/{number}", Found(bytes(1500), "1"))
        os.utime(objects._path(f"segments/{number}"), (number, number))
    assert objects.get("segments/0") is not None
    for number in range(10, 14):
        objects.put(f"segments/{number}", Found(bytes(1500), "1"))
    left = [number for number in range(14) if objects.get(f"segments/{number}")]
    assert left[0] == 0
    assert left[-4:] == [10, 11, 12, 13]
    assert 9 <= len(left) < 14


def test_the_folder_is_bounded_by_all_that_use_it(folder):
    """Two clients that cannot see each other's counts; each adds a tenth of the capacity at most before it looks."""
    clients = [FolderObjects(folder, 50_000, STORE) for _ in range(2)]
    for number in range(200):
        clients[number % 2].put(f"segments/{number}", Found(bytes(1000), "1"))
        assert sum(path.stat().st_size for path in files(folder)) <= 50_000 + 2 * 5_000 + 2_200


def test_a_smaller_cache_makes_room_at_once(folder):
    """When it is opened."""
    objects = FolderObjects(folder, 1 << 20, STORE)
    for number in range(20):
        objects.put(f"segments/{number}", Found(bytes(1000), "1"))
    FolderObjects(folder, 5_000, STORE)
    assert sum(path.stat().st_size for path in files(folder)) <= 5_000


def test_what_is_too_large_is_not_kept(folder):
    """And nothing is removed for it."""
    objects = FolderObjects(folder, 3_000, STORE)
    objects.put("segments/a", found("a"))
    objects.put("segments/b", Found(bytes(3_000), "1"))
    assert objects.get("segments/b") is None
    assert objects.get("segments/a") is not None


def test_dropped_and_cleared(objects, folder):
    """No file is left of them; other people's files are left alone."""
    (folder / "notes.txt").write_text("mine")
    (folder / "0.object").write_text("mine too")
    for name in "abc":
        objects.put(name, found(name))
    objects.drop("a")
    objects.drop("nothing")
    assert [objects.get(name) for name in "abc"] == [None, found("b"), found("c")]
    objects.clear()
    assert [path.name for path in files(folder)] == ["0.object", "notes.txt"]
    FolderObjects(folder, 1, STORE)
    assert [path.name for path in files(folder)] == ["0.object", "notes.txt"]


def test_leftovers_of_a_crash_are_removed(objects, folder):
    """Temporary files, when they are too old to be in use."""
    old, new = (folder / f"{letter * 40}.abcd_123.tmp" for letter in "ab")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    FolderObjects(folder, 1 << 20, STORE)
    assert files(folder) == [new]


@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_a_folder_that_cannot_be(tmp_path, kind):
    """Is refused at once, with a reason."""
    taken = tmp_path / "taken"
    taken.write_text("")
    with pytest.raises(InvalidInput, match="object_cache must name a folder that this process can write to: "):
        FolderObjects(taken if kind == "file" else taken / "below", 1000, STORE)


def test_a_disk_that_fails_costs_no_read(objects, folder, caplog, monkeypatch):
    """What cannot be kept is got again; it is said once, and nothing half-written stays."""
    objects.put("segments/a", found("a"))

    def fail(*_args: object, **_options: object) -> int:
        raise OSError(28, "No space left on device")

    class Full(FileIO):
        write = fail

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", fail)
        objects.put("segments/b", found("b"))
        broken.setattr("headstream.backends.objects_folder.open", Full, raising=False)
        objects.put("segments/c", found("c"))
        broken.setattr(Path, "read_bytes", fail)
        assert objects.get("segments/a") is None
        broken.setattr(Path, "unlink", fail)
        objects.drop("segments/a")
    assert caplog.messages == ["the object cache does not work, and is done without: No space left on device"]
    assert len(files(folder)) == 1
    assert objects.get("segments/a") == found("a")


def test_a_folder_that_vanishes(objects, folder, caplog):
    """As when somebody cleans up: the same."""
    objects.put("segments/a", found("a"))
    for path in files(folder):
        path.unlink()
    folder.rmdir()
    assert objects.get("segments/a") is None
    objects.put("segments/a", found("a"))
    objects.drop("segments/a")
    objects.clear()
    assert len(caplog.messages) == 1


def test_a_file_that_vanishes_while_room_is_made(folder, monkeypatch):
    """Another process makes room too: it is no longer counted."""
    objects = FolderObjects(folder, 1 << 20, STORE)
    objects.put("segments/a", found("a"))
    entries = list(objects._files())
    files(folder)[0].unlink()
    monkeypatch.setattr(objects, "_files", lambda: iter(entries))
    objects._prune()
    assert files(folder) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_wait(objects):
    """For a thread that is in the parent."""
    with objects._lock:
        child = os.fork()
        if child == 0:
            try:
                objects.put("segments/a", found("a"))
                os._exit(0 if objects.get("segments/a") == found("a") else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert objects.get("segments/a") == found("a")
