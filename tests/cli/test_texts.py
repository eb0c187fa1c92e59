"""JSON text goes through the command line as it is, in both directions."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click import unstyle
from hypothesis import given, settings
from hypothesis import strategies as st

from headstream import CorruptData, Event, RecordedEvent, connect
from headstream.cli import texts
from headstream.cli.lines import entries, line_of
from support.commands import Commands

TEXTS = [
    "1.10",
    "-0",
    "-0.0",
    "1E5",
    "1e-400",
    "0.12345678901234567890123456789",
    "123456789012345678901234567890123456789012345678901234567890",
    '"\\u00e9\\/\\ud83d\\ude00\\u001b"',
    '"é日本\u2028\U0001f600"',
    '{"b":1,"a":2,"10":3,"9":4}',
    '{"a":1,"b":2,"a":3}',
    '{"a":{"x":1,"x":2},"\\u0061":null}',
    '[[],{},"",null,true,[1.0,1.00]]',
    '{"":{"":[]}}',
]


def payload(url: str, stream: str = "s") -> str | bytes | None:
    """What is stored of the newest event."""
    with connect(url, create=False) as store:
        return next(iter(store.read(stream, backwards=True, limit=1))).payload


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_kept(cli: Commands, shop: str, tmp_path: Path, text: str) -> None:
    """From an argument, a file, stdin and an import; shown by read and feed, and copied by both; for people and for programs."""
    (tmp_path / "data.json").write_text(f"\ufeff \t{text}\r\n", encoding="utf-8")
    cli("append", shop, "s", "T", text)
    cli("append", shop, "s", "T", f"@{tmp_path / 'data.json'}")
    cli("append", shop, "s", "T", "-", stdin=text.encode())
    line = f'{{"type": "T", "data" : {text} , "metadata": {{"m": {text}}}, "stream": "s"}}'
    cli("append", shop, "--from", "-", stdin=line.encode())
    with connect(shop, create=False) as store:
        assert [event.payload for event in store.read("s")] == [text] * 4
    for command in (("read", shop, "s"), ("feed", shop)):
        printed = cli(*command, "--json").stdout_bytes
        assert printed.decode().count(f'"data":{text},') == 4
        assert f'"metadata":{{"m":{text}}}' in printed.decode()
        copy = str(tmp_path / f"{command[0]}.db")
        cli("init", copy)
        cli("append", copy, "--from", "-", stdin=printed)
        with connect(copy, create=False) as store:
            assert [event.payload for event in store.read("s")] == [text] * 4
        shown = cli(*command).stdout
        spaced = msgspec.json.format(text, indent=0)
        assert shown.count(f"  {''.join(char if char.isprintable() else ascii(char)[1:-1] for char in spaced)}") == 4


def test_metadata_is_kept(cli: Commands, shop: str) -> None:
    """Its values, and the order of its names; one that comes twice is refused by its name."""
    text = '{"b":1.10,"a":{"x":1,"x":2},"c":-0}'
    cli("append", shop, "s", "T", "--metadata", text)
    with connect(shop, create=False) as store:
        (event,) = store.read("s")
    assert event.metadata_json == text
    message = cli.error("append", shop, "s", "T", "--metadata", '{"user":1,"b":2,"us\\u0065r":3}', code=2)
    assert message == "the metadata has the name 'user' twice"


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
STRINGS = st.text(st.characters(exclude_categories=["Cs"])).map(json.dumps) | st.text(
    st.characters(exclude_categories=["Cs"])
).map(lambda text: json.dumps(text, ensure_ascii=False))
VALUES = st.recursive(
    NUMBERS | STRINGS | st.sampled_from(["null", "true", "false"]),
    lambda inner: (
        st.lists(inner).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(STRINGS, inner)).map(
            lambda items: "{" + ",".join(f"{name}:{value}" for name, value in items) + "}"
        )
    ),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_any_text_is_kept_on_a_line(text: str) -> None:
    """Through the whole way of an import, and out again."""
    (entry,) = entries(BytesIO(f'{{"type":"T","stream":"s","data":{text}}}'.encode()), None, 0)
    stored = None if entry.event.data is None else msgspec.json.encode(entry.event.data).decode()
    assert stored == (None if text == "null" else text)
    event = RecordedEvent("s", 1, "T", stored, None, None, bytes(16), 0)
    printed = msgspec.json.encode(line_of(event)).decode()
    assert f'"data":{text},"' in printed if stored is not None else '"data"' not in printed


def test_stored_text_with_line_breaks_stays_on_its_line(cli: Commands, shop: str) -> None:
    """Another writer may have laid it out; between tokens nothing is lost."""
    with connect(shop) as store:
        store.append("s", Event("T", msgspec.Raw(b'{\n  "a": 1.10,\r\n  "b": "x"\n}')))
    (line,) = cli("read", shop, "s", "--json").stdout.splitlines()
    assert '"data":{"a":1.10,"b":"x"}' in line
    assert '{"a": 1.10, "b": "x"}' in cli("read", shop, "s").stdout


def test_stored_text_that_is_not_json_is_damage() -> None:
    """It is reported, not printed."""
    for stored, metadata in (("{", None), ("1", "[")):
        with pytest.raises(CorruptData):
            texts.check(RecordedEvent("s", 1, "T", stored, metadata, None, bytes(16), 0))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(cli: Commands, shop: str, tmp_path: Path, encoding: str) -> None:
    """As PowerShell writes them."""
    body = '{"type": "T", "stream": "s"}'.encode(encoding)
    (tmp_path / "file.json").write_bytes(body)
    for args in (("s", "T", "-"), ("s", "T", f"@{tmp_path / 'file.json'}"), ("--from", "-")):
        assert "is UTF-16 or UTF-32, not UTF-8" in cli.error("append", shop, *args, code=2, stdin=body)
    cli("append", shop, "s", "T", "-", "--bytes", stdin=body)
    assert payload(shop) == body


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\r\n\r\n", ""])
def test_lines_may_begin_and_end_in_any_way(cli: Commands, shop: str, end: str) -> None:
    """A byte-order mark, empty lines, the ends that Windows writes, and none at the end of the last."""
    lines = [f'{{"type":"T","stream":"s","data":{number}}}' for number in (1, 2)]
    text = "\ufeff\r\n" + "\r\n".join(lines) + end
    cli("append", shop, "--from", "-", stdin=text.encode())
    cli("append", shop, "--from", "-", stdin=f"\ufeff{lines[0]}{end}".encode())
    with connect(shop, create=False) as store:
        assert [event.data for event in store.read("s")] == [1, 2, 1]


def test_the_time_of_an_event_is_the_same_everywhere(cli: Commands, shop: str) -> None:
    """In read, feed, streams and head; in the library's own form of it."""
    with connect(shop) as store:
        store.append("s", Event("T"))
        (event,) = store.read("s")
    time = msgspec.json.decode(msgspec.json.encode(event.recorded_at))
    assert time.endswith("Z")
    assert cli.json("read", shop, "s")[0]["recorded_at"] == time
    assert cli.json("feed", shop)[0]["recorded_at"] == time
    assert cli.json("streams", shop, "-l")[0]["recorded_at"] == time
    assert cli.json("head", shop, "s")[0]["tail"][0]["recorded_at"] == time


