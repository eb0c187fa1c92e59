"""Copies in memory: the least recently used give way, and no more is kept than was allowed."""

from __future__ import annotations

import os
import threading

import pytest

from headstream.backends.objects import OVERHEAD, MemoryObjects
from headstream.protocol.ops import Found

ROOM = 3 * (OVERHEAD + 10)


def found(text: str = "") -> Found:
    """An object of ten bytes."""
    return Found(text.ljust(10).encode(), f"etag of {text}", {"aggregateid": text})


def test_what_was_put_is_got() -> None:
    """Whole, with etag and metadata; and nothing else."""
    objects = MemoryObjects(ROOM)
    objects.put("segments/a", found("a"))
    assert objects.get("segments/a") == found("a")
    assert objects.get("segments/b") is None
    assert not objects.blocks


def test_the_least_recently_used_gives_way() -> None:
    """Being got is being used."""
    objects = MemoryObjects(ROOM)
    for name in "abc":
        objects.put(name, found(name))
    objects.get("a")
    objects.put("d", found("d"))
    assert [name for name in "abcd" if objects.get(name)] == ["a", "c", "d"]


def test_room_is_counted_in_bytes() -> None:
    """One large object takes the place of several; one that is too large is not kept, and nothing lost for it."""
    objects = MemoryObjects(ROOM)
    for name in "abc":
        objects.put(name, found(name))
    objects.put("too large", Found(bytes(ROOM), "1"))
    assert objects.get("too large") is None
    assert all(objects.get(name) for name in "abc")
    objects.put("large", Found(bytes(ROOM - OVERHEAD), "1"))
    assert [name for name in ("a", "b", "c", "large") if objects.get(name)] == ["large"]


def test_a_copy_is_replaced_and_counted_once() -> None:
    """As when two threads got the same object."""
    objects = MemoryObjects(ROOM)
    for _ in range(5):
        objects.put("a", found("a"))
    objects.put("b", found("b"))
    objects.put("c", found("c"))
    assert all(objects.get(name) for name in "abc")


def test_dropped_and_cleared() -> None:
    """They leave their room to others."""
    objects = MemoryObjects(ROOM)
    for name in "abc":
        objects.put(name, found(name))
    objects.drop("a")
    objects.drop("nothing")
    objects.put("d", found("d"))
    assert [name for name in "abcd" if objects.get(name)] == ["b", "c", "d"]
    objects.clear()
    assert not any(objects.get(name) for name in "abcd")
    for name in "abc":
        objects.put(name, found(name))
    assert all(objects.get(name) for name in "abc")


def test_many_threads() -> None:
    """The count of bytes stays right, whoever comes in between."""
    objects = MemoryObjects(ROOM)

    def work(number: int) -> None:
        for turn in range(300):
            name = str((number + turn) % 7)
            objects.put(name, found(name))
            objects.drop(str(turn % 7))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert objects._size == (OVERHEAD + 10) * len(objects._objects) <= ROOM


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_anew() -> None:
    """It does not wait for a thread that is in the parent."""
    objects = MemoryObjects(ROOM)
    objects.put("a", found("a"))
    with objects._lock:
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if objects.get("a") is None else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert objects.get("a") == found("a")
