"""``headstream append --from``: many events."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headstream import Event, EventStore, OutcomeUnknown, RecordedEvent, connect
from headstream.cli import importing, lines
from support.commands import Commands


def jsonl(*rows: dict[str, Any]) -> bytes:
    """JSON Lines."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def numbered(count: int) -> bytes:
    """So many events."""
    return jsonl(*({"type": "T", "data": number} for number in range(1, count + 1)))


def events(url: str, stream: str) -> list[RecordedEvent]:
    """The events of a stream."""
    with connect(url, create=False) as store:
        return list(store.read(stream))


def data(url: str, stream: str) -> list[Any]:
    """The data of the events of a stream."""
    return [event.data for event in events(url, stream)]


def sizes(url: str, stream: str) -> list[int]:
    """How many events each append made."""
    changesets = [event.changeset for event in events(url, stream)]
    return [changesets.count(changeset) for changeset in dict.fromkeys(changesets)]


def test_every_kind_of_event_makes_the_round_trip(cli: Commands, shop: str, tmp_path: Path) -> None:
    """What ``read --json`` prints, ``append --from`` takes: types, data, bytes, metadata, ids."""
    with connect(shop) as store:
        kinds = [
            Event("Plain", {"ü": [1, 2.5, None, True, "\n"]}, {"user": "anna"}, "id-1"),
            Event("Bytes", b"\xff\0"),
            Event("Empty", b""),
            Event("Nothing"),
            Event("Zero", 0),
            Event("Big", 2**70),
        ]
        store.append("s", kinds)
        printed = cli("read", shop, "s", "--json").stdout_bytes
    copy = str(tmp_path / "copy.db")
    cli("init", copy)
    assert cli.json("append", copy, "--from", "-", stdin=printed) == [{"events": 6, "appends": 1, "lines": 6}]

    def content(url: str) -> list[tuple[object, ...]]:
        return [(e.stream, e.version, e.type, e.payload, e.metadata_json, e.id) for e in events(url, "s")]

    assert content(copy) == content(shop)


def test_a_stream_can_be_copied_to_another_name(cli: Commands, shop: str) -> None:
    """STREAM is where all lines go, whatever they say."""
    cli("append", shop, "a", "T", "1")
    cli("append", shop, "b", "--from", "-", stdin=cli("read", shop, "a", "--json").stdout_bytes)
    assert data(shop, "b") == [1]


def test_lines_name_their_streams(cli: Commands, shop: str, tmp_path: Path) -> None:
    """Each append has consecutive lines of one stream; their order is kept."""
    rows = [{"type": "T", "data": number, "stream": stream} for number, stream in enumerate("aabaa")]
    (tmp_path / "events.jsonl").write_bytes(jsonl(*rows))
    shown = cli("append", shop, "--from", tmp_path / "events.jsonl")
    assert shown.stdout == "5 events appended, in 3 appends\n"
    assert shown.stderr == ""
    assert data(shop, "a") == [0, 1, 3, 4]
    assert sizes(shop, "a") == [2, 2]
    assert data(shop, "b") == [2]


def test_batches_have_the_size_that_was_asked_for(cli: Commands, shop: str) -> None:
    """The last one may be smaller."""
    cli("append", shop, "s", "--from", "-", "--batch", 3, stdin=numbered(7))
    assert sizes(shop, "s") == [3, 3, 1]