def test_text_never_controls_a_terminal(cli: Commands, shop: str, as_terminal: Callable[[int], None]) -> None:
    """What a number, a name or a text holds is shown, and cut to the width."""
    text = '{"\u202e\x9b": "\u2028\\u001b[31m\x7f", "n": 1.10}'
    cli("append", shop, "s", "T", text)
    as_terminal(60)
    shown = unstyle(cli("read", shop, "s").stdout)
    assert all(char not in shown for char in "\u202e\x9b\u2028\x7f\x1b")
    assert r"\u202e\x9b" in shown


@pytest.mark.parametrize(("data", "message"), [("", "the data is empty"), ("hello", "a text stands in double quotes")])
def test_what_is_no_json_is_explained(cli: Commands, shop: str, data: str, message: str) -> None:
    """To a new user."""
    assert message in cli.error("append", shop, "s", "T", data, code=2)


def test_a_negative_number_may_stand_anywhere(cli: Commands, shop: str) -> None:
    """It is data, unless an option takes it; an unknown option stays one."""
    cli("append", shop, "s", "T", "-1.50", "--json", "--metadata", '{"a":-2}')
    assert payload(shop) == "-1.50"
    cli("append", shop, "--key", "-3", "s", "T", "-3")
    assert payload(shop) == "-3"
    for args in (("-1", "--no"), ("-x",), ("--", "-1", "-2")):
        assert "No such option" in (told := cli("append", shop, "s", "T", *args, code=2).stderr) or "unexpected" in told


def test_any_use_of_null_is_possible(cli: Commands, shop: str) -> None:
    """Inside of data and of metadata."""
    cli("append", shop, "s", "T", '{"a":null}', "--metadata", '{"b":null}')
    found: list[Any] = cli.json("read", shop, "s")
    assert (found[0]["data"], found[0]["metadata"]) == ({"a": None}, {"b": None})
