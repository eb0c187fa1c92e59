"""``headstream head``: the drawing and the facts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from click import unstyle
from rich.cells import cell_len

from headstream import Event, connect
from headstream.protocol.layout import Layout, Reference
from support.commands import Commands


def layout_of(url: str, stream: str) -> Layout:
    """The layout of a stream that exists."""
    with connect(url, create=False) as store:
        found = store.layout(stream)
    assert found is not None
    return found


def all_references(url: str, references: tuple[Reference, ...]) -> list[Reference]:
    """Everything that can be reached."""
    found: list[Reference] = []
    with connect(url, create=False) as store:
        waiting = list(references)
        while waiting:
            reference = waiting.pop()
            found.append(reference)
            waiting.extend(store.references(reference) if reference.level else ())
    return found


def drawn(shown: str, kind: str) -> list[str]:
    """The version ranges of the segments or pages in a drawing."""
    return re.findall(rf" {kind} +([\d,–]+) ", shown)


def test_a_short_stream_is_all_head(cli: Commands, shop: str) -> None:
    """Nothing is behind it."""
    with connect(shop) as store:
        head = store.append("s", Event("T"), key="k-1")
    layout = layout_of(shop, "s")
    shown = cli("head", shop, "s").stdout
    for fact in ("stream  s  version 1", f"heads/s  {layout.size} B", head.etag, str(head.changeset_id), "key k-1"):
        assert fact in shown
    assert "none: it is the first" in shown
    assert "1 changeset, version 1" in shown
    assert "the whole stream is in its head" in shown
    assert "segment " not in shown


def test_a_long_stream_is_cut_in_the_middle(cli: Commands, long_stream: str) -> None:
    """The newest and the oldest segments are drawn, and those left out are counted."""
    shown = cli("head", long_stream, "orders").stdout
    segments = [
        part for part in all_references(long_stream, layout_of(long_stream, "orders").references) if part.level == 0
    ]
    ranges = [f"{part.first}–{part.last}" if part.first < part.last else f"{part.first}" for part in segments]
    newest_first = sorted(ranges, key=lambda text: -int(text.partition("–")[0]))
    assert len(segments) > 8
    assert drawn(shown, "segment") == newest_first[:4] + newest_first[-2:]
    newest = int(newest_first[4].partition("–")[2] or newest_first[4])
    oldest = newest_first[-3].partition("–")[0]
    assert f"{len(segments) - 6} more segments, versions {oldest}–{newest}" in shown
    assert shown.index("segment") < shown.index("■ the beginning")


def test_all_of_it_can_be_drawn(cli: Commands, long_stream: str) -> None:
    """Every segment, and every index page by level."""
    shown = cli("head", long_stream, "orders", "--all").stdout
    references = all_references(long_stream, layout_of(long_stream, "orders").references)
    assert "more segments" not in shown
    assert len(drawn(shown, "segment")) == sum(part.level == 0 for part in references)
    assert len(drawn(shown, "page")) == sum(part.level > 0 for part in references)


def test_the_index_is_counted_by_level(cli: Commands, long_stream: str) -> None:
    """Without reading its pages, and still exactly."""
    shown = cli("head", long_stream, "orders").stdout
    references = all_references(long_stream, layout_of(long_stream, "orders").references)
    levels = {part.level for part in references} - {0}
    assert len(levels) > 1
    for level in levels:
        pages = [part for part in references if part.level == level]
        newest = max(page.last for page in pages)
        noun = "page" if len(pages) == 1 else "pages"
        assert f"level {level}  {len(pages)} {noun} of 2 references each, for versions 1–{newest}" in shown


def test_a_full_tail_is_cut_too(cli: Commands, shop: str, tmp_path: object) -> None:
    """In the head as among the segments."""
    url = f"{tmp_path}/tail.db"
    with connect(url, tail_bytes=100_000) as store:
        for _ in range(20):
            store.append("s", Event("T"))
    assert re.search(r"┊ +14 more changesets", cli("head", url, "s").stdout)
    assert "more changesets" not in cli("head", url, "s", "--all").stdout


def test_an_empty_tail_is_explained(cli: Commands, shop: str) -> None:
    """A changeset that is larger than a tail is sealed at once."""
    with connect(shop) as store:
        store.append("s", Event("T", "x" * 1000))
    shown = cli("head", shop, "s").stdout
    assert "empty: the newest changeset was sealed at once" in shown
    assert drawn(shown, "segment") == ["1"]


def test_json_has_the_head_and_what_it_references(cli: Commands, long_stream: str) -> None:
    """Newest first; with --all everything behind the pages too."""
    layout = layout_of(long_stream, "orders")
    head, *objects = cli.json("head", long_stream, "orders")
    assert (head["object"], head["version"], head["size"], head["etag"]) == ("head", 30, layout.size, layout.etag)
    assert [changeset["last"] for changeset in head["tail"]] == [changeset.last for changeset in layout.tail]
    assert [part["key"] for part in objects] == [part.key for part in reversed(layout.references)]
    _, *everything = cli.json("head", long_stream, "orders", "--all")
    expected = all_references(long_stream, layout.references)
    assert {part["key"] for part in everything} == {part.key for part in expected}
    assert len(everything) == len(expected)
    segments = [part["last"] for part in everything if part["object"] == "segment"]
    assert segments == sorted(segments, reverse=True)


def test_a_stream_that_does_not_exist_is_an_error(cli: Commands, shop: str) -> None:
    """Which says how to find those that do."""
    assert "headstream streams" in cli.error("head", shop, "nothing", code=6)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_is_never_overrun(
    cli: Commands, long_stream: str, as_terminal: Callable[[int], None], width: int
) -> None:
    """Lines are cut to its width; a wide one has the whole keys."""
    as_terminal(width)
    plain = unstyle(cli("head", long_stream, "orders").stdout)
    assert all(cell_len(line) <= width for line in plain.splitlines())
    newest = max(
        (part for part in layout_of(long_stream, "orders").references if part.level == 0), key=lambda part: part.last
    )
    assert (newest.key in plain) == (width == 120)
