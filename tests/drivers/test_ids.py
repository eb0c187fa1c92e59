"""Ids: UUIDv7, in the order of time, never the same twice."""

from __future__ import annotations

import time
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from headstream.drivers.ids import stamp, uuid7

NANOS = st.integers(0, 2**48 * 1_000_000 - 1)
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