def test_batches_of_large_lines_are_smaller(cli: Commands, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by bytes, not by lines; a line that is larger alone goes alone."""
    monkeypatch.setattr(importing, "BATCH_BYTES", 100)
    rows = [{"type": "T", "data": "x" * size} for size in (10, 10, 200, 10, 50)]
    cli("append", shop, "s", "--from", "-", stdin=jsonl(*rows))
    assert sizes(shop, "s") == [2, 1, 1, 1]


def test_empty_lines_are_passed_over(cli: Commands, shop: str) -> None:
    """But counted, so that the numbers are those of an editor; the last line needs no end."""
    cli("append", shop, "s", "--from", "-", stdin=b'\n{"type": "T"}\r\n  \n{"type": "U"}')
    assert [event.type for event in events(shop, "s")] == ["T", "U"]
    message = cli.error("append", shop, "s", "--from", "-", code=2, stdin=b"\n\n?\n")
    assert message.startswith("line 3: it is no event")


def test_an_empty_file_appends_nothing(cli: Commands, shop: str) -> None:
    """And that is no error."""
    assert cli("append", shop, "s", "--from", "-", stdin=b"").stdout == "0 events appended, in 0 appends\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "it is no event"),
        (b"[1]", "it is no event"),
        (b'{"data": 1}', "`type`"),
        (b'{"type": "T", "metdata": {}}', "`metdata`"),
        (b'{"type": "T", "stream": "s", "metadata": []}', "its metadata is no JSON object"),
        (b'{"type": "T", "stream": "s", "type": "U"}', "it has the name 'type' twice"),
        (b'{"type": "T", "stream": "s", "d\\u0061ta": 1, "data": 1}', "it has the name 'data' twice"),
        (b'{"type": "T", "stream": "s", "metadata": {"a": 1, "b": 2, "a": 3}}', "its metadata has the name 'a' twice"),
        (b'{"type": "T", "stream": "s", "data": 1e999}', "it is no event: Number out of range"),
        ("\ufeff{}".encode(), "it is no event"),
        (b'{"type": "\xff"}', "it is no event"),
        (b'{"type": "", "stream": "s"}', "an event's type"),
        (b'{"type": "T", "data": ' + b"[" * 5000, "it is no event"),
        (b'{"type": "T", "stream": "s", "data": 1, "data_base64": ""}', "both data and data_base64"),
        (b'{"type": "T", "stream": "s", "data_base64": "?"}', "not Base64"),
        (b'{"type": "T", "stream": "$feed"}', "headstream's own"),
        (b'{"type": "T"}', "it names no stream"),
    ],
)
def test_a_wrong_line_is_named(cli: Commands, shop: str, line: bytes, message: str) -> None:
    """What came before it and was not yet sent is not written either."""
    good = jsonl({"type": "T", "stream": "s"})
    error = cli.error("append", shop, "--from", "-", code=2, stdin=good + line)
    assert error.startswith("line 2: ")
    assert message in error
    assert error.endswith("; nothing was written")
    assert cli.json("streams", shop) == []


def test_a_line_without_end_is_refused(cli: Commands, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of it is read than a line may have."""
    monkeypatch.setattr(lines, "MAX_LINE", 20)
    error = cli.error("append", shop, "s", "--from", "-", code=2, stdin=b'{"type": "' + b"x" * 1000)
    assert error.startswith("line 1: it is longer than 20 bytes")


def test_after_a_wrong_line_one_can_go_on(cli: Commands, shop: str) -> None:
    """The error says what was written, and with which --skip the rest is."""
    text = numbered(5) + b"oops\n" + numbered(2)
    error = cli.error("append", shop, "s", "--from", "-", "--batch", 2, code=2, stdin=text)
    assert error.endswith("; 4 events of lines 1 to 4 were written: go on with --skip 4")
    cli("append", shop, "s", "--from", "-", "--skip", 4, stdin=text.replace(b"oops\n", b""))
    assert data(shop, "s") == [1, 2, 3, 4, 5, 1, 2]


def test_going_on_names_the_version_to_expect(cli: Commands, shop: str) -> None:
    """When the appends follow one another."""
    text = numbered(3) + b"oops\n"
    args = ("append", shop, "s", "--from", "-", "--batch", 2, "--expected", "none")
    assert cli.error(*args, code=2, stdin=text).endswith("go on with --skip 2 --expected 2")


def test_appends_follow_one_another_when_a_version_is_expected(cli: Commands, shop: str) -> None:
    """So nobody else's events come between them; what went wrong is told with its lines."""
    args = ("append", shop, "s", "--from", "-", "--batch", 2, "--expected", "none")
    cli(*args, stdin=numbered(5))
    assert data(shop, "s") == [1, 2, 3, 4, 5]
    error = cli.error(*args, code=3, stdin=numbered(5))
    assert error.startswith("lines 1 to 2: the stream is not at the expected version")
    assert error.endswith("; nothing was written")


def test_an_import_with_a_key_can_be_repeated(cli: Commands, shop: str) -> None:
    """What is there already is not written again, and the rest is."""
    args = ("append", shop, "s", "--from", "-", "--batch", 2, "--expected", "none", "--key", "k")
    error = cli.error(*args, code=2, stdin=numbered(5) + b"oops\n")
    assert error.endswith("4 events of lines 1 to 4 were written: run the same command again, it repeats nothing")
    for _ in range(2):
        cli(*args, stdin=numbered(7))
        assert data(shop, "s") == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("lines", "batch"), [(4, 2), (3, 3)])
