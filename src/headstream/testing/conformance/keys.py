"""Keys: every one that :mod:`headstream.backends.base` allows is kept apart from every other."""

from __future__ import annotations

import string

import pytest

from headstream.backends.base import Backend
from headstream.protocol.ops import ABSENT, REFUSED, Matches, Put
from headstream.testing.conformance.support import LONGEST, Checks, fill, found, in_order, is_missing, paged, store

ALLOWED = string.ascii_letters + string.digits + "!-.=_~"

AWKWARD = (
    # escapes of an escape, and what a service or a file system might decode, encode or fold
    "heads/a~c3~a9",
    "heads/a!c3!a9",
    "heads/a=c3=a9",
    "heads/a.c3.a9",
    "heads/.2e",
    "heads/x.2f",
    "heads/x!2f",
    "heads/order!20",
    "heads/!20order",
    "heads/order-1!20!20",
    # case
    "heads/A",
    "heads/a",
    "heads/ab!2F",
    "heads/ab!2f",
    # names that Windows reserves, and files that tools make
    "heads/con",
    "heads/nul.2etxt",
    "heads/com1",
    "heads/.tmp",
    "heads/a.tmp",
    "heads/~a",
    "heads/a~",
    "heads/.gitignore",
    "heads/-rf",
    "heads/...a",
    "heads/a=b=c",
    "heads/__azure_tmp__",
    "heads/a.lock",
    # depth
    "store.json",
    "a/b/c/d/e/f/g/h/i",
    "A/b",
    "0/0000000000000001-01890a5d-ac96-774b-bcce-b302099a8057",
)


class KeyChecks(Checks):
    """Which keys there are."""

    def test_every_allowed_character_is_kept(self, backend: Backend) -> None:
        """Each allowed character, at the start, in the middle and at the end of a segment, makes a key of its own."""
        keys = [f"heads/{place}" for char in ALLOWED for place in (f"{char}x", f"x{char}x", f"x{char}")]
        keys = [key for key in dict.fromkeys(keys) if not key.endswith(".")]
        fill(backend, keys)
        for key in keys:
            assert found(backend, key).body == key.encode()
        assert paged(backend) == in_order(keys)

    def test_awkward_keys_are_kept_apart(self, backend: Backend) -> None:
        """Keys that look like escapes, paths, cases or reserved names of something else are just keys."""
        for key in AWKWARD:
            assert is_missing(backend, key), key
            store(backend, key, key.encode())
        for key in AWKWARD:
            assert found(backend, key).body == key.encode()
        assert paged(backend) == in_order(AWKWARD)
        backend.delete(AWKWARD[::2])
        assert paged(backend) == in_order(AWKWARD[1::2])

    @pytest.mark.parametrize("start", ["", "segments/", "0123456789/" * 60])
    def test_the_longest_keys_are_kept(self, backend: Backend, start: str) -> None:
        """Keys of the greatest length, of one segment, two or many, are like others, and differ to the last byte."""
        rest = min(LONGEST - len(start), self.longest_segment)
        keys = [start + "x" * (rest - 1) + last for last in "ABab~"]
        etags = {key: store(backend, key, key[-1].encode()) for key in keys}
        assert paged(backend, start) == keys
        for key in keys:
            assert found(backend, key).body == key[-1].encode()
            store(backend, key, b"swapped " + key[-1].encode(), Matches(etags[key]))
            assert backend.commit((), Put(key, b"", ABSENT)) == REFUSED
        backend.delete(keys[:4])
        assert paged(backend) == keys[4:]
