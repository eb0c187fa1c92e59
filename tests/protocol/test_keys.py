"""Keys: the five properties of the escaping, and the layout of a store."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData
from headstream.protocol import keys

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
"""Any text that is one: without lone surrogates."""
ASCII_NAMES = st.text(st.characters(max_codepoint=0x80), min_size=1, max_size=12)
"""Where all the seams between the leads are."""
ANY_NAMES = NAMES | ASCII_NAMES
IDENT = bytes(range(16))
EVERY_CODE_POINT_UP_TO_ONE_BYTE = "".join(map(chr, range(0x80)))


@given(ANY_NAMES)
@example(EVERY_CODE_POINT_UP_TO_ONE_BYTE)
def test_reversible(name):
    """Two names never share a key, since each key gives back its name."""
    assert keys.unescape(keys.escape(name)) == name


@given(ANY_NAMES, ANY_NAMES)
@example("a", "a-")
@example("order", "order-1")
@example("z", "{")
@example("\x7f", "\x80")
@example("\uffff", "\U00010000")
def test_order_preserving(one, two):
    """Keys sort as names do: by code point, which is the order of UTF-8 bytes."""
    assert (keys.escape(one) < keys.escape(two)) == (one < two)
    assert (one < two) == (one.encode() < two.encode())


def test_order_preserving_for_every_pair_of_bytes():
    """Each of the 256 codes sorts where its byte does, and none begins another."""
    codes = keys._CODES
    assert list(codes) == sorted(codes)
    assert len(set(codes)) == 256
    assert not any(one != two and two.startswith(one) for one in codes for two in codes)


@given(ANY_NAMES, ANY_NAMES)
@example("order-", "order-1")
@example("order-1", "order-")
def test_prefix_preserving(one, two):
    """The names that begin with P are just those whose keys begin with the key of P."""
    assert keys.escape(one + two).startswith(keys.escape(one))
    assert keys.escape(two).startswith(keys.escape(one)) == two.startswith(one)


@given(ANY_NAMES)
@example(".")
@example("..")
@example("../../etc/passwd")
@example("a\\b")
def test_contained(name):
    """An escaped name has no slash, and is never a way out of its folder."""
    escaped = keys.escape(name)
    assert "/" not in escaped
    assert "\\" not in escaped
    assert escaped not in {"", ".", ".."}


@given(ANY_NAMES)
@example(EVERY_CODE_POINT_UP_TO_ONE_BYTE)
def test_portable(name):
    """Only characters that every service, SDK, shell and file system leaves alone."""
    assert re.fullmatch(r"[A-Za-z0-9!.=_~-]+", keys.escape(name))


@given(st.text(st.characters(max_codepoint=0x7F), max_size=20))
@example("!2")
@example("!2D")
@example("!2d")
@example("_")
@example("_4")
@example("~ff")
@example(".DS_Store")
def test_unescape_refuses_what_escape_never_made(escaped):
    """Either the one name that has this key, or ``ValueError``."""
    try:
        name = keys.unescape(escaped)
    except ValueError:
        return
    assert keys.escape(name) == escaped


def test_layout():
    """Where each kind of object lies."""
    hexadecimal = IDENT.hex()
    assert keys.head("order-1/é") == "heads/order-1.2f~c3~a9"
    assert keys.segment("s", 42, IDENT) == f"segments/s/0000000000000042-{hexadecimal}"
    assert keys.page("s", 2, 42, IDENT) == f"index/s/2-0000000000000042-{hexadecimal}"
    assert keys.intent(IDENT, 42, "order-1/é") == f"inbox/{hexadecimal}-42-order-1.2f~c3~a9"
    assert keys.checkpoint("worker 1") == "checkpoints/worker!201"
    assert keys.probe(IDENT) == f"probes/{hexadecimal}"
    assert keys.STORE == "store.json"


def test_the_longest_keys_fit_everywhere():
    """S3 and GCS take 1,024 bytes, the longest path of a store and a slash included."""
    name = "é" * (limits.MAX_STREAM_NAME // 2)
    longest = max(
        keys.segment(name, limits.MAX_VERSION, IDENT),
        keys.page(name, limits.MAX_LEVELS, limits.MAX_VERSION, IDENT),
        keys.head(name),
        keys.intent(IDENT, limits.MAX_VERSION, name),
        keys.checkpoint(name),
        key=len,
    )
    assert limits.MAX_PREFIX + 1 + len(longest) <= 1024
    assert len(longest) <= 1000


def test_segments_sort_by_version():
    """With 16 digits the order of keys is the order of versions, up to the greatest."""
    versions = [1, 9, 10, 99, 12_345, limits.MAX_VERSION]
    listed = [keys.segment("s", version, IDENT) for version in versions]
    assert sorted(listed) == listed


@given(ANY_NAMES)
def test_a_heads_key_names_its_stream(name):
    """Listing heads lists streams."""
    assert keys.stream_of_head(keys.head(name)) == name


@pytest.mark.parametrize("key", ["heads/.DS_Store", "heads/a b", "heads/~ff", "heads/!2"])
def test_a_stranger_among_the_heads(key):
    """An object that no stream can have is reported, by its key."""
    with pytest.raises(CorruptData) as caught:
        keys.stream_of_head(key)
    assert caught.value.key == key
