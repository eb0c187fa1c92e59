"""``headstream append``: one event."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstream import RecordedEvent, connect
from support.commands import Commands


def newest(url: str, stream: str = "s") -> RecordedEvent:
    """The last event of a stream."""
    with connect(url, create=False) as store:
        (event,) = store.read(stream, backwards=True, limit=1)
    return event


def test_an_event_is_appended(cli: Commands, shop: str) -> None:
    """With its data, metadata and id; the new version is shown."""
    shown = cli("append", shop, "s", "Placed", '{"sku": "mug"}', "--metadata", '{"user": "anna"}', "--id", "e-1")
    assert shown.stdout.startswith("s is at version 1  changeset ")
    event = newest(shop)
    assert (event.type, event.data, event.metadata, event.id) == ("Placed", {"sku": "mug"}, {"user": "anna"}, "e-1")


def test_json_says_where_the_stream_is(cli: Commands, shop: str) -> None:
    """Version, changeset and etag, for programs."""
    (facts,) = cli.json("append", shop, "s", "Placed")
    with connect(shop) as store:
        head = store.head("s")
    assert head is not None
    assert facts == {"stream": "s", "version": 1, "changeset_id": str(head.changeset_id), "etag": head.etag}


def test_an_event_may_have_no_data(cli: Commands, shop: str) -> None:
    """Its type says it all."""
    cli("append", shop, "s", "Closed")
    assert newest(shop).payload is None


@pytest.mark.parametrize(("text", "payload"), [("1", "1"), ('"é"', '"é"'), ("[ 1, null ]", "[1,null]"), ("null", None)])
def test_data_is_json(cli: Commands, shop: str, text: str, payload: str | None) -> None:
    """Any value, compact as the library keeps it."""
    cli("append", shop, "s", "T", text)
    assert newest(shop).payload == payload


def test_data_comes_from_a_file(cli: Commands, shop: str, tmp_path: Path) -> None:
    """After an @."""
    (tmp_path / "data.json").write_text('{"a":\n 1}')
    cli("append", shop, "s", "T", f"@{tmp_path / 'data.json'}")
    assert newest(shop).data == {"a": 1}


def test_data_comes_from_stdin(cli: Commands, shop: str) -> None:
    """For a dash."""
    cli("append", shop, "s", "T", "-", stdin='{"a": 1}')
    assert newest(shop).data == {"a": 1}


def test_bytes_are_kept(cli: Commands, shop: str, tmp_path: Path) -> None:
    """From a file, from stdin and from the command line, whatever they are."""
    (tmp_path / "raw").write_bytes(b"\xff\n\0")
    cli("append", shop, "s", "T", f"@{tmp_path / 'raw'}", "--bytes")
    assert newest(shop).payload == b"\xff\n\0"
    cli("append", shop, "s", "T", "-", "--bytes", stdin=b"\xfe")
    assert newest(shop).payload == b"\xfe"
    cli("append", shop, "s", "T", "é", "--bytes")
    assert newest(shop).payload == "é".encode()


@pytest.mark.parametrize(("expected", "code"), [("any", 0), ("EXISTS", 0), ("1", 0), ("none", 3), ("0", 3), ("2", 3)])
def test_the_stream_must_be_where_it_is_expected(cli: Commands, shop: str, expected: str, code: int) -> None:
    """Else nothing is written, and the exit code says so."""
    cli("append", shop, "s", "T")
    cli("append", shop, "s", "T", "--expected", expected, code=code)
    assert newest(shop).version == (2 if code == 0 else 1)


def test_a_key_makes_an_append_safe_to_repeat(cli: Commands, shop: str) -> None:
    """The second one says what the first one said."""
    first = cli.json("append", shop, "s", "T", "--expected", "none", "--key", "k")
    again = cli.json("append", shop, "s", "T", "--expected", "none", "--key", "k")
    assert first == again
    assert newest(shop).version == 1


@pytest.mark.parametrize("expected", ["none", "any", "exists"])
def test_a_key_of_other_events_has_an_exit_code_of_its_own(cli: Commands, shop: str, expected: str) -> None:
    """Nothing is written, and the message says what to do, without the data."""
    cli("append", shop, "s", "T", '{"a": 1, "b": 2}', "--expected", "none", "--key", "k")
    failed = cli("append", shop, "s", "T", '{"secret": 2}', "--expected", expected, "--key", "k", code=13)
    assert "another key" in failed.stderr
    assert "secret" not in failed.stderr
    cli("append", shop, "s", "T", '{"b":2,"a":1}', "--expected", expected, "--key", "k", "--metadata", '{"try": 2}')
    assert newest(shop).version == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("s", "T", "{"), "the data is not JSON"),
        (("s", "T", "[" * 5000), "the data is not JSON"),
        (("s", "T", "-"), "the data is not JSON"),
        (("s", "T", "@nowhere.json"), "nowhere.json cannot be read"),
        (("s", "T", "--metadata", "1"), "the metadata is no JSON object"),
        (("s", "T", "--metadata", "x"), "the metadata is not JSON"),
        (("$s", "T"), "headstream's own"),
        (("s", "T" * 300), "an event's type"),
        (("s", "T", "--key", "k" * 300), "a key"),
    ],
)
def test_what_cannot_be_appended_is_refused(cli: Commands, shop: str, args: tuple[str, ...], message: str) -> None:
    """In one line that says why, before anything is written."""
    assert message in cli.error("append", shop, *args, code=2, stdin=b"\xff")
    assert cli.json("streams", shop) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "name the stream"),
        (("s",), "name the stream"),
        (("s", "T", "--bytes"), "--bytes needs DATA"),
        (("s", "T", "--expected", "some"), "any, none, exists or a version"),
        (("s", "T", "--expected", "²"), "any, none, exists or a version"),
        (("s", "T", "--from", "-"), "--from takes types"),
        (("s", "--from", "-", "--metadata", "{}"), "--from takes types"),
        (("--from", "-", "--expected", "none"), "--expected with --from needs STREAM"),
        (("s", "--from", "-", "--key", "k"), "--key with --from needs STREAM"),
        (("s", "--from", "-", "--batch", "0"), "--batch"),
        (("s", "--from", "nowhere.jsonl"), "nowhere.jsonl"),
    ],
)
def test_options_that_do_not_fit_are_explained(cli: Commands, shop: str, args: tuple[str, ...], message: str) -> None:
    """With the usage, as for every mistake in a command line."""
    assert message in " ".join(cli("append", shop, *args, code=2).stderr.replace("│", "").split())
