"""The judge: when the weather is over, everything must converge, and every promise must have been kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from headstream.model import FeedEvent, RecordedEvent
from headstream.protocol import gc, keys
from headstream.testing.simulator.client import Client, Deed
from headstream.testing.simulator.world import World

_LONG = 1000
"""Seconds: above the grace period and all skews."""
_ROUNDS = 3


def judge(world: World) -> None:
    """Check a history that was run; :class:`Violation` for the first promise that was broken."""
    client = Client("judge", world)
    streams = {stream: _read(world, client, stream) for stream in world.streams}
    for stream, events in streams.items():
        _judge_stream(world, stream, [event.data for event in events])
    if world.settings.feed:
        _judge_feed(world, client, streams)
    _judge_garbage(world, client)
    world.watcher.check_digests()
    for stream, events in streams.items():
        world.check(_read(world, client, stream) == events, f"{stream} changed when the garbage was collected")


def _read(world: World, client: Client, stream: str) -> list[RecordedEvent]:
    return cast("list[RecordedEvent]", world.finish(client.events(stream)))


# --- streams ---------------------------------------------------------------------------------------------------------


def _judge_stream(world: World, stream: str, final: list[str]) -> None:
    deeds = [deed for deed in world.deeds if deed.stream == stream]
    for deed in deeds:
        _judge_deed(world, deed, final)
    world.check({deed.payload for deed in deeds} >= set(final), f"{stream} holds what nobody appended")
    for seen in (payloads for name, payloads in world.reads if name == stream):
        world.check(final[: len(seen)] == seen, f"a read of {stream} was no prefix of it")
    latest = 0
    for deed in sorted((deed for deed in deeds if deed.outcome == "acknowledged"), key=lambda deed: deed.version):
        world.check(deed.ended >= latest, f"{deed.payload} was acknowledged before one that it follows had begun")
        latest = max(latest, deed.begun)


def _judge_deed(world: World, deed: Deed, final: list[str]) -> None:
    times = [version for version, payload in enumerate(final, 1) if payload == deed.payload]
    whole = times == list(range(times[0], times[0] + deed.events)) if times else True
    world.check(whole, f"{deed.payload} is there more than once, or in part")
    if deed.outcome == "acknowledged":
        world.check(bool(times) and times[-1] == deed.version, f"{deed.payload} was acknowledged and is not there")
    if deed.outcome == "nothing":
        world.check(not times, f"{deed.payload} said that nothing was written, and is there")


# --- feed ------------------------------------------------------------------------------------------------------------


def _judge_feed(world: World, client: Client, streams: dict[str, list[RecordedEvent]]) -> None:
    for _ in range(_ROUNDS):
        world.pass_time(_LONG)
        world.finish(client.advance())
    world.check(not world.storage.keys(keys.INBOX), "an intent is never settled")
    feed = cast("Sequence[FeedEvent]", _read(world, client, keys.FEED))
    for stream, events in streams.items():
        published = [event for event in feed if event.stream == stream]
        world.check(published == events, f"the feed does not hold {stream} as it is")
    world.check(len(feed) == sum(map(len, streams.values())), "the feed holds what no stream holds")
    facts = [(event.position, event.stream, event.version, event.data) for event in feed]
    for delivery in world.deliveries:
        expected = facts[delivery.after : delivery.after + len(delivery.events)]
        world.check(delivery.events == expected, f"a subscription after {delivery.after} was not given the feed")


# --- garbage -----------------------------------------------------------------------------------------------------------


def _judge_garbage(world: World, client: Client) -> None:
    world.pass_time(_LONG)
    for stream in (*world.streams, keys.FEED):
        world.finish(client.sweep(stream, world.settings.grace_seconds))
    left = {key for kind in gc.KINDS for key in world.storage.keys(kind)} - world.watcher.live()
    world.check(not left, f"garbage is never collected: {sorted(left)}")
