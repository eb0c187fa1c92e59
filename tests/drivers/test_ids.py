"""Ids: UUIDv7, in the order of time, never the same twice."""

from __future__ import annotations

import time
from uuid import RFC_4122, UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headstream import limits
from headstream.drivers.ids import stamp, stamped, uuid7, uuid7_above
from headstream.errors import InvalidInput

NANOS = st.integers(0, 2**48 * 1_000_000 - 1)
THIS_AGE = st.integers(0, 2**47 * 1_000_000)
"""Until the year 6429: after the very last millisecond of a UUIDv7 there is none."""
STORED = st.integers(0, limits.MAX_MICROS * 1000 + 999)
"""Nanoseconds of all times that can be stored."""
CHANCE = st.integers(0, 2**80 - 1)


@given(NANOS, CHANCE)
def test_every_id_is_a_uuid_of_version_7(nanos, chance):
    """As RFC 9562 lays it out: milliseconds, version, chance, variant, chance."""
    made = UUID(bytes=uuid7(nanos, chance))
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == nanos // 1_000_000


@given(NANOS, CHANCE, NANOS, CHANCE)
def test_ids_sort_by_milliseconds(one, chance, other, other_chance):
    """Whatever the chance in them."""
    first, second = uuid7(one, chance), uuid7(other, other_chance)
    if one // 1_000_000 != other // 1_000_000:
        assert (first < second) == (one < other)


@given(NANOS, CHANCE, CHANCE)
def test_74_bits_of_chance_tell_ids_apart(nanos, one, other):
    """Two ids of one moment are equal only if those bits are."""
    used = ((1 << 80) - 1) ^ (0x3F << 62)
    assert (uuid7(nanos, one) == uuid7(nanos, other)) == (one & used == other & used)


def test_the_example_of_the_rfc():
    """RFC 9562, appendix A.6."""
    chance = 0xCC3 << 68 | 0x18C4DC0C0C07398F
    assert UUID(bytes=uuid7(0x017F22E279B0 * 1_000_000, chance)) == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


def test_stamps_are_now_and_unique():
    """The time is that of this machine, and the same as in the id."""
    before = time.time_ns() // 1000
    stamps = [stamp() for _ in range(2000)]
    after = time.time_ns() // 1000
    assert len({one.id for one in stamps}) == 2000
    assert all(before <= one.micros <= after for one in stamps)
    assert all(UUID(bytes=one.id).int >> 80 == one.micros // 1000 for one in stamps)


@given(THIS_AGE, CHANCE, CHANCE)
def test_an_id_above_another(nanos, chance, more):
    """Of version 7 as well, and of the same millisecond as long as that has room."""
    before = uuid7(nanos, chance)
    above = uuid7_above(before, more)
    made = UUID(bytes=above)
    assert above > before
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 in {nanos // 1_000_000, nanos // 1_000_000 + 1}


def test_an_id_above_the_last_of_its_millisecond():
    """The next millisecond is used."""
    last = uuid7(5_000_000, 2**80 - 1)
    assert UUID(bytes=uuid7_above(last, 0)).int >> 80 == 6


@given(THIS_AGE, STORED, CHANCE, CHANCE)
def test_stamps_are_above_what_they_follow(before, nanos, chance, more):
    """Whatever the clock says; if it goes forward, the id is of the time that it says."""
    after = uuid7(before, chance)
    made = stamped(nanos, lambda: more, after)
    assert made.id > after
    assert made.micros == nanos // 1000
    if nanos // 1_000_000 > before // 1_000_000:
        assert made.id == uuid7(nanos, more)


def test_a_stamp_above_an_id_of_the_future():
    """A writer whose clock is late, after one whose clock is early."""
    future = uuid7(time.time_ns() + 3600 * 10**9, 7)
    stamps = [stamp(future) for _ in range(100)]
    assert all(one.id > future for one in stamps)
    assert len({one.id for one in stamps}) == 100
    assert all(one.micros * 1000 <= time.time_ns() for one in stamps)


@given(st.integers(-(2**63), 2**64) | st.integers(-(10**30), 10**30))
@example(-1)
@example(0)
@example(limits.MAX_MICROS * 1000 + 999)
@example(limits.MAX_MICROS * 1000 + 1000)
def test_a_clock_is_right_or_refused(nanos):
    """Nothing is masked: a time that a decoder would refuse is not stamped, and the clock is named."""
    if 0 <= nanos // 1000 <= limits.MAX_MICROS:
        made = stamped(nanos, lambda: 7, None)
        assert (made.micros, int.from_bytes(made.id[:6], "big")) == (nanos // 1000, nanos // 1_000_000)
    else:
        with pytest.raises(InvalidInput, match=r"clock shows a time before 1970 or after 2286.*set the clock"):
            stamped(nanos, lambda: 7, None)


def test_above_the_last_id_there_is_none():
    """It is said, and no lower one is made."""
    with pytest.raises(InvalidInput, match="the last id that there can be"):
        uuid7_above(uuid7(2**48 * 1_000_000 - 1, 2**80 - 1), 0)
