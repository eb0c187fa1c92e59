"""Bells: who follows a store hears of appends of the same process, for as long as it exists."""

from __future__ import annotations

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from headstream import Event, bells, connect
from headstream.bells import Bell, bell_of
from support.backends import Watched
from support.embedded import in_child


class Listener:
    """Counts."""

    def __init__(self) -> None:
        self.heard = 0

    def call(self) -> None:
        """The bell rang."""
        self.heard += 1


def test_every_listener_hears_every_ring():
    """Until it leaves."""
    bell, one, other = Bell(), Listener(), Listener()
    bell.ring()
    bell.listen(one.call)
    bell.listen(other.call)
    bell.ring()
    bell.leave(one.call)
    bell.ring()
    bell.leave(one.call)
    assert (one.heard, other.heard) == (1, 2)


def test_a_listener_is_not_kept_alive():
    """A subscription that somebody forgot to close costs nothing for long."""
    bell, one, other = Bell(), Listener(), Listener()
    bell.listen(one.call)
    bell.listen(other.call)
    del one
    gc.collect()
    bell.ring()
    assert other.heard == 1
    bell.listen(Listener().call)
    assert len(bell._listeners) == 2
    bell.leave(other.call)
    assert bell._listeners == ()


def test_leaving_in_the_middle_of_leaving():
    """As a signal handler does that closes a subscription which is being closed."""
    bell, one = Bell(), Listener()
    bell.listen(one.call)
    with bell._lock:
        bell.leave(one.call)
    bell.ring()
    assert one.heard == 0


def test_a_store_has_one_bell():
    """All its clients share it, and another store has another; when nobody has it, it is gone."""
    store_id = uuid4()
    bell = bell_of(store_id)
    assert bell_of(store_id) is bell
    assert bell_of(uuid4()) is not bell
    one = Listener()
    bell.listen(one.call)
    del bell
    gc.collect()
    bell_of(store_id).ring()
    assert one.heard == 0


def test_clients_that_connect_at_once_share_a_bell():
    """Whichever of them made it."""
    store_id = uuid4()
    together = threading.Barrier(8, timeout=30)

    def get(_client: int) -> Bell:
        together.wait()
        return bell_of(store_id)

    with ThreadPoolExecutor(8) as pool:
        bells = list(pool.map(get, range(8)))
    assert len(set(map(id, bells))) == 1


def test_an_append_rings():
    """Of any client of the store, when it is durable; one that fails does not."""
    backend, listener = Watched(), Listener()
    with connect(backend) as one, connect(backend) as other:
        bell = bell_of(one.store_id)
        bell.listen(listener.call)
        one.append("s", Event("E"))
        assert listener.heard == 1
        other.append("s", Event("E"), publish=True)
        assert listener.heard == 2
        with pytest.raises(ValueError, match="not none"):
            other.append("s", [])
        assert listener.heard == 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_child_has_bells_of_its_own():
    """Its appends ring for nobody of the parent, whatever locks were held."""
    store_id, listener = uuid4(), Listener()
    bell = bell_of(store_id)
    bell.listen(listener.call)

    def ring() -> None:
        assert bell_of(store_id) is bell
        bell.ring()
        assert listener.heard == 0
        bell.listen(listener.call)
        bell.ring()
        assert listener.heard == 1

    held = threading.Event()
    over = threading.Event()

    def hold() -> None:
        with bell._lock, bells._bells._lock:
            held.set()
            over.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    try:
        assert in_child(ring) == 0
    finally:
        over.set()
        holder.join()
    bell.ring()
    assert listener.heard == 1
