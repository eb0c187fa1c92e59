"""The values that applications hand in and get back."""

from __future__ import annotations

import copy
import pickle
from collections import UserDict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import pytest

from headstream import limits
from headstream.errors import CorruptData, InvalidInput
from headstream.model import (
    ANY,
    EXISTS,
    NO_STREAM,
    Event,
    Expected,
    FeedEvent,
    Head,
    RecordedEvent,
    Settings,
    check_stream,
    check_text,
    check_writable,
)
from support import shown
from support.script import MICROS, ident

# --- events to be appended ---------------------------------------------------------------------------------------


def test_an_event():
    """A type is enough; the rest has defaults."""
    event = Event("Placed")
    assert (event.type, event.data, event.metadata, event.id) == ("Placed", None, {}, None)
    assert Event("Placed", {"a": 1}, {"by": "me"}, "id-1") == Event("Placed", {"a": 1}, {"by": "me"}, "id-1")


@pytest.mark.parametrize("metadata", [{}, {"a": 1}, MappingProxyType({"a": 1}), UserDict(a=1)], ids=shown)
def test_metadata_is_any_mapping(metadata):
    """Not only a dictionary."""
    assert Event("E", metadata=metadata).metadata == metadata


@pytest.mark.parametrize("event_id", ["x", "é" * (limits.MAX_EVENT_ID // 2), UUID(int=1)], ids=shown)
def test_an_id_of_the_applications_own(event_id):
    """A string or a UUID."""
    assert Event("E", id=event_id).id == event_id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"type": ""}, "an event's type cannot be empty"),
        ({"type": None}, "an event's type is a string, not NoneType"),
        ({"type": b"E"}, "an event's type is a string, not bytes"),
        ({"type": "E" * 257}, "an event's type has 257 bytes in UTF-8; at most 256 are possible: 'EEEE"),
        ({"type": "é" * 129}, "an event's type has 258 bytes in UTF-8; at most 256 are possible: 'éééé"),
        ({"type": "E\ud800"}, r"an event's type holds a lone surrogate, which is no text: 'E\ud800'"),
        ({"metadata": None}, "an event's metadata is a mapping, not NoneType"),
        ({"metadata": [("a", 1)]}, "an event's metadata is a mapping, not list"),
        ({"id": ""}, "an event's id cannot be empty"),
        ({"id": 7}, "an event's id is a string, not int"),
        ({"id": "x" * 257}, "an event's id has 257 bytes in UTF-8; at most 256 are possible: 'xxxx"),
        ({"id": "\udfff"}, "an event's id holds a lone surrogate"),
    ],
    ids=shown,
)
def test_events_that_cannot_be(arguments, message):
    """Refused when they are made; the message says what is wrong, on one line of bounded length."""
    with pytest.raises(InvalidInput) as caught:
        Event(**{"type": "E"} | arguments)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, ValueError)


def test_an_event_cannot_be_changed():
    """It is a fact."""
    with pytest.raises(AttributeError):
        Event("E").type = "F"


# --- recorded events ---------------------------------------------------------------------------------------------


def recorded(**changes: Any) -> RecordedEvent:
    """A recorded event."""
    fields: dict[str, Any] = {
        "stream": "order-1",
        "version": 3,
        "type": "Placed",
        "payload": '{"total":7}',
        "metadata_json": '{"by":"me"}',
        "id": "id-1",
        "changeset": ident(1),
        "micros": MICROS,
    }
    return RecordedEvent(**fields | changes)


def test_a_recorded_event():
    """Data and metadata as they were appended; when, and with which changeset."""
    event = recorded()
    assert (event.data, event.metadata) == ({"total": 7}, {"by": "me"})
    assert event.data is event.data, "decoded once"
    assert event.metadata is event.metadata
    assert event.changeset_id == UUID(int=1)
    assert event.recorded_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("payload", "data"),
    [(None, None), (b"raw", b"raw"), (b"", b""), ("null", None), ('"text"', "text"), ("[1,2.5,true]", [1, 2.5, True])],
    ids=shown,
)
def test_kinds_of_data(payload, data):
    """JSON is decoded, bytes are not."""
    assert recorded(payload=payload).data == data


def test_without_metadata():
    """An empty dictionary, and a new one for each event."""
    one, other = recorded(metadata_json=None), recorded(metadata_json=None)
    assert one.metadata == {}
    assert one.metadata is not other.metadata