def test_an_import_that_is_repeated_with_another_file(cli: Commands, shop: str, lines: int, batch: int) -> None:
    """A last append that was shorter, or batches of another size: their lines are neither dropped nor appended twice."""
    args = ("append", shop, "s", "--from", "-", "--expected", "none", "--key", "k", "--batch")
    cli(*args, 2, stdin=numbered(3))
    error = cli.error(*args, batch, code=13, stdin=numbered(lines))
    assert error.startswith("lines 3 to 4: the key belongs" if batch == 2 else "lines 1 to 3: the key belongs")
    assert error.endswith("the file or --batch is not what it was when these lines were imported")
    assert data(shop, "s") == [1, 2, 3]


Send = Callable[..., Any]


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let the append of this number raise ``error``."""
    send: Send = EventStore.append
    calls = iter(range(1, 1_000))

    def append(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == number:
            raise error
        return send(*args, **kwargs)

    monkeypatch.setattr(EventStore, "append", append)


def test_ctrl_c_tells_how_far_it_came(cli: Commands, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The append in flight may or may not have happened."""
    stop_at(monkeypatch, 2, KeyboardInterrupt())
    error = cli.error("append", shop, "s", "--from", "-", "--batch", 2, code=130, stdin=numbered(5))
    assert error == (
        "interrupted; 2 events of lines 1 to 2 were written, and lines 3 to 4 may be: look before you go on with --skip 2"
    )


def test_an_unknown_outcome_is_told_as_such(cli: Commands, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the lines in doubt."""
    stop_at(monkeypatch, 1, OutcomeUnknown("nobody knows", stream="s", follows=0))
    error = cli.error("append", shop, "s", "--from", "-", "--batch", 2, code=4, stdin=numbered(5))
    assert re.search(
        r"^lines 1 to 2: nobody knows .*; nothing was written, and lines 1 to 2 may be: look before", error
    )


def test_skipped_lines_are_not_even_looked_at(cli: Commands, shop: str) -> None:
    """They may be wrong."""
    cli("append", shop, "s", "--from", "-", "--skip", 1, stdin=b"oops\n" + numbered(1))
    assert data(shop, "s") == [1]


def test_a_terminal_shows_the_progress_on_stderr(
    cli: Commands, shop: str, as_terminal: Callable[[int], None], tmp_path: Path
) -> None:
    """Of a file in bytes; stdout has the result alone."""
    as_terminal(100)
    (tmp_path / "events.jsonl").write_bytes(numbered(5))
    shown = cli("append", shop, "s", "--from", tmp_path / "events.jsonl", "--json")
    assert shown.stdout == '{"events":5,"appends":1,"lines":5}\n'
    assert "5 events" in shown.stderr
    assert "100%" in shown.stderr
