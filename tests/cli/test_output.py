"""How values are written for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from headstream.cli import output


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"), (2**60, "1024.0 PiB")],
)
def test_sizes_have_a_unit(number: int, text: str) -> None:
    """Of 1,024, and the largest one for whatever is larger."""
    assert output.size(number) == text


def test_counts_have_separators_and_a_plural() -> None:
    """As English has them."""
    texts = [output.count(1, "event"), output.count(0, "event"), output.count(1234, "event"), output.count(1234)]
    assert texts == ["1 event", "0 events", "1,234 events", "1,234"]


def test_a_range_of_one_is_a_number() -> None:
    """And others are ranges."""
    assert (output.versions(7, 7), output.versions(1, 1000)) == ("7", "1–1,000")


def test_times_are_utc() -> None:
    """Whatever zone they come in."""
    zone = timezone(timedelta(hours=2))
    assert output.moment(datetime(2025, 1, 1, 1, 30, 5, tzinfo=zone)) == "2024-12-31 23:30:05"
    assert output.moment(datetime(2025, 1, 1, tzinfo=UTC)) == "2025-01-01 00:00:00"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 日本", "plain ü 日本"),
        ("a\tb\n", r"a\tb\n"),
        ("\x1b[0m", r"\x1b[0m"),
        ("\u202ex", r"\u202ex"),
        ("\udc80", r"\udc80"),
    ],
)
def test_only_what_can_be_seen_is_shown(text: str, shown: str) -> None:
    """Everything else appears as an escape."""
    assert output.printable(text) == shown


@pytest.mark.parametrize(
    ("room", "text"), [(10, "abcdefghij"), (9, "abcd…ghij"), (8, "abcd…hij"), (2, "a…"), (1, "…"), (0, "…")]
)
def test_long_names_lose_their_middle(room: int, text: str) -> None:
    """Their ends tell them apart."""
    assert output.shortened("abcdefghij", room) == text


def test_large_data_is_cut_before_it_is_shown() -> None:
    """A row needs no more of it than fits; bytes are cut before they become hexadecimal."""
    assert len(output.value('"' + "x" * 1_000_000 + '"', 80)) == 81
    assert len(output.value(b"x" * 1_000_000, 80)) < 300