def test_data_that_is_no_json():
    """No writer stores it; the event is named, its content is not shown."""
    for event in (recorded(payload="{secret"), recorded(metadata_json="{secret")):
        with pytest.raises(CorruptData, match="event 3 of stream 'order-1' holds text that is not JSON") as caught:
            _ = (event.data, event.metadata)
        assert "secret" not in str(caught.value)


def test_equality_of_recorded_events():
    """By what they are, not by whether somebody looked at their data."""
    looked = recorded()
    assert looked.data
    assert looked == recorded()
    assert hash(looked) == hash(recorded())
    assert looked != recorded(payload="{}")
    assert looked != recorded(version=4)
    assert looked != recorded(changeset=ident(2))
    assert looked != "an event"


def test_a_recorded_event_travels():
    """Copied and pickled, it is the same."""
    event = recorded()
    assert pickle.loads(pickle.dumps(event)) == copy.deepcopy(event) == copy.copy(event) == event
    assert pickle.loads(pickle.dumps(recorded())).data == {"total": 7}


def test_how_a_recorded_event_looks():
    """Decoded, for people."""
    assert repr(recorded()) == (
        "RecordedEvent(stream='order-1', version=3, type='Placed', data={'total': 7}, metadata={'by': 'me'}, id='id-1', "
        "changeset_id='00000000-0000-0000-0000-000000000001', recorded_at='2023-11-14T22:13:20+00:00')"
    )


def test_the_least_and_the_greatest_time():
    """Any time that a store can hold and a datetime can express is expressed."""
    assert recorded(micros=0).recorded_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert recorded(micros=limits.MAX_VERSION).recorded_at.year == 2286


# --- events of the feed ------------------------------------------------------------------------------------------


def published(**changes: Any) -> FeedEvent:
    """The recorded event above, as the feed has it."""
    return FeedEvent(**msgspec.structs.asdict(recorded()) | {"position": 17} | changes)


def test_an_event_of_the_feed():
    """It has all that a recorded event has, and its place among all events; it is the same event."""
    event = published()
    assert (event.position, event.stream, event.version, event.data) == (17, "order-1", 3, {"total": 7})
    assert event.metadata is event.metadata
    assert event == recorded()
    assert recorded() == event
    assert hash(event) == hash(recorded())
    assert event == published(position=18)
    assert event != published(version=4)
    assert event != recorded(version=4)
    assert repr(event).startswith(
        "FeedEvent(position=17, stream='order-1', version=3, type='Placed', data={'total': 7}"
    )


def test_how_an_event_of_the_feed_is_stored():
    """As an array of its fields, in this order: part of the format."""
    assert FeedEvent.__struct_fields__ == (
        "stream",
        "version",
        "type",
        "payload",
        "metadata_json",
        "id",
        "changeset",
        "micros",
        "position",
    )
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(published()))
    assert stored == ["order-1", 3, "Placed", '{"total":7}', '{"by":"me"}', "id-1", ident(1), MICROS, 17]


def test_an_event_of_the_feed_travels():
    """Copied and pickled, it is the same, whether somebody looked at its data or not."""
    for event in (published(), published(payload=b"raw", metadata_json=None)):
        for arrived in (pickle.loads(pickle.dumps(event)), copy.deepcopy(event), copy.copy(event)):
            assert (arrived, arrived.position, arrived.data) == (event, 17, event.data)
            assert pickle.loads(pickle.dumps(arrived)).metadata == event.metadata


# --- heads -------------------------------------------------------------------------------------------------------


def test_a_head():
    """Where a stream ends; equal by place, whatever else it carries."""
    head = Head("s", 3, "e3", ident(1))
    assert head.exists
    assert head.changeset_id == UUID(int=1)
    assert Head("s", 1, "e1", ident(1)).exists
    assert head == Head("s", 3, "", ident(1), range(4, 5), "more")
    assert head.positions is None
    assert hash(head) == hash(Head("s", 3, "", ident(1)))
    assert head != Head("s", 4, "e3", ident(1))
    assert head != Head("t", 3, "e3", ident(1))
    assert head != 3
    assert repr(head) == "Head(stream='s', version=3, etag='e3', changeset_id='00000000-0000-0000-0000-000000000001')"


def test_the_head_of_nothing():
    """Version 0 is the stream that does not exist."""
    head = Head("s", 0, "", None)
    assert not head.exists
    assert head.changeset_id is None
    assert repr(head) == "Head(stream='s', version=0, etag='', changeset_id=None)"


# --- expectations and settings -----------------------------------------------------------------------------------


def test_expectations_look_like_their_names():
    """In errors and logs."""
    assert [repr(one) for one in (ANY, NO_STREAM, EXISTS)] == ["ANY", "NO_STREAM", "EXISTS"]
    assert list(Expected) == [ANY, NO_STREAM, EXISTS]


