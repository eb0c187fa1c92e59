"""Stories: what happened in a history, for people who look for the cause of a broken promise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from headstream.protocol.ops import (
    Absent,
    Found,
    Get,
    List,
    Matches,
    Missing,
    NotApplied,
    NotModified,
    Page,
    Put,
    Unknown,
)
from headstream.testing.simulator.requests import Remove
from headstream.testing.simulator.world import World

_ID: Final = re.compile(r"[0-9a-f]{32}")


def story(world: World) -> Iterator[str]:
    """All that happened, a line for each request: the step, who, what, and what came of it."""
    yield f"seed {world.seed}: {world.settings}"
    yield f"weather: {world.drawn}"
    yield f"limits: {world.limits or 'as shipped'}; pages of {world.page} keys"
    names: dict[str, str] = {}
    for step, who, what, outcome in world.trace:
        said = f"{_request(what)}{_outcome(outcome)}"
        yield f"{step:>5} {who:<8} {_short(said, names)}"


def _request(what: object) -> str:
    if isinstance(what, Get):
        return f"  GET {what.key}"
    if isinstance(what, List):
        return f"  LIST {what.prefix} after {what.after or 'the beginning'}"
    if isinstance(what, Remove):
        return f"  DELETE {what.key}"
    if isinstance(what, Put):
        if isinstance(what.when, Matches):
            return f"  PUT {what.key} if it is {what.when.etag}"
        return f"  PUT {what.key}{' if absent' if isinstance(what.when, Absent) else ''}"
    return str(what)


def _outcome(outcome: object) -> str:
    if outcome is None:
        return ""
    if isinstance(outcome, Found):
        return f": it is {outcome.etag}"
    if isinstance(outcome, Missing):
        return ": missing"
    if isinstance(outcome, NotModified):
        return ": not modified"
    if isinstance(outcome, Page):
        return f": {list(outcome.keys)}{' and more' if outcome.more else ''}"
    if isinstance(outcome, Unknown):
        return f": unknown, {outcome}"
    if isinstance(outcome, NotApplied):
        return f": not applied, {outcome}"
    return f": {outcome}"


def _short(text: str, names: dict[str, str]) -> str:
    """``text`` with every id of 32 digits replaced by a name that a person can tell from others: #1, #2 …"""
    return _ID.sub(lambda found: names.setdefault(found[0], f"#{len(names) + 1}"), text)