def test_settings():
    """The ends of each range are inside."""
    usual = Settings(tail_bytes=0, fan_out=64, feed=True, advance_every=1000, grace_seconds=60)
    assert Settings(tail_bytes=0) == usual
    assert Settings(tail_bytes=0, advance_every=0, grace_seconds=1).advance_every == 0
    assert Settings(tail_bytes=0, advance_every=1_000_000, grace_seconds=86_400).grace_seconds == 86_400
    assert Settings(tail_bytes=limits.MAX_TAIL, fan_out=2, feed=False).fan_out == 2
    assert Settings(tail_bytes=0, fan_out=1024).fan_out == 1024


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tail_bytes": -1}, "tail_bytes is -1; it must be a whole number from 0 to 1048576"),
        ({"tail_bytes": 2**20 + 1}, "tail_bytes is 1048577; it must be"),
        ({"tail_bytes": 1.0}, "tail_bytes is 1.0; it must be a whole number"),
        ({"tail_bytes": "64k"}, "tail_bytes is '64k'; it must be a whole number"),
        ({"tail_bytes": True}, "tail_bytes is True; it must be a whole number"),
        ({"fan_out": 1}, "fan_out is 1; it must be a whole number from 2 to 1024"),
        ({"fan_out": 1025}, "fan_out is 1025; it must be"),
        ({"fan_out": None}, "fan_out is None; it must be"),
        ({"advance_every": -1}, "advance_every is -1; it must be a whole number from 0 to 1000000"),
        ({"advance_every": 1_000_001}, "advance_every is 1000001; it must be"),
        ({"advance_every": None}, "advance_every is None; it must be"),
        ({"grace_seconds": 0}, "grace_seconds is 0; it must be a whole number from 1 to 86400"),
        ({"grace_seconds": 86_401}, "grace_seconds is 86401; it must be"),
        ({"grace_seconds": 60.0}, "grace_seconds is 60.0; it must be"),
        ({"feed": "yes"}, "feed is 'yes'; it must be True or False"),
        ({"feed": 1}, "feed is 1; it must be True or False"),
    ],
    ids=shown,
)
def test_settings_that_cannot_be(changes, message):
    """A store with them could be created and never be opened again."""
    with pytest.raises(InvalidInput) as caught:
        Settings(**{"tail_bytes": 0} | changes)
    assert str(caught.value).startswith(message)


def test_settings_survive_the_store():
    """As JSON, which is how a store keeps them."""
    settings = Settings(tail_bytes=7, fan_out=9, feed=False, advance_every=3, grace_seconds=4)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "order-1",
        "order/1",
        "a b",
        "…",
        "a.b",
        "..a",
        "a..",
        ".a/b.",
        "\0",
        "\n",
        "/",
        "//",
        "\\",
        "é" * 128,
        "x" * 256,
    ],
)
def test_names_that_streams_can_have(name):
    """Almost any text of at most 256 bytes."""
    check_stream(name)
    check_writable(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a stream's name cannot be empty"),
        (None, "a stream's name is a string, not NoneType"),
        (b"s", "a stream's name is a string, not bytes"),
        ("x" * 257, "a stream's name has 257 bytes in UTF-8; at most 256"),
        ("é" * 129, "a stream's name has 258 bytes in UTF-8; at most 256"),
        ("\ud800", "a stream's name holds a lone surrogate"),
        (".", "a stream's name cannot have '.' or '..' between slashes: '.'"),
        ("..", "a stream's name cannot have"),
        ("a/../b", "a stream's name cannot have"),
        ("a/.", "a stream's name cannot have"),
        ("..\\a", "a stream's name cannot have"),
    ],
)
def test_names_that_streams_cannot_have(name, message):
    """The message says why."""
    with pytest.raises(InvalidInput) as caught:
        check_stream(name)
    assert str(caught.value).startswith(message)
    with pytest.raises(InvalidInput):
        check_writable(name)


def test_names_of_headstreams_own():
    """They can be read, not written."""
    check_stream("$feed")
    with pytest.raises(InvalidInput, match="begin with '\\$' are headstream's own"):
        check_writable("$feed")


def test_a_text_of_just_the_limit():
    """Bytes of UTF-8 count, not characters."""
    check_text("it", "é" * 5, 10)
    with pytest.raises(InvalidInput, match="it has 12 bytes in UTF-8; at most 10 are possible"):
        check_text("it", "é" * 6, 10)
